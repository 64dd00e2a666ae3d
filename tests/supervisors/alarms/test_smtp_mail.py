"""E-mails of alarms: taken by a real server over TLS that is checked, or refused with a word that says why."""

from types import SimpleNamespace
from uuid import UUID

import pytest
from support.hostile_texts import TEXTS
from support.smtp_server import HOST, TestMailServer, client_context, mail_server

from zapline.domain.alarms.incidents import Incident, Member, NoticeKind
from zapline.domain.line.reasons import Phase, Reason
from zapline.domain.line.state import StoredLineState
from zapline.http.console.health.alarm_texts import alarm_text
from zapline.supervisors.alarms.smtp_mail import Mail, MailClient, MailRefused, MailSecurity, MailServer, compose
from zapline.supervisors.alarms.troubles import see

LOGIN = ("zapline", "s3cret")
SENDER = "zapline@example.com"
MAIL = Mail(
    UUID(int=7), "ana@example.com", "Alarme: 1 linha fora\r\nBcc: x@example.com", "São 3 linhas.\n.\n", 1e9, UUID(int=8)
)


def client(server: TestMailServer | int, *login: str, trusts: bool = True, tls: bool = True) -> MailClient:
    port = server if isinstance(server, int) else server.port
    security = MailSecurity.STARTTLS if tls else MailSecurity.NONE
    context = client_context() if trusts else None
    return MailClient(MailServer(HOST, port, SENDER, security, *(login or (None, None)), context))


async def refusal(by: MailClient) -> str:
    with pytest.raises(MailRefused) as refused:
        await by.send(MAIL)
    return refused.value.code


async def test_an_e_mail_is_the_same_at_each_try_and_its_subject_is_one_line() -> None:
    async with mail_server(starttls=True, login=LOGIN) as server:
        server.refusals.append("451 4.3.0 later")
        assert await refusal(client(server, *LOGIN)) == "refused_451"
        await client(server, *LOGIN).send(MAIL)
        await client(server, *LOGIN).send(MAIL)
        first, second = server.mails
        assert first.as_bytes() == second.as_bytes()
        assert first["message-id"] == f"<{UUID(int=7)}@example.com>"
        assert first["references"] == f"<{UUID(int=8)}@example.com>"
        assert first["subject"] == "Alarme: 1 linha fora Bcc: x@example.com"
        assert first["bcc"] is None
        assert first["auto-submitted"] == "auto-generated"
        assert first.get_content().splitlines() == ["São 3 linhas.", "."]


async def test_whoever_does_not_prove_to_be_the_server_is_told_nothing() -> None:
    async with mail_server(starttls=True, login=LOGIN) as server, mail_server() as plain:
        assert await refusal(client(server, *LOGIN, trusts=False)) == "tls_failed"
        assert await refusal(client(server, "zapline", "wrong")) == "login_refused"
        assert await refusal(client(server, "zaplíne", "s3cret")) == "login_refused"
        assert await refusal(client(server)) == "address_refused"
        assert await refusal(client(plain)) == "not_supported"
        assert (server.tries, plain.tries) == (0, 0)
        await client(plain, tls=False).send(MAIL)
        assert len(plain.mails) == 1
        port = plain.port
    assert await refusal(client(port, tls=False)) == "unreachable"
    nowhere = MailServer("a" * 64 + ".example", 25, SENDER, MailSecurity.NONE)
    assert await refusal(MailClient(nowhere)) == "unreachable"
    assert "s3cret" not in repr(MailServer(HOST, 25, SENDER, MailSecurity.TLS, *LOGIN))


async def test_a_server_that_speaks_tls_at_once_is_spoken_to_so() -> None:
    async with mail_server(tls=True, login=LOGIN) as server:
        place = (HOST, server.port, SENDER, MailSecurity.TLS, *LOGIN)
        await MailClient(MailServer(*place, client_context())).send(MAIL)
        assert len(server.mails) == 1
        assert await refusal(MailClient(MailServer(*place))) == "tls_failed"
        assert server.tries == 1


def test_whatever_a_unit_is_called_its_alarm_can_be_written() -> None:
    for text in TEXTS[::2]:
        unit = SimpleNamespace(
            id=UUID(int=1),
            record=SimpleNamespace(name=text),
            shown=StoredLineState(Phase.LOGGED_OUT, Reason.LOGGED_OUT, connected_at=1.0, disconnected_at=2.0),
        )
        (trouble,) = see([unit], {}, [], {}, 9.0).troubles.values()  # type: ignore[list-item]
        told = alarm_text(NoticeKind.ALARM, Incident(UUID(int=2), 0.0, 0.0, (Member(trouble),), 1, 0.0), "pt-BR", 9.0)
        message = compose(Mail(UUID(int=3), "ana@example.com", told.title, told.body, 1e9), SENDER)
        assert message.as_bytes().partition(b"\r\n\r\n")[0].count(b"\r\nTo:") == 1
