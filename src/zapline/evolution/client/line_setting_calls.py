"""Reads and sets how Evolution has a line behave, and the proxy by which it reaches WhatsApp."""

from collections.abc import Mapping
from typing import Any

from zapline.domain.text import Sentence
from zapline.evolution.client.failures import BadAnswer
from zapline.evolution.client.rest_client import EvolutionClient, instance_path


async def find_settings(client: EvolutionClient, name: str) -> Mapping[str, Any] | None:
    """The instance's settings by Evolution's names; None: it has none. Raises ``EvolutionFailure``."""
    return _row(await client.call_repeatedly("GET", instance_path("settings/find", name)), "settings/find")


async def set_settings(client: EvolutionClient, name: str, settings: Mapping[str, Any]) -> None:
    """Replace the settings; six of them are required (contract, section 1). Raises ``EvolutionFailure``."""
    await client.call_repeatedly("POST", instance_path("settings/set", name), settings)


async def find_proxy(client: EvolutionClient, name: str) -> Mapping[str, Any] | None:
    """The instance's own proxy, with its credentials; None: it never had one. Raises ``EvolutionFailure``."""
    return _row(await client.call_repeatedly("GET", instance_path("proxy/find", name)), "proxy/find")


async def set_proxy(client: EvolutionClient, name: str, proxy: Mapping[str, Any], seconds: float) -> None:
    """Replace the proxy, which holds from the next connection on. One try within ``seconds``.

    Evolution first calls a server of the internet by the new one, and refuses it where that does not work or does not
    change its address: ``InvalidRequest``. Raises ``EvolutionFailure``.
    """
    await client.call("POST", instance_path("proxy/set", name), proxy, seconds=seconds)


def _row(answer: Any, name: str) -> Mapping[str, Any] | None:
    if answer is None:
        return None
    if not isinstance(answer, dict):
        raise BadAnswer(Sentence("{name} is not what it should be in Evolution's answer", name=name))
    # Version 1 wraps it.
    inner = answer.get(name.partition("/")[0])
    return inner if isinstance(inner, dict) else answer
