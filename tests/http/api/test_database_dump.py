"""What somebody finds who gets hold of a copy of the database: nothing that opens a door."""

from base64 import b64decode, b64encode, urlsafe_b64decode
from typing import Any

from support.console_operator import Operator
from support.crm_receiver import crm_receiver

from zapline.domain.principals import Scope

TABLES = "select tablename as name from pg_tables where schemaname = 'zapline' order by 1"


def forms_of(secret: str) -> set[str]:
    """How a secret might stand in a dump: as it is, and its bytes as hexadecimal digits or base64."""
    bare = secret.removeprefix("whsec_").removeprefix("zl_")
    raw = {secret.encode(), bare.encode()}
    for decode in (b64decode, urlsafe_b64decode):
        try:
            raw.add(decode(bare + "=" * (-len(bare) % 4)))
        except ValueError:
            continue
    return {secret, bare, *(item.hex() for item in raw), *(b64encode(item).decode().rstrip("=") for item in raw)}


async def test_a_dump_holds_no_token_no_password_and_no_secret(api: Any) -> None:
    unit = await api.add_unit()
    secrets = {"login": api.token, "password": "correct horse battery"}
    await api.client.post("/admin/login", json={"email": "ana@example.com", "password": "a wrong password"})
    login = await api.post("/admin/login", {"email": "ana@example.com", "password": "correct horse battery"})
    secrets |= {"second login": login["token"], "wrong password": "a wrong password"}
    own = await api.post("/admin/tokens", {"label": "Backups"}, 201)
    minted = await api.post(f"/units/{unit.id}/tokens", {"label": "CRM", "scopes": [*Scope]}, 201)
    secrets |= {"own token": own["token"], "unit token": minted["token"]}
    operator = Operator(api.url)
    await operator.sign_in("ana@example.com", "correct horse battery")
    secrets |= {f"cookie {cookie.name}": cookie.value or "" for cookie in operator.client.cookies.jar}
    await operator.close()
    async with crm_receiver() as at:
        hook = await api.post(f"/units/{unit.id}/hooks", {"url": f"{at.url}/in", "events": ["message.received"]}, 201)
        rotated = await api.post(f"/units/{unit.id}/hooks/{hook['id']}/rotate-key", {})
    secrets |= {"hook": hook["secret"], "rotated hook": rotated["secret"]}
    secrets["webhook"] = f"{unit.id}{unit.record.secret_generation}"
    await api.post(f"/units/{unit.id}/rotate-secret", {})
    secrets["rotated webhook"] = f"{unit.id}{unit.record.secret_generation + 1}"
    await api.post(f"/units/{unit.id}/whatsapp/connect", {}, 202)

    tables = [row.name for row in await api.sql(TABLES)]
    dump = {
        name: [result.row for result in await api.sql(f"select t::text as row from zapline.{name} t")]
        for name in tables
    }
    assert all(dump[name] for name in ("admins", "access_tokens", "hooks", "units", "audit_log"))
    assert len(dump["access_tokens"]) == 5
    text = "\n".join(row for rows in dump.values() for row in rows)
    assert any(name.startswith("cookie") for name in secrets)
    for name, secret in secrets.items():
        assert len(secret) > 12, name
        for form in forms_of(secret):
            assert form not in text, f"{name} stands in the dump"
