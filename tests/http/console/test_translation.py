"""Every text of the console is in every catalogue, and no catalogue has texts that no page shows."""

import ast
import importlib
import re
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.frontend import CommandLineInterface
from babel.messages.pofile import read_po

import zapline
from zapline.domain.campaigns.states import CampaignCommand, CampaignState, WrongCampaignState, next_state
from zapline.domain.contacts.phone_numbers import InvalidPhone, parse_phone
from zapline.domain.errors import ConfigurationError, DatabaseUnavailable, LocalError, RemoteError, ZaplineError
from zapline.domain.line.reasons import EXPLANATIONS
from zapline.domain.line.server_versions import VERSION_NOTES
from zapline.domain.outbox.failure_texts import FAILURE_TEXTS, HOLD_TEXTS, failure_text
from zapline.domain.text import Sentence
from zapline.evolution.client.failures import ALL_FAILURES, BadAnswer, EvolutionFailure, NoAnswer
from zapline.http.api.framework.problems import invalid
from zapline.http.console.campaigns.campaign_pages import recipient_detail
from zapline.http.console.framework import formatting, translation
from zapline.http.console.framework.formatting import error_text
from zapline.http.console.framework.translation import ENGLISH, LANGUAGES, PORTUGUESE, SPANISH, _, ngettext

ROOT = Path(__file__).parents[3]
LOCALE = ROOT / "src" / "zapline" / "http" / "console" / "locale"
CATALOGUES = sorted(LOCALE.glob("*/LC_MESSAGES/console.po"))


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """The texts of the sources, found as ``make translations`` finds them."""
    template = tmp_path_factory.mktemp("texts") / "console.pot"
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(ROOT)
        CommandLineInterface().run(["pybabel", "-q", "extract", "-o", str(template)])
    return read(template)


def read(path: Path) -> Catalog:
    with path.open("rb") as stream:
        return read_po(stream, abort_invalid=True)


def texts(catalogue: Catalog) -> Iterator[Message]:
    return (message for message in catalogue if message.id)


def forms(text: Any) -> tuple[str, ...]:
    return tuple(text) if isinstance(text, list | tuple) else (text,)


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_there_is_a_catalogue_for_every_language_but_english() -> None:
    assert {path.parents[1].name for path in CATALOGUES} == {tag.replace("-", "_") for tag in LANGUAGES} - {"en"}


@pytest.mark.slow
@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.parents[1].name)
def test_every_text_is_translated_and_every_translation_is_shown(path: Path, sources: Catalog) -> None:
    catalogue = read(path)
    wanted, known = ({forms(message.id) for message in texts(each)} for each in (sources, catalogue))
    assert len(wanted) > 800, "the extraction finds the texts"
    assert sorted(wanted - known) == [], "not in the catalogue: make translations"
    assert sorted(known - wanted) == [], "no page shows these: make translations"
    assert not catalogue.obsolete
    for message in texts(catalogue):
        assert not message.fuzzy, message.id
        translated = forms(message.string)
        assert len(translated) == (catalogue.num_plurals if message.pluralizable else 1), message.id
        assert all(form.strip() == form != "" for form in translated), message.id
        needed = set.union(*map(placeholders, forms(message.id)))
        assert all(needed - {"count"} <= placeholders(form) <= needed for form in translated), message.id
        if not message.pluralizable:
            assert placeholders(translated[0]) == needed, message.id


def test_sentences_of_other_rooms_are_found_where_they_are_made(sources: Catalog) -> None:
    found = {form for message in texts(sources) for form in forms(message.id)}
    explained = {text for each in EXPLANATIONS.values() for text in (each.sentence, each.advice)}
    assert explained | {*FAILURE_TEXTS.values(), *HOLD_TEXTS.values(), failure_text("unheard of")} <= found
    assert {*formatting.SCRIPT_TEXTS, "there is no such unit", "email or password is wrong"} <= found


PEOPLE_SEE = ("domain", "evolution/client", "sql/accounts", "sql/units/units.py", "supervisors", "http/console")
"""Rooms whose errors the console shows."""


def shown_errors() -> Iterator[tuple[str, ast.expr]]:
    """Where, and the first text, of everything that is raised for people to see: of ours, and of Evolution's."""
    source = Path(zapline.__file__).parent
    for path in (found for room in PEOPLE_SEE for found in [source / room, *source.glob(f"{room}/**/*.py")]):
        if not path.is_file() or path.name == "__init__.py":
            continue
        module = importlib.import_module("zapline." + ".".join(path.relative_to(source).with_suffix("").parts))
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Raise(exc=ast.Call(func=ast.Name(id=name), args=[*told])):
                    error = getattr(module, name, None)
                    if name == "invalid" or (isinstance(error, type) and is_shown(error)):
                        yield from ((f"{path.relative_to(source)}:{node.lineno}", text) for text in told)
                case ast.Call(func=ast.Name(id="Sentence"), args=[text, *_]):
                    yield f"{path.relative_to(source)}:{node.lineno}", text


def is_shown(error: type) -> bool:
    if issubclass(error, RemoteError):
        return issubclass(error, EvolutionFailure)  # of others the console tells what the API would
    return issubclass(error, LocalError) and not issubclass(error, ConfigurationError)


