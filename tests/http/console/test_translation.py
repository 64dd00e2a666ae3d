"""Every text of the console is in every catalogue, and no catalogue has texts that no page shows."""

import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.frontend import CommandLineInterface
from babel.messages.pofile import read_po

from zapline.domain.line.reasons import EXPLANATIONS
from zapline.domain.outbox.failure_texts import FAILURE_TEXTS, failure_text
from zapline.http.console.framework import formatting, translation
from zapline.http.console.framework.translation import ENGLISH, LANGUAGES, PORTUGUESE, _, ngettext

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
    assert explained | {*FAILURE_TEXTS.values(), failure_text("unheard of")} <= found
    assert {*formatting.SCRIPT_TEXTS, "there is no such unit", "email or password is wrong"} <= found


def test_plurals_numbers_and_dates_follow_the_language() -> None:
    shown = {}
    for language in (ENGLISH, PORTUGUESE):
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
