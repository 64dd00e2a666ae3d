"""docs/glossary.md has one explanation for each word, and the words of the states page are in it."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
ROW = re.compile(r"^\| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


def words() -> list[str]:
    rows = ROW.findall((DOCS / "glossary.md").read_text(encoding="utf-8"))
    return [word for names, _ in rows if names not in ("word", "---") for word in names.split(", ")]


def test_no_word_is_explained_twice() -> None:
    assert len(words()) == len(set(words()))


def test_the_words_of_the_house_are_explained() -> None:
    house = {
        *(
            "unit",
            "instance",
            "actor",
            "mailbox",
            "journal",
            "roster",
            "keeper",
            "quarantine",
            "phase",
            "step",
            "event",
            "effect",
        ),
        *(
            "outbox",
            "lane",
            "lease",
            "fence",
            "uncertain",
            "echo",
            "backfill",
            "reconcile",
            "watermark",
            "clientMessageId",
            "backoff",
            "jitter",
        ),
        *(
            "spread",
            "pace",
            "throttled",
            "drain",
            "grace",
            "masking",
            "wanted",
            "observation",
            "doubt",
            "signal",
            "move",
        ),
    }
    assert house - set(words()) == set()
    assert {"dead letter", "parked report", "restart intensity"} <= set(words())


def test_the_pages_it_leads_to_are_there() -> None:
    text = (DOCS / "glossary.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert (DOCS / target).is_file(), target
