"""Notifies systemd: READY, STATUS, WATCHDOG, STOPPING; does nothing without systemd."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from zapline.domain.privacy.masking import mask_secrets, mask_text


@dataclass(frozen=True, slots=True)
class SystemdNotifier:
    """``address``: path of systemd's datagram socket, with ``@`` for an abstract one; None if there is none.

    ``watchdog_interval``: seconds between two calls of ``watchdog``, half of what systemd allows; None if it asks for
    none. Sending never blocks and never raises: each method returns whether systemd got the message.
    """

    address: str | None = None
    watchdog_interval: float | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "SystemdNotifier":
        """Read the variables set by systemd (``sd_notify(3)``, ``sd_watchdog_enabled(3)``)."""
        address = environ.get("NOTIFY_SOCKET", "")
        return cls(address if address[:1] in ("/", "@") else None, _watchdog_interval(environ))

    def ready(self) -> bool:
        """Start-up is complete."""
        return self._send("READY=1")

    def status(self, text: str) -> bool:
        """One line for ``systemctl status``; phones and secrets in it are masked."""
        return self._send("STATUS=" + mask_text(mask_secrets(" ".join(text.split())))[:500])

    def watchdog(self) -> bool:
        """The process is alive. Due every ``watchdog_interval`` seconds, or systemd kills and restarts the process."""
        return self._send("WATCHDOG=1")

    def stopping(self) -> bool:
        """Shutdown has begun."""
        return self._send("STOPPING=1")

    def _send(self, message: str) -> bool:
        if self.address is None:
            return False
        address = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            try:
                sender.sendto(message.encode(errors="replace"), address)
            except OSError:
                # systemd is being restarted, or its buffer is full; the next watchdog call tries again.
                return False
        return True


def _watchdog_interval(environ: Mapping[str, str]) -> float | None:
    microseconds = environ.get("WATCHDOG_USEC", "")
    if not microseconds.isdecimal() or int(microseconds) == 0:
        return None
    # A child inherits the variables, but the watchdog is for the process in WATCHDOG_PID.
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(microseconds) / 2_000_000
