"""The client of Zapline's API: ``Zapline``, ``AsyncZapline``, ``Webhooks``; see docs/clients.md."""

from zapline_client.async_client import AsyncZapline
from zapline_client.client import Zapline
from zapline_client.errors import InvalidWebhook, StreamTooLarge, Unanswered, ZaplineError, ZaplineProblem
from zapline_client.event_stream import Event
from zapline_client.generated import models
from zapline_client.retries import Patience
from zapline_client.webhooks import Webhooks

__version__ = "0.3.0"
__all__ = [
    "AsyncZapline",
    "Event",
    "InvalidWebhook",
    "Patience",
    "StreamTooLarge",
    "Unanswered",
    "Webhooks",
    "Zapline",
    "ZaplineError",
    "ZaplineProblem",
    "models",
]
