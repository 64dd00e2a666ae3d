"""Campaigns in the console: tried with nothing stored, made once, read from long lists, steered, and exported."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trio
from support.console_operator import Operator

LIST = (
    "telefone;nome;=cmd\n11 99999-0001;Ana;x\n11 99999-0002;<script>alert(1)</script>;y\n123;Zé;z\n11999990001;Ana;x\n"
)


async def test_a_campaign_is_tried_with_nothing_stored_then_made_once_started_and_steered(
    api: Any, operator: Operator
) -> None:
    unit = await api.add_unit()
    base = f"/console/units/{unit.id}/campaigns"
    assert "No campaign yet" in (await operator.get(base)).visible_text
    form = (await operator.get(f"{base}/new")).forms[f"{base}/new"]
    fields = form | {
        "name": "Natal <b>",
        "text": "Oi {{nome}}",
        "second": "Boas festas!",
        "seconds": "2,5",
        "opens": "08:00",
        "closes": "18:00",
    }
    csv_file = {"list": ("lista.csv", LIST.encode("cp1252"), "text/csv")}
    page = await operator.post(f"{base}/try", fields, 200, files=csv_file, **{"X-Zapline-Live": "1"})
    for text in ("4 lines", "2 are written to", "2 are skipped", "This is no phone number.", "line 3"):
        assert text in page.visible_text, text
    assert "Oi Ana" in page.visible_text
    assert "Boas festas!" in page.visible_text
    without = await operator.post(f"{base}/try", fields | {"pasted": LIST, "text": ""}, 422)
    assert "Write the first text, too" in without.visible_text
    assert "end about" in page.visible_text
    assert "<script>alert" not in page.text
    assert "<html" not in page.text
    whole = await operator.post(f"{base}/try", fields | {"pasted": LIST}, 200)
    assert "2 are written to" in whole.visible_text
    assert "Natal &lt;b&gt;" in whole.text
    wrong = await operator.post(f"{base}/new", fields | {"pasted": "nome\nAna"}, 422)
    assert "Line 1: the header has no column" in wrong.visible_text
    portuguese = {"Accept-Language": "pt-BR"}
    wrong = await operator.post(f"{base}/new", fields | {"pasted": "nome\nAna"}, 422, **portuguese)
    assert "Linha 1: o cabeçalho não tem coluna telefone" in wrong.visible_text
    wrong = await operator.post(f"{base}/try", fields | {"pasted": LIST, "text": "Oi {{nome"}, 422, **portuguese)
    assert "Uma variável foi aberta com {{ e nunca fechada com }}." in wrong.visible_text
    assert (await api.sql("select count(*) from zapline.campaigns"))[0][0] == 0
    for _ in range(2):
        await operator.post(f"{base}/new", fields, files=csv_file)
    (campaign,) = [row.id for row in await api.sql("select id from zapline.campaigns")]
    assert operator.answer is not None
    assert operator.answer.headers["location"] == f"{base}/{campaign}"
    page = await operator.get(f"{base}/{campaign}")
    assert "Wording 2 Boas festas!" in page.visible_text
    for text in ("Not started", "0 of 2", "Oi Ana", "2 skipped", "one message every 2.5 s", "08:00 – 18:00"):
        assert text in page.visible_text, text
    await operator.send(f"{base}/{campaign}/start")
    await operator.follow()
    await operator.send(f"{base}/{campaign}/pause")
    page = await operator.follow()
    assert "The campaign is paused." in page.visible_text
    await operator.send(f"{base}/{campaign}/resume")
    page = await operator.follow()
    assert "Running" in page.visible_text
    assert "0 of 2" in (await operator.get(f"{base}/{campaign}/part")).visible_text
    results = await operator.get(f"{base}/{campaign}/results")
    for text in ("0 messages were sent.", "– want no more (0)", "Everything as CSV", "By wording", "Boas festas!"):
        assert text in results.visible_text, text
    await operator.get(f"{base}/{campaign}")
    await operator.send(f"{base}/{campaign}/cancel")
    page = await operator.follow()
    assert "2 of 2" in page.visible_text
    assert "This is no phone number." in page.visible_text
    actions = [
        row.action for row in await api.sql("select action from zapline.audit_log where outcome = 200 order by id")
    ]
    assert actions[-4:] == ["start_campaign", "pause_campaign", "resume_campaign", "cancel_campaign"]
    assert "create_campaign" in actions


async def test_a_campaign_that_runs_and_has_to_wait_says_why_and_until_when(api: Any, operator: Operator) -> None:
    unit = await api.add_unit()
    base, here = f"/console/units/{unit.id}/campaigns", f"/units/{unit.id}"
    form = (await operator.get(f"{base}/new")).forms[f"{base}/new"]
    await operator.post(f"{base}/new", form | {"name": "Natal", "text": "Oi", "pasted": "telefone\n11999990001"})
    (campaign,) = [f"{base}/{row.id}" for row in await api.sql("select id from zapline.campaigns")]
    assert "The line is not open" not in (await operator.get(campaign)).visible_text, "it has not been started"
    await operator.send(f"{campaign}/start")
    page = await operator.follow()
    assert "The line is not open: This line has never been connected" in page.visible_text
    await api.client.post(f"{here}/whatsapp/connect")
    scan = f"{api.evolution.url}/_control/scan"
    with trio.fail_after(30):
        while "The line is not open" in (await operator.get(f"{campaign}/part")).visible_text:
            await operator.client.post(scan, json={"instance": unit.record.instance})
            await trio.sleep(0.05)
    assert "goes on by itself" not in (await operator.get(f"{campaign}/part")).visible_text, "nothing holds it"
    now = datetime.now(UTC) - timedelta(hours=3)
    quiet = {"quietFrom": f"{now - timedelta(hours=1):%H:%M}", "quietUntil": f"{now + timedelta(hours=1):%H:%M}"}
    await api.put(f"{here}/pace", quiet)
    page = await operator.get(f"{campaign}/part")
    assert f"quiet hours: it goes on by itself at {now + timedelta(hours=1):%Y-%m-%d %H:%M}" in page.visible_text
    await api.post(f"{here}/pause")
    assert "The unit's sending is paused" in (await operator.get(f"{campaign}/part")).visible_text


async def test_recipients_are_masked_in_pages_and_an_export_holds_no_formula(api: Any, operator: Operator) -> None:
    unit = await api.add_unit()
    base = f"/console/units/{unit.id}/campaigns"
    form = (await operator.get(f"{base}/new")).forms[f"{base}/new"]
    formulas = ["=1+1", "+1", "-1", "@x", "\t=1", "＝1", " =HYPERLINK(1)"]
    rows = "".join(f'1199999{n:04};"{cell}"\n' for n, cell in enumerate(formulas, 1)) * 2
    await operator.post(f"{base}/new", form | {"name": "n", "text": "{{v}}", "pasted": f"telefone;v\n{rows}"})
    assert operator.answer is not None
    campaign = operator.answer.headers["location"]
    page = await operator.get(f"{campaign}/recipients?state=skipped")
    assert "****0001" in page.visible_text
    assert "99990001" not in page.visible_text
    assert "The phone is on the list already." in page.visible_text
    assert "Nobody is in this state." in (await operator.get(f"{campaign}/recipients?state=read")).visible_text
    exported = await operator.client.get(f"{campaign}/failures.csv")
    assert exported.headers["content-disposition"].startswith("attachment")
    for cell in exported.text.replace("\r\n", ",").replace('"', "").split(","):
        assert not cell.strip().startswith(("=", "+", "-", "@", "＝")), cell
    other = await api.add_unit("Outra")
    for path in ("", "/part", "/recipients", "/failures.csv"):
        await operator.get(campaign.replace(str(unit.id), str(other.id)) + path, 404)


@pytest.mark.heavy
async def test_a_list_that_is_larger_than_any_other_form_is_tried_and_read_in(api: Any, operator: Operator) -> None:
    unit = await api.add_unit()
    base = f"/console/units/{unit.id}/campaigns"
    form = (await operator.get(f"{base}/new")).forms[f"{base}/new"]
    lines = "".join(f"119{90_000_000 + n:08},Cliente {n} {'x' * 60}\n" for n in range(20_000))
    csv_file = {"list": ("lista.csv", f"telefone,nome\n{lines}".encode(), "text/csv")}
    operator.client.timeout = 60
    fields = form | {"name": "grande", "text": "Oi {{nome}}"}
    await operator.post(f"{base}/new", fields, files=csv_file)
    assert operator.answer is not None
    assert "0 of 20,000" in (await operator.get(operator.answer.headers["location"])).visible_text
