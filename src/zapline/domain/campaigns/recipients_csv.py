"""Decides who of a list can be written to: reads CSV as it comes in, and judges one recipient after the other."""

import codecs
import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from zapline.domain.campaigns.text_templates import LONGEST_TEXT, Letter, variable_name
from zapline.domain.contacts.phone_numbers import InvalidPhone, parse_phone
from zapline.domain.errors import LocalError
from zapline.domain.privacy.masking import mask_phone, mask_text
from zapline.domain.text import clean_text

MOST_RECIPIENTS = 100_000
"""Of one campaign."""
MOST_COLUMNS = 50
LONGEST_VALUE = 1000
"""Characters of a variable: a paragraph, not a book."""
_LONGEST_GIVEN = 80
_LONGEST_RECORD = 256 * 1024
"""Characters of one record that is not ended: a quote that is never closed must not fill the memory."""
_ENDLESS = "it does not end; is a quote opened and never closed?"
_PHONE_COLUMNS = ("to", "phone", "telefone")
"""Headers of the column with the phones; the first that is there."""
CHARSETS = {"utf-8": "utf-8-sig", "utf8": "utf-8-sig", "windows-1252": "cp1252", "iso-8859-1": "latin-1"}
"""How a CSV may be written. Where nothing is said it is UTF-8, with or without its mark."""


class InvalidRecipients(LocalError):
    """A list cannot be read; the text names the line, and the column where there is one."""


@dataclass(frozen=True, slots=True)
class Given:
    """A recipient as somebody wrote it."""

    to: str
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Judged:
    """A recipient and whether it can be written to. ``reason`` None: it can."""

    number: int
    recipient: str
    """Canonical identity; what was given where that names no phone."""
    values: Mapping[str, str]
    reason: str | None = None
    detail: str | None = None


# -- judging -------------------------------------------------------------------------------------------------

_SPACING = str.maketrans("", "", " ()-.\u00a0")
_BRAZILIAN = re.compile(r"(\+?55)?((?:[14689][1-9]|2[12478]|3[1-578]|5[13-5]|7[13-79])9\d{8})", re.ASCII)
"""A mobile with its ninth digit: what most lists are full of. Reading any other phone takes fifty times as long."""


def read_phone(text: str, region: str) -> str | None:
    """The canonical phone, as ``zapline.domain.contacts.phone_numbers.parse_phone`` reads it; None where it is none."""
    text = text.strip().removeprefix("'")  # which spreadsheets are given to leave a plus alone
    quick = _BRAZILIAN.fullmatch(text.translate(_SPACING))
    if quick is not None and (region == "BR" or (quick[1] or "").startswith("+")):
        return f"+55{quick[2]}"
    try:
        return parse_phone(text, region)
    except InvalidPhone:
        return None


def judge(given: Iterable[Given], first: int, letter: Letter, seen: set[str], region: str) -> list[Judged]:
    """What can be told of recipients without asking the database; ``first`` is the number of the first.

    ``seen``: the phones of the list so far; those that are taken are added.
    """
    made: list[Judged] = []
    for number, one in enumerate(given, first):
        phone = read_phone(one.to, region)
        if phone is None:
            told = clean_text(one.to.strip(), _LONGEST_GIVEN)
            made.append(Judged(number, told, one.values, "invalid_phone"))
        elif phone in seen:
            made.append(Judged(number, phone, one.values, "duplicate"))
        elif missing := letter.missing(one.values):
            made.append(Judged(number, phone, one.values, "missing_variable", ", ".join(missing)[:_LONGEST_DETAIL]))
        elif letter.length(one.values) > LONGEST_TEXT:
            made.append(Judged(number, phone, one.values, "too_long"))
        else:
            seen.add(phone)
            made.append(Judged(number, phone, one.values))
    return made


_LONGEST_DETAIL = 200
_EXAMPLES = 10
_PREVIEWS = 3


@dataclass(slots=True)
class Tally:
    """What became of a list so far; of the texts only a few, for a person to look at."""

    received: int = 0
    accepted: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    examples: list[Judged] = field(default_factory=list)
    """The first that are skipped; their phones are masked."""
    previews: list[tuple[str, str]] = field(default_factory=list)
    """(masked phone, text or caption) of the first that are not."""

    def add(self, judged: Iterable[Judged], letter: Letter) -> None:
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
                self.examples.append(Judged(one.number, told, {}, one.reason, one.detail))


# -- reading -------------------------------------------------------------------------------------------------


class _MoreWanted(Exception):
    """The record goes on in what has not come yet."""


