"""Decides what Evolution is told of how a line behaves, and how what it has differs from that."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import quote


class MarkRead(StrEnum):
    """When the senders of messages are told that they were read."""

    ASKED = "asked"
    """By ``.../read`` alone."""
    ON_REPLY = "on_reply"
    """Also once a reply has left."""
    ON_ARRIVAL = "on_arrival"
    """At once, by Evolution, whoever has looked."""


class ProxyProtocol(StrEnum):
    """The kinds of proxy that Evolution knows how to use."""

    HTTP = "http"
    SOCKS = "socks"


@dataclass(frozen=True, slots=True)
class LineSettings:
    """How a line behaves at WhatsApp."""

    reject_calls: bool = False
    call_text: str = ""
    """What is written to whoever calls and is rejected; empty: nothing."""
    ignore_groups: bool = False
    """Messages of groups are not told."""
    always_online: bool = False
    mark_read: MarkRead = MarkRead.ASKED
    sync_history: bool = False
    """A phone that is linked hands over its whole history."""

    def for_evolution(self) -> dict[str, bool | str]:
        """Evolution's names. It writes its text to every caller, rejected or not: only with rejection it gets one."""
        return {
            "rejectCall": self.reject_calls,
            "msgCall": self.call_text if self.reject_calls else "",
            "groupsIgnore": self.ignore_groups,
            "alwaysOnline": self.always_online,
            "readMessages": self.mark_read is MarkRead.ON_ARRIVAL,
            "syncFullHistory": self.sync_history,
        }


@dataclass(frozen=True, slots=True)
class LineProxy:
    """The proxy by which Evolution reaches WhatsApp for a line. Credentials are printed nowhere."""

    protocol: ProxyProtocol
    host: str
    port: int
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    def for_evolution(self) -> dict[str, bool | str]:
        """Evolution's names. It makes a URL of them as they are, so what stands before the host is encoded here."""
        return {
            "enabled": True,
            "host": self.host,
            "port": str(self.port),
            "protocol": self.protocol.value,
            "username": quote(self.username or "", safe=""),
            "password": quote(self.password or "", safe=""),
        }


NO_PROXY: Mapping[str, bool | str] = {
    "enabled": False, "host": "", "port": "", "protocol": "", "username": "", "password": "",
}  # fmt: skip
"""What switches a proxy off: all are required, and Evolution empties them itself."""


def setting_differences(wanted: LineSettings, found: Mapping[str, object] | None) -> tuple[str, ...]:
    """Evolution's names of the settings that are not as wanted; ``found`` None: it has none, which are the defaults."""
    known = found if found is not None else LineSettings().for_evolution()
    return tuple(name for name, value in wanted.for_evolution().items() if (known.get(name) or type(value)()) != value)


def proxy_differs(wanted: LineProxy | None, found: Mapping[str, object] | None) -> bool:
    """Whether Evolution has another proxy than the wanted one. An empty and a missing credential are the same."""
    enabled = found is not None and found.get("enabled") is True
    if wanted is None or found is None or not enabled:
        return enabled is not (wanted is not None)
    return any((found.get(name) or "") != value for name, value in wanted.for_evolution().items() if name != "enabled")
