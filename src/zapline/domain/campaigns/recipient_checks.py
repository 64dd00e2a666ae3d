"""Decides which recipients of a campaign can be written to: phone, duplicates, variables, length of the text."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from zapline.domain.campaigns.recipients_csv import RecipientInput
from zapline.domain.campaigns.text_templates import LONGEST_TEXT, MessageTemplate
from zapline.domain.contacts.phone_numbers import InvalidPhone, parse_phone
from zapline.domain.privacy.masking import mask_phone, mask_text
from zapline.domain.text import clean_text

MAX_RECIPIENTS = 100_000
"""Of one campaign."""
_LONGEST_GIVEN = 80
_SPACING = str.maketrans("", "", " ()-.\u00a0")
_BRAZILIAN = re.compile(r"(\+?55)?((?:[14689][1-9]|2[12478]|3[1-578]|5[13-5]|7[13-79])9\d{8})", re.ASCII)
"""A mobile with its ninth digit: what most lists are full of. Reading any other phone takes fifty times as long."""
_LONGEST_DETAIL = 200
_EXAMPLES = 10
_PREVIEWS = 3


@dataclass(frozen=True, slots=True)
class CheckedRecipient:
    """A recipient and whether it can be written to. ``reason`` None: it can."""

    number: int
    recipient: str
    """Canonical identity; what was given where that names no phone."""
    values: Mapping[str, str]
    reason: str | None = None
    detail: str | None = None


def parse_recipient_phone(text: str, region: str) -> str | None:
    """The canonical phone, as ``zapline.domain.contacts.phone_numbers.parse_phone`` reads it; None where it is none."""
    text = text.strip().removeprefix("'")  # which spreadsheets are given to leave a plus alone
    quick = _BRAZILIAN.fullmatch(text.translate(_SPACING))
    if quick is not None and (region == "BR" or (quick[1] or "").startswith("+")):
        return f"+55{quick[2]}"
    try:
        return parse_phone(text, region)
    except InvalidPhone:
        return None


def check_recipients(
    given: Iterable[RecipientInput], first: int, letter: MessageTemplate, seen: set[str], region: str
) -> list[CheckedRecipient]:
    """What can be told of recipients without asking the database; ``first`` is the number of the first.

    ``seen``: the phones of the list so far; those that are taken are added.
    """
    made: list[CheckedRecipient] = []
    for number, one in enumerate(given, first):
        phone = parse_recipient_phone(one.to, region)
        if phone is None:
            told = clean_text(one.to.strip(), _LONGEST_GIVEN)
            made.append(CheckedRecipient(number, told, one.values, "invalid_phone"))
        elif phone in seen:
            made.append(CheckedRecipient(number, phone, one.values, "duplicate"))
        elif missing := letter.missing(one.values):
            made.append(
                CheckedRecipient(number, phone, one.values, "missing_variable", ", ".join(missing)[:_LONGEST_DETAIL])
            )
        elif letter.length(one.values) > LONGEST_TEXT:
            made.append(CheckedRecipient(number, phone, one.values, "too_long"))
        else:
            seen.add(phone)
            made.append(CheckedRecipient(number, phone, one.values))
    return made


@dataclass(slots=True)
class RecipientCounts:
    """What became of a list so far; of the texts only a few, for a person to look at."""

    received: int = 0
    accepted: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    examples: list[CheckedRecipient] = field(default_factory=list)
    """The first that are skipped; their phones are masked."""
    previews: list[tuple[str, str]] = field(default_factory=list)
    """(masked phone, text or caption) of the first that are not."""

    def add(self, judged: Iterable[CheckedRecipient], letter: MessageTemplate) -> None:
        for one in judged:
            self.received += 1
            if one.reason is None:
                self.accepted += 1
                if len(self.previews) < _PREVIEWS:
                    written = letter.write(one.values).content
                    said = getattr(written, "text", None) or getattr(written, "caption", None) or ""
                    self.previews.append((mask_phone(one.recipient), said))
                continue
            self.skipped[one.reason] += 1
            if len(self.examples) < _EXAMPLES:
                told = mask_phone(one.recipient) if one.recipient.startswith("+") else mask_text(one.recipient)
                self.examples.append(CheckedRecipient(one.number, told, {}, one.reason, one.detail))
