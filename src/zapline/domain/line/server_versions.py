"""Says what is known of a version of the Evolution server: faults that an operator meets, and what to do."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_VERSION = re.compile(r"v?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?")
Version = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class VersionNote:
    """A sentence for people, and the advice. ``severe``: messages are lost, so it should not stay so."""

    sentence: str
    advice: str
    severe: bool = False


@dataclass(frozen=True, slots=True)
class _Known:
    since: Version
    until: Version
    """The first version without it."""
    note: VersionNote


VERSION_NOTES: Mapping[str, _Known] = {
    "1.x": _Known(
        (0, 0, 0),
        (2, 0, 0),
        VersionNote(
            "Evolution 1.x sends each webhook once and never again.",
            "Update it: what Zapline misses is only found when the store is compared.",
            severe=True,
        ),
    ),
    "drops": _Known(
        (2, 3, 0),
        (2, 3, 7),
        VersionNote(
            "Evolution 2.3.0 to 2.3.6 takes some messages for repeated ones and drops them.",
            "Update it to 2.3.7.",
            severe=True,
        ),
    ),
    "edits": _Known(
        (2, 0, 0),
        (2, 3, 7),
        VersionNote(
            "Before 2.3.7 Evolution tells edits only in a way that stops its intake, and Zapline does without it.",
            "Update it to 2.3.7 to see edits at once; until then they come when the store is compared.",
        ),
    ),
    "passkey": _Known(
        (2, 0, 0),
        (2, 4, 1),
        VersionNote(
            "This version links no phone whose account asks for a passkey, nor some that cannot link a device.",
            "Look whether a newer Evolution does; lines that are linked already go on.",
        ),
    ),
    "licence": _Known(
        (2, 4, 0),
        (2, 5, 0),
        VersionNote(
            "Evolution 2.4 serves nothing until its licence is active.",
            "Open its manager page and activate the licence.",
        ),
    ),
    "logout": _Known(
        (2, 4, 0),
        (2, 4, 1),
        VersionNote(
            "After a logout, a scan on this version may end without the line opening.",
            "Ask to connect again; while somebody looks at the code, Zapline does so by itself.",
        ),
    ),
    "stuck": _Known(
        (2, 4, 0),
        (2, 4, 1),
        VersionNote(
            "On this version a line whose first connection after a start fails may never open again.",
            "Renew it: the instance is deleted and created again, and what waits stays.",
        ),
    ),
    "quotes": _Known(
        (2, 4, 0),
        (2, 4, 1),
        VersionNote(
            "On this version an answer in text does not say which message it answers.",
            "Nothing can be done; answers with a picture or a file do.",
        ),
    ),
}
"""By what each is about."""


def parse_version(text: str | None) -> Version | None:
    """The first three numbers of a version (``2.4.0-rc2``); None for what is none."""
    found = _VERSION.match(text or "")
    return (int(found[1]), int(found[2]), int(found[3] or 0)) if found is not None else None


def version_notes(text: str | None) -> tuple[VersionNote, ...]:
    """What is known of this version, the severe first."""
    version = parse_version(text)
    if version is None:
        return ()
    notes = [known.note for known in VERSION_NOTES.values() if known.since <= version < known.until]
    return tuple(sorted(notes, key=lambda note: not note.severe))
