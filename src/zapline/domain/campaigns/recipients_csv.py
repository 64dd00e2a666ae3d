"""Decides who of a list can be written to: reads CSV as it comes in, and judges one recipient after the other."""

import codecs
import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from zapline.domain.campaigns.text_templates import variable_name
from zapline.domain.errors import LocalError
from zapline.domain.text import clean_text

MAX_COLUMNS = 50
LONGEST_VALUE = 1000
"""Characters of a variable: a paragraph, not a book."""
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
class RecipientInput:
    """A recipient as somebody wrote it."""

    to: str
    values: Mapping[str, str]


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

    def feed(self, data: bytes) -> list[RecipientInput]:
        """The recipients that ``data`` completes."""
        text = self._rest + self._decode(data, final=False)
        *whole, self._rest = text.split("\n")
        self._lines += [line + "\n" for line in whole]
        return self._read(final=False)

    def end(self) -> list[RecipientInput]:
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

    def _read(self, *, final: bool) -> list[RecipientInput]:
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

    def _recipient(self, line: int, cells: list[str]) -> RecipientInput | None:
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
        return RecipientInput(cells[self._phone] if self._phone < len(cells) else "", values)


def _delimiter(line: str) -> str:
    """The one of the two that stands more often in the header, outside of quotes."""
    bare = "".join(line.split('"')[::2])
    return ";" if bare.count(";") > bare.count(",") else ","


def _header(line: int, cells: list[str]) -> tuple[list[str], int]:
    columns = [variable_name(cell)[:64] for cell in cells]
    if len(columns) > MAX_COLUMNS:
        raise InvalidRecipients(f"line {line}: more than {MAX_COLUMNS} columns")
    twice = [name for name, times in Counter(columns).items() if name and times > 1]
    if twice:
        raise InvalidRecipients(f"line {line}: column {twice[0]} is there twice")
    for name in _PHONE_COLUMNS:
        if name in columns:
            return columns, columns.index(name)
    raise InvalidRecipients(f"line {line}: the header has no column {', '.join(_PHONE_COLUMNS[:-1])} or telefone")


def parse_json_recipients(
    listed: Iterable[Mapping[str, str | int | float | None]], first: int = 1
) -> list[RecipientInput]:
    """Recipients given as JSON objects: ``to`` (or ``phone``, ``telefone``), the rest are variables.

    Raises :class:`InvalidRecipients` naming the number of the recipient.
    """
    made: list[RecipientInput] = []
    for number, one in enumerate(listed, first):
        told = {
            variable_name(clean_text(name)): clean_text(str(value)).strip()
            for name, value in one.items()
            if value is not None
        }
        if len(told) > MAX_COLUMNS:
            raise InvalidRecipients(f"recipient {number}: more than {MAX_COLUMNS} variables")
        for name, value in told.items():
            if len(value) > LONGEST_VALUE:
                raise InvalidRecipients(f"recipient {number}, {name[:64]}: longer than {LONGEST_VALUE} characters")
        column = next((name for name in _PHONE_COLUMNS if name in told), None)
        if column is None:
            raise InvalidRecipients(f"recipient {number}: it has no {', '.join(_PHONE_COLUMNS[:-1])} or telefone")
        made.append(RecipientInput(told.pop(column), {name[:64]: value for name, value in told.items() if value}))
    return made
