"""Rules of the house that no linter knows."""

import ast
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "src").rglob("*.py"))


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_a_module_has_one_job(module: Path) -> None:
    text = module.read_text()
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno <= 70, node.name
    if text.strip() and module.name != "__init__.py":
        assert ast.get_docstring(ast.parse(text)), "the first line of a module says what it decides or performs"


def test_a_folder_can_be_read_at_a_glance() -> None:
    folders = Counter(module.parent for module in MODULES)
    assert {str(folder): count for folder, count in folders.items() if count > 14} == {}


def test_a_package_says_what_it_is_for() -> None:
    for module in MODULES:
        if module.name == "__init__.py":
            docstring = ast.get_docstring(ast.parse(module.read_text()))
            assert docstring, module
            assert docstring != "TODO", module


def test_the_lock_file_holds_names_versions_and_hashes_only() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert len(lines) > 100
    for line in lines:
        assert re.fullmatch(r"[a-z0-9.-]+==[^\s/]+(?: ; [^/\\]+)? \\| {4}--hash=sha256:[0-9a-f]{64}(?: \\)?", line), (
            line
        )


def test_each_target_of_the_makefile_is_explained() -> None:
    told = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("run", "test", "check", "bench", "chaos", "docs", "lock"):
        assert f"make {target}" in told


def test_only_keepers_and_error_handlers_catch_any_exception() -> None:
    found = set()
    for module in MODULES:
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.ExceptHandler) and isinstance(node.type, ast.Name) and node.type.id == "Exception":
                found.add(str(module.relative_to(ROOT / "src" / "zapline")))
    assert found <= {"supervisors/restart_keeper.py", "http/api/framework/problems.py", "http/server/serve.py"}, found


def test_the_parts_of_make_test_are_the_whole() -> None:
    text = (ROOT / "Makefile").read_text()
    parts = re.findall(r"^(?:FIRST|SECOND|THIRD) := (.+)$", text, re.MULTILINE)
    listed = [place for part in parts for place in part.split()]
    found = {
        str(path.relative_to(ROOT).parts[0] + "/" + path.relative_to(ROOT).parts[1])
        for path in (ROOT / "tests").rglob("test_*.py")
    }
    assert sorted(listed) == sorted(found)
