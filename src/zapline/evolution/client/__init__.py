"""REST calls to Evolution: requests, responses, failures. Nothing in ``evolution.webhooks`` may import it."""