@pytest.mark.slow
@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.parents[1].name)
def test_every_error_that_is_shown_is_a_text_that_the_catalogue_has(path: Path) -> None:
    """Values stand in placeholders: a text that is put together before it is translated stays English."""
    known = {form for message in texts(read(path)) for form in forms(message.id)}
    found = 0
    for where, text in shown_errors():
        match text:
            case ast.Constant(value=str(words)) if " " in words:
                assert words in known, where
                found += 1
            case ast.JoinedStr(values=parts):
                # A field's name, as ``image.upload``, has no spaces.
                literals = [part.value for part in parts if isinstance(part, ast.Constant)]
                assert not any(" " in str(literal) for literal in literals), where
    assert found > 120, "the crawl finds the texts"


def test_what_people_read_has_no_marks_of_the_sources_and_nothing_of_ours_is_masked(sources: Catalog) -> None:
    said = {form for message in texts(sources) for form in forms(message.id)}
    for path in CATALOGUES:
        said |= {form for message in texts(read(path)) for form in forms(message.string)}
    said |= {text for each in EXPLANATIONS.values() for text in (each.sentence, each.advice)}
    said |= {text for each in VERSION_NOTES.values() for text in (each.note.sentence, each.note.advice)}
    said |= {*FAILURE_TEXTS.values()}
    for kind in ALL_FAILURES:
        failure = kind(kind.explanation)
        assert failure.detail == kind.explanation == str(failure.why)
        said |= {kind.explanation, failure.sentence}
    assert BadAnswer(Sentence("not JSON ({length} bytes)", length=123456789)).detail == "not JSON (123456789 bytes)"
    marks = re.compile(r"``|`|§|\bcontract\b|\bsection\b|\*\*\*\*|\[(secret|url|host)\]|:class:|docstring")
    assert sorted(text for text in said if marks.search(text)) == []


def test_errors_with_values_are_told_in_the_operators_language() -> None:
    errors: list[ZaplineError] = [
        NoAnswer(Sentence("no answer within {seconds} s", seconds=30)),
        EvolutionFailure("Error: 5511999990001 is unknown"),
        LocalError("there is no such unit"),
        DatabaseUnavailable("connection to server at 127.0.0.1 failed"),
    ]
    with pytest.raises(WrongCampaignState) as refused:
        next_state(CampaignCommand.PAUSE, CampaignState.DONE, None, 0.0)
    errors.append(refused.value)
    assert str(refused.value) == "the campaign is done: pause is not possible"
    token = translation._CURRENT.set(PORTUGUESE)
    try:
        assert [error_text(error) for error in errors] == [
            "O Evolution não fez o pedido (no_answer): sem resposta em 30 s",
            "O Evolution não fez o pedido (evolution_failure): Error: ****0001 is unknown",
            "Não há uma unidade aqui, ou ela está encerrada.",
            "o banco de dados não pode ser alcançado agora",
            "estado da campanha: concluída; não é possível pausar",
        ]
        assert _(invalid("limit", Sentence("has at most {limit} characters", limit=9)).detail) == (
            "limit: tem no máximo 9 caracteres"
        )
        with pytest.raises(InvalidPhone) as empty:
            parse_phone("", "BR")
        assert recipient_detail(str(empty.value)) != str(empty.value)
        assert recipient_detail("done") == "done"  # the name of a variable
        translation._CURRENT.set(SPANISH)
        assert [error_text(error) for error in errors] == [
            "Evolution no lo hizo (no_answer): sin respuesta en 30 s",
            "Evolution no lo hizo (evolution_failure): Error: ****0001 is unknown",
            "Aquí no hay ninguna unidad, o está cerrada.",
            "ahora no se llega a la base de datos",
            "estado de la campaña: terminado; no se puede pausar",
        ]
    finally:
        translation._CURRENT.reset(token)


def test_plurals_numbers_and_dates_follow_the_language() -> None:
    shown = {}
    for language in (ENGLISH, PORTUGUESE, SPANISH):
        token = translation._CURRENT.set(language)
        try:
            calls = [ngettext("{count} call", "{count} calls", count) for count in (0, 1, 2, 1234)]
            numbers = [formatting.number(1234567.891, 2), formatting.percent(0.0012, 2), formatting.number(None)]
            at = formatting.date_time(1_795_364_451.0, "America/Bahia")
            shown[language.tag] = [*calls, *numbers, at, formatting.clock_time(1_795_364_451.0, "UTC"), _("")]
        finally:
            translation._CURRENT.reset(token)
    assert shown["en"] == [
        *("0 calls", "1 call", "2 calls", "1,234 calls", "1,234,567.89", "0.12%", "–"),
        *("2026-11-22 13:20:51", "16:20", ""),
    ]
    assert shown["pt-BR"] == [
        *("0 chamada", "1 chamada", "2 chamadas", "1.234 chamadas", "1.234.567,89", "0,12%", "–"),
        *("22/11/2026 13:20:51", "16:20", ""),
    ]
    assert shown["es"] == [
        *("0 llamadas", "1 llamada", "2 llamadas", "1,234 llamadas", "1,234,567.89", "0.12%", "–"),
        *("22/11/26 13:20:51", "16:20", ""),
    ]
