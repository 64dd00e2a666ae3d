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
_LONGEST_INPUT = 80
_SPACING = str.maketrans("", "", " ()-.\u00a0")
_BRAZILIAN = re.compile(r"(\+?55)?((?:[14689][1-9]|2[12478]|3[1-578]|5[13-5]|7[13-79])9\d{8})", re.ASCII)
"""A mobile with its ninth digit, the most frequent form. Parsing any other phone takes fifty times as long."""
_LONGEST_DETAIL = 200
_EXAMPLES = 10
_PREVIEWS = 3


@dataclass(frozen=True, slots=True)
class CheckedRecipient:
    """A recipient and whether it can be written to. ``reason`` None: it can."""

    number: int
    recipient: str
    """Canonical identity; the input where it is not a phone."""
    values: Mapping[str, str]
    reason: str | None = None
    detail: str | None = None


def parse_recipient_phone(text: str, region: str) -> str | None:
    """The canonical phone as :func:`parse_phone` returns it; None where the text is not a phone."""
    return _read_phone(text, region)[0]


def _read_phone(text: str, region: str) -> tuple[str | None, str | None]:
    """The canonical phone, or None and what is wrong with the text."""
    text = text.strip().removeprefix("'")  # written in spreadsheets to keep a plus as text
    quick = _BRAZILIAN.fullmatch(text.translate(_SPACING))
    if quick is not None and (region == "BR" or (quick[1] or "").startswith("+")):
        return f"+55{quick[2]}", None
    try:
        return parse_phone(text, region), None
    except InvalidPhone as invalid:
        return None, str(invalid)


def check_recipients(
    inputs: Iterable[RecipientInput], first: int, template: MessageTemplate, seen: set[str], region: str
) -> list[CheckedRecipient]:
    """Check recipients without the database; ``first`` is the number of the first.

    ``seen``: the accepted phones of the list so far; new ones are added to it.
    """
    checked: list[CheckedRecipient] = []
    for number, row in enumerate(inputs, first):
        phone, detail = _read_phone(row.to, region)
        recipient, reason = phone or clean_text(row.to.strip(), _LONGEST_INPUT), None
        if phone is None:
            reason = "invalid_phone"
        elif phone in seen:
            reason = "duplicate"
        elif missing := template.of(number).missing(row.values):
            reason, detail = "missing_variable", ", ".join(missing)[:_LONGEST_DETAIL]
        elif template.of(number).length(row.values) > LONGEST_TEXT:
            reason = "too_long"
        else:
            seen.add(phone)
        checked.append(CheckedRecipient(number, recipient, row.values, reason, detail))
    return checked


@dataclass(slots=True)
class RecipientCounts:
    """Counts of the recipients checked so far, and a few examples for a person to look at."""

    received: int = 0
    accepted: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    examples: list[CheckedRecipient] = field(default_factory=list)
    """The first skipped recipients, with masked phones."""
    unchecked: int | None = None
    """Numbers of which WhatsApp has said nothing yet; None: nobody wanted to know."""
    previews: list[tuple[str, str]] = field(default_factory=list)
    """(masked phone, text or caption) of the first accepted recipients."""

    def add(self, checked: Iterable[CheckedRecipient], template: MessageTemplate) -> None:
        for row in checked:
            self.received += 1
            if row.reason is None:
                self.accepted += 1
                if len(self.previews) < _PREVIEWS:
                    content = template.of(row.number).render(row.values).content
                    text = getattr(content, "text", None) or getattr(content, "caption", None) or ""
                    self.previews.append((mask_phone(row.recipient), text))
                continue
            self.skipped[row.reason] += 1
            if len(self.examples) < _EXAMPLES:
                masked = mask_phone(row.recipient) if row.recipient.startswith("+") else mask_text(row.recipient)
                self.examples.append(CheckedRecipient(row.number, masked, {}, row.reason, row.detail))
