"""A mail server as RFC 5321 has it, on loopback: TLS after STARTTLS, log-in, and refusals that a test chooses."""

import base64
import datetime
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory

import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOST = "127.0.0.1"


@cache
def certificate() -> bytes:
    """A key and its own certificate for 127.0.0.1, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail")])
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start.replace(year=2060))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(HOST))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    return private + made.public_bytes(pem)


def server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with TemporaryDirectory() as directory:
        path = Path(directory, "mail.pem")
        path.write_bytes(certificate())
        context.load_cert_chain(path)
    return context


def client_context() -> ssl.SSLContext:
    """Trusts this server, and nobody else."""
    text = certificate().decode()
    return ssl.create_default_context(cadata=text[text.index("-----BEGIN CERTIFICATE") :])


@dataclass
class TestMailServer:
    """``login``: user and password that are asked for. ``refusals``: answers to the next e-mails, as ``451 later``."""

    __test__ = False
    port: int
    tls: ssl.SSLContext | None = None
    login: tuple[str, str] | None = None
    refusals: list[str] = field(default_factory=list)
    mails: list[EmailMessage] = field(default_factory=list)
    tries: int = 0

    async def wait_for_mails(self, count: int, seconds: float = 120) -> list[EmailMessage]:
        with trio.fail_after(seconds):
            while len(self.mails) < count:  # noqa: ASYNC110
                await trio.sleep(0.01)
        return self.mails

    async def serve(self, stream: trio.abc.Stream) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await _Session(self, stream).run()


@dataclass
class _Session:
    server: TestMailServer
    stream: trio.abc.Stream
    buffer: bytes = b""
    known: bool = False

    async def run(self) -> None:
        await self.say("220 mail ready")
        while (line := await self.line()) is not None:
            verb, _, rest = line.partition(" ")
            match verb.upper():
                case "EHLO" | "HELO":
                    lines = ["mail", "8BITMIME", "SMTPUTF8"]
                    secure = isinstance(self.stream, trio.SSLStream)
                    lines += ["STARTTLS"] if self.server.tls is not None and not secure else []
                    lines += ["AUTH PLAIN"] if self.server.login is not None else []
                    await self.say(*(f"250-{each}" for each in lines[:-1]), f"250 {lines[-1]}")
                case "STARTTLS":
                    await self.say("220 go ahead")
                    assert self.server.tls is not None
                    self.stream = trio.SSLStream(self.stream, self.server.tls, server_side=True)
                case "AUTH":
                    told = base64.b64decode(rest.split(" ")[1]).decode().split("\0")[1:]
                    self.known = tuple(told) == self.server.login
                    await self.say("235 welcome" if self.known else "535 no")
                case "MAIL" | "RCPT":
                    refused = self.server.login is not None and not self.known
                    await self.say("530 log in first" if refused else "250 ok")
                case "DATA":
                    await self.take()
                case "QUIT":
                    await self.say("221 bye")
                    return
                case _:
                    await self.say("250 ok")

    async def take(self) -> None:
        await self.say("354 go on")
        lines = []
        while (line := await self.line()) not in (".", None):
            lines.append(line.removeprefix(".") if line.startswith("..") else line)
        self.server.tries += 1
        if self.server.refusals:
            await self.say(self.server.refusals.pop(0))
            return
        text = "\r\n".join(lines).encode("utf-8", "surrogateescape")
        mail = message_from_bytes(text, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.server.mails.append(mail)
        await self.say("250 taken")

    async def say(self, *lines: str) -> None:
        await self.stream.send_all("".join(f"{line}\r\n" for line in lines).encode())

    async def line(self) -> str | None:
        while b"\r\n" not in self.buffer:
            part = await self.stream.receive_some()
            if not part:
                return None
            self.buffer += part
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line.decode("utf-8", "surrogateescape")


@asynccontextmanager
async def mail_server(
    *, starttls: bool = False, tls: bool = False, login: tuple[str, str] | None = None
) -> AsyncIterator[TestMailServer]:
    """Run a server on loopback until the block ends."""
    (listener,) = await trio.open_tcp_listeners(0, host=HOST)
    server = TestMailServer(listener.socket.getsockname()[1], server_context() if starttls else None, login)
    async with trio.open_nursery() as nursery:
        secure = trio.SSLListener(listener, server_context()) if tls else listener
        nursery.start_soon(trio.serve_listeners, server.serve, [secure])
        yield server
        nursery.cancel_scope.cancel()
