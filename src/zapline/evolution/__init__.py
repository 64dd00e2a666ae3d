"""The Evolution API: its webhooks, its REST calls and their failures. Only ``supervisors`` and above import it."""
