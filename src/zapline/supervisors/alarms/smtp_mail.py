"""Sends one e-mail by SMTP: in a thread, with a deadline, over TLS whose certificate is checked."""

import smtplib
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from enum import StrEnum
from uuid import UUID

import trio

from zapline.domain.errors import RemoteError

DEADLINE = 45.0
"""Seconds for a whole e-mail."""
_STEP = 10.0
"""Seconds for one answer of the server: a thread that was given up ends by itself."""
_MAX_THREADS = 4
_FORMAT = SMTP.clone(max_line_length=900)
"""A subject is one line: Python would fold a long one right behind its name, which old readers show as empty."""


class MailSecurity(StrEnum):
    """How the connection to the server is protected."""

    STARTTLS = "starttls"
    TLS = "tls"
    NONE = "none"
    """Not at all: for a server on the same machine."""


class MailRefused(RemoteError):
    """The e-mail was not taken, or nobody knows. ``code`` says why; it holds no text of the server."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class MailServer:
    """The server that takes e-mails, and as whom. ``context`` None: the system's certificates are trusted."""

    host: str
    port: int
    sender: str
    security: MailSecurity = MailSecurity.STARTTLS
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    context: ssl.SSLContext | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Mail:
    """An e-mail. ``id`` is the same at every try; ``thread``: what all e-mails of one incident answer to.

    ``at``: UTC seconds.
    """

    id: UUID
    to: str
    subject: str
    body: str
    at: float
    thread: UUID | None = None


class MailClient:
    """One for the process. Each e-mail has a connection of its own."""

    def __init__(self, server: MailServer) -> None:
        self._server = server
        self._threads = trio.CapacityLimiter(_MAX_THREADS)

    async def send(self, mail: Mail) -> None:
        """Hand the e-mail over. Raises MailRefused. Cancelled, or timed out, it may have been taken all the same."""
        message = compose(mail, self._server.sender)
        with trio.move_on_after(DEADLINE):
            await trio.to_thread.run_sync(self._send, mail.to, message, abandon_on_cancel=True, limiter=self._threads)
            return
        raise MailRefused("timeout")

    def _send(self, to: str, message: EmailMessage) -> None:
        """Raises MailRefused."""
        # What follows where the server's name, then the login, cannot be written as the protocol has it.
        unwritable = "unreachable"
        try:
            with self._connect() as server:
                unwritable = "login_refused"
                if self._server.user is not None:
                    server.login(self._server.user, self._server.password or "")
                unwritable = "address_refused"
                server.send_message(message, self._server.sender, [to])
        except ssl.SSLError:
            raise MailRefused("tls_failed") from None
        except TimeoutError:
            raise MailRefused("timeout") from None
        except smtplib.SMTPAuthenticationError:
            raise MailRefused("login_refused") from None
        except (smtplib.SMTPRecipientsRefused, smtplib.SMTPSenderRefused):
            raise MailRefused("address_refused") from None
        except smtplib.SMTPNotSupportedError:
            raise MailRefused("not_supported") from None
        except smtplib.SMTPResponseException as refused:
            raise MailRefused(f"refused_{refused.smtp_code if 200 <= refused.smtp_code < 600 else 0}") from None
        except smtplib.SMTPException:
            raise MailRefused("broken_connection") from None
        except OSError:
            raise MailRefused("unreachable") from None
        except ValueError:
            raise MailRefused(unwritable) from None

    def _connect(self) -> smtplib.SMTP:
        chosen = self._server
        context = chosen.context or ssl.create_default_context()
        if chosen.security is MailSecurity.TLS:
            return smtplib.SMTP_SSL(chosen.host, chosen.port, timeout=_STEP, context=context)
        server = smtplib.SMTP(chosen.host, chosen.port, timeout=_STEP)
        if chosen.security is MailSecurity.STARTTLS:
            try:
                server.starttls(context=context)  # without it nothing is told
            except BaseException:
                server.close()
                raise
        return server


def compose(mail: Mail, sender: str) -> EmailMessage:
    """The message as it is sent; its ``Message-ID`` follows from the e-mail's id."""
    domain = sender.rpartition("@")[2].rstrip(">")
    message = EmailMessage(_FORMAT)
    message["Subject"] = " ".join(mail.subject.split())
    message["From"] = sender
    message["To"] = mail.to
    message["Date"] = format_datetime(datetime.fromtimestamp(mail.at, UTC))
    message["Message-ID"] = f"<{mail.id}@{domain}>"
    if mail.thread is not None:
        message["References"] = f"<{mail.thread}@{domain}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail.body)
    return message
