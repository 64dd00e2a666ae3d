"""Checks the Evolution servers: which of them does not answer, or has a key that cannot be read."""

from collections.abc import Sequence

from zapline.supervisors.health.check_result import HealthCheck, expect_none
from zapline.supervisors.servers.server_registry import ServerReport


def check_servers(servers: Sequence[ServerReport]) -> HealthCheck:
    """One away leaves the lines of the others as they are; it is named."""
    away = [server.name for server in servers if server.away_since is not None]
    lost = [f"{server.name} (its key cannot be read)" for server in servers if server.key_lost]
    return expect_none(
        "serversAway",
        len({*away, *lost}),
        "these Evolution servers do not answer, or their key cannot be read; only their own lines wait for them",
        detail=", ".join([*away, *lost]),
    )
