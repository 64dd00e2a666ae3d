"""The pages that lead through the source name files and folders that are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = "crm|daemon|domain|evolution|http|sandbox|sql|supervisors"
PATH = re.compile(rf"(?<![\w/])((?:tests/)?(?:{ROOMS})/[A-Za-z0-9_/.]*[A-Za-z0-9_/])")


@pytest.mark.parametrize("page", ["docs/architecture.md", "docs/console.md", "CONTRIBUTING.md"])
def test_every_path_that_a_page_names_is_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = {path.rstrip("/") for path in PATH.findall(text)}
    assert named
    for path in named:
        base = ROOT / path if path.startswith("tests/") else ROOT / "src" / "zapline" / path
        assert base.exists() or base.with_suffix(".py").exists(), f"{page} leads to {path}"
