"""Every text of the console is there in every language, and no language has texts that nobody shows."""

import ast
import json
import string
from collections.abc import Iterator
from pathlib import Path

from jinja2 import Environment
from jinja2.ext import extract_from_ast

from zapline.domain.line.reasons import EXPLANATIONS
from zapline.domain.outbox.failure_texts import REASONS
from zapline.http.console.framework.formatting import SCRIPT_TEXTS

CONSOLE = Path(__file__).parents[3] / "src" / "zapline" / "http" / "console"
WORDS = {"_": 1, "mark": 1, "plural": 2}
"""What marks a text, and how many of its first arguments are texts."""


def in_templates() -> Iterator[str]:
    environment = Environment()
    for path in sorted(CONSOLE.rglob("*.html")):
        for _, word, texts in extract_from_ast(environment.parse(path.read_text()), tuple(WORDS)):
            given = texts if isinstance(texts, tuple) else (texts,)
            yield from (text for text in given[: WORDS[word]] if text is not None)


def in_modules() -> Iterator[str]:
    for path in sorted(CONSOLE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in WORDS:
                for given in node.args[: WORDS[node.func.id]]:
                    if isinstance(given, ast.Constant) and isinstance(given.value, str):
                        yield given.value


def of_the_domain() -> Iterator[str]:
    """Sentences that are shown as they come from other rooms."""
    for explained in EXPLANATIONS.values():
        yield from (explained.sentence, explained.advice)
    yield from REASONS.values()


def elsewhere() -> Iterator[str]:
    """Details of problems that people see: these texts stand in the API's modules."""
    text = "\n".join(path.read_text() for path in sorted((CONSOLE.parent).rglob("*.py")))
    text += "\n".join(path.read_text() for path in sorted((CONSOLE.parents[1] / "supervisors").rglob("*.py")))
    for language in (CONSOLE / "languages").iterdir():
        for known in translations(language):
            if f'"{known}"' in text:
                yield known


def translations(language: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for file in language.iterdir():
        more = json.loads(file.read_text())
        differ = {text for text in found.keys() & more.keys() if found[text] != more[text]}
        assert not differ, f"{file.name} says it otherwise"
        found |= more
    return found


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_every_text_is_translated_and_every_translation_is_shown() -> None:
    needed = {*in_templates(), *in_modules(), *SCRIPT_TEXTS, *of_the_domain()}
    for language in (CONSOLE / "languages").iterdir():
        known = translations(language)
        assert sorted(needed - known.keys()) == [], f"not in {language.name}"
        assert sorted(known.keys() - needed - set(elsewhere())) == [], f"nobody shows these of {language.name}"
        for text, translation in known.items():
            assert places(text) == places(translation), text
            assert translation.strip() == translation != "", text