class CsvReader:
    """Reads a CSV in pieces: a header with a column of phones, delimiter ``,`` or ``;``, quotes as usual.

    The other columns are variables, named as :func:`variable_name` says. Lines count from 1.
    Every method raises :class:`InvalidRecipients`; the reader is of no use after that.
    """

    def __init__(self, charset: str = "utf-8") -> None:
        if charset not in CHARSETS:
            raise InvalidRecipients(f"a list is written in {', '.join(sorted(CHARSETS))}")
        self._decoder = codecs.getincrementaldecoder(CHARSETS[charset])()
        self._charset = charset
        self._rest = ""
        """The last line, not ended."""
        self._lines: list[str] = []
        """Whole lines of a record that is not ended."""
        self._line = 1
        """Number of the first of them."""
        self._decoded_lines = 1
        self._delimiter = ","
        self._columns: list[str] | None = None
        self._phone = 0

    def feed(self, data: bytes) -> list[Given]:
        """The recipients that ``data`` completes."""
        text = self._rest + self._decode(data, final=False)
        *whole, self._rest = text.split("\n")
        self._lines += [line + "\n" for line in whole]
        return self._read(final=False)

    def end(self) -> list[Given]:
        """The last ones. Nothing follows."""
        self._rest += self._decode(b"", final=True)
        if self._rest:
            self._lines.append(self._rest)
            self._rest = ""
        found = self._read(final=True)
        if self._columns is None:
            raise InvalidRecipients("line 1: the list is empty; it begins with a header")
        return found

    def _decode(self, data: bytes, *, final: bool) -> str:
        try:
            text = self._decoder.decode(data, final)
        except UnicodeDecodeError as error:
            line = self._decoded_lines + error.object[: error.start].count(b"\n")
        else:
            self._decoded_lines += text.count("\n")
            return text
        raise InvalidRecipients(
            f"line {line}: this is not {self._charset}; save the list as CSV UTF-8, or say how it is written: "
            "Content-Type: text/csv; charset=windows-1252"
        )

    def _read(self, *, final: bool) -> list[Given]:
        if self._columns is None and self._lines:
            self._delimiter = _delimiter(self._lines[0])
        found = [one for line, cells in self._records(final) if (one := self._recipient(line, cells)) is not None]
        if len(self._rest) + sum(map(len, self._lines)) > _LONGEST_RECORD:
            raise InvalidRecipients(f"line {self._line}: {_ENDLESS}")
        return found

    def _records(self, final: bool) -> Iterator[tuple[int, list[str]]]:
        """Records that are whole, with the numbers of their lines; what is not stays in ``_lines``."""
        lines, first, done = self._lines, self._line, 0

        def source() -> Iterator[str]:
            yield from lines
            if not final:
                raise _MoreWanted

        reader = csv.reader(source(), delimiter=self._delimiter, strict=True)
        try:
            for cells in reader:
                yield first + done, cells
                done = reader.line_num
        except _MoreWanted:
            pass
        except csv.Error as error:
            endless = "field limit" in str(error)
            raise InvalidRecipients(f"line {first + done}: {_ENDLESS if endless else error}") from None
        self._lines, self._line = lines[done:], first + done

    def _recipient(self, line: int, cells: list[str]) -> Given | None:
        cells = [clean_text(cell).strip() for cell in cells]
        if not any(cells):
            return None
        if self._columns is None:
            self._columns, self._phone = _header(line, cells)
            return None
        if len(cells) > len(self._columns) and any(cells[len(self._columns) :]):
            raise InvalidRecipients(f"line {line}: more cells than the header has columns")
        values: dict[str, str] = {}
        for place, (name, cell) in enumerate(zip(self._columns, cells, strict=False)):
            if len(cell) > LONGEST_VALUE:
                raise InvalidRecipients(f"line {line}, column {name}: longer than {LONGEST_VALUE} characters")
            if name and cell and place != self._phone:
                values[name] = cell
        return Given(cells[self._phone] if self._phone < len(cells) else "", values)


def _delimiter(line: str) -> str:
    """The one of the two that stands more often in the header, outside of quotes."""
    bare = "".join(line.split('"')[::2])
    return ";" if bare.count(";") > bare.count(",") else ","


def _header(line: int, cells: list[str]) -> tuple[list[str], int]:
    columns = [variable_name(cell)[:64] for cell in cells]
    if len(columns) > MOST_COLUMNS:
        raise InvalidRecipients(f"line {line}: more than {MOST_COLUMNS} columns")
    twice = [name for name, times in Counter(columns).items() if name and times > 1]
    if twice:
        raise InvalidRecipients(f"line {line}: column {twice[0]} is there twice")
    for name in _PHONE_COLUMNS:
        if name in columns:
            return columns, columns.index(name)
    raise InvalidRecipients(f"line {line}: the header has no column {', '.join(_PHONE_COLUMNS[:-1])} or telefone")


def read_listed(listed: Iterable[Mapping[str, str | int | float | None]], first: int = 1) -> list[Given]:
    """Recipients given as JSON objects: ``to`` (or ``phone``, ``telefone``), the rest are variables.

    Raises :class:`InvalidRecipients` naming the number of the recipient.
    """
    made: list[Given] = []
    for number, one in enumerate(listed, first):
        told = {
            variable_name(clean_text(name)): clean_text(str(value)).strip()
            for name, value in one.items()
            if value is not None
        }
        if len(told) > MOST_COLUMNS:
            raise InvalidRecipients(f"recipient {number}: more than {MOST_COLUMNS} variables")
        for name, value in told.items():
            if len(value) > LONGEST_VALUE:
                raise InvalidRecipients(f"recipient {number}, {name[:64]}: longer than {LONGEST_VALUE} characters")
        column = next((name for name in _PHONE_COLUMNS if name in told), None)
        if column is None:
            raise InvalidRecipients(f"recipient {number}: it has no {', '.join(_PHONE_COLUMNS[:-1])} or telefone")
        made.append(Given(told.pop(column), {name[:64]: value for name, value in told.items() if value}))
    return made
