"""Parses the recipients of a campaign from CSV, in chunks as it arrives, and from JSON."""

import codecs
import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from zapline.domain.campaigns.text_templates import variable_name
from zapline.domain.errors import LocalError
from zapline.domain.text import Sentence, clean_text

MAX_COLUMNS = 50
LONGEST_VALUE = 1000
"""Characters of a variable's value."""
_LONGEST_RECORD = 256 * 1024
"""Characters of one unfinished record: an unclosed quote must not fill the memory."""
_ENDLESS = Sentence("it does not end; is a quote opened and never closed?")
_BAD_QUOTES = Sentence("its quotes are not those of a CSV")
_CSV_ERRORS = {"field limit": _ENDLESS, "end of data": Sentence("unexpected end of data")}
"""What Python's reader says -> what people are told."""
_PHONE_COLUMNS = ("to", "phone", "telefone")
"""Headers of the column with the phones; the first that is present counts."""
CHARSETS = {"utf-8": "utf-8-sig", "utf8": "utf-8-sig", "windows-1252": "cp1252", "iso-8859-1": "latin-1"}
"""Charsets of a CSV -> codecs. The default is UTF-8, with or without a byte order mark."""


class InvalidRecipients(LocalError):
    """A list cannot be parsed; the message names the line, and the column where there is one."""


@dataclass(frozen=True, slots=True)
class RecipientInput:
    """A recipient as it stands in the list."""

    to: str
    values: Mapping[str, str]


class _IncompleteRecord(Exception):
    """The record continues in data that has not arrived."""


class CsvReader:
    """Parses a CSV in chunks: a header with a column of phones, delimiter ``,`` or ``;``, usual quotes.

    The other columns are variables, named by :func:`variable_name`. Lines count from 1.
    Every method raises :class:`InvalidRecipients`; the reader must not be used after that.
    """

    def __init__(self, charset: str = "utf-8") -> None:
        if charset not in CHARSETS:
            raise InvalidRecipients(Sentence("a list is written in {charsets}", charsets=", ".join(sorted(CHARSETS))))
        self._decoder = codecs.getincrementaldecoder(CHARSETS[charset])()
        self._charset = charset
        self._rest = ""
        """The last line, if it is incomplete."""
        self._lines: list[str] = []
        """Complete lines of an unfinished record."""
        self._line = 1
        """The number of the first of them."""
        self._decoded_lines = 1
        self._delimiter = ","
        self._columns: list[str] | None = None
        self._phone_column = 0

    def feed(self, data: bytes) -> list[RecipientInput]:
        """Return the recipients that ``data`` completes."""
        text = self._rest + self._decode(data, final=False)
        *complete, self._rest = text.split("\n")
        self._lines += [line + "\n" for line in complete]
        return self._read(final=False)

    def end(self) -> list[RecipientInput]:
        """Return the last recipients; no data follows."""
        self._rest += self._decode(b"", final=True)
        if self._rest:
            self._lines.append(self._rest)
            self._rest = ""
        recipients = self._read(final=True)
        if self._columns is None:
            raise _of_line(1, Sentence("the list is empty; it begins with a header"))
        return recipients

    def _decode(self, data: bytes, *, final: bool) -> str:
        try:
            text = self._decoder.decode(data, final)
        except UnicodeDecodeError as error:
            line = self._decoded_lines + error.object[: error.start].count(b"\n")
        else:
            self._decoded_lines += text.count("\n")
            return text
        what = Sentence(
            "this is not {charset}; save the list as CSV UTF-8, or say how it is written: "
            "Content-Type: text/csv; charset=windows-1252",
            charset=self._charset,
        )
        raise _of_line(line, what)

    def _read(self, *, final: bool) -> list[RecipientInput]:
        if self._columns is None and self._lines:
            self._delimiter = _delimiter(self._lines[0])
        parsed = (self._recipient(line, cells) for line, cells in self._records(final))
        recipients = [recipient for recipient in parsed if recipient is not None]
        if len(self._rest) + sum(map(len, self._lines)) > _LONGEST_RECORD:
            raise _of_line(self._line, _ENDLESS)
        return recipients

    def _records(self, final: bool) -> Iterator[tuple[int, list[str]]]:
        """Complete records with the numbers of their lines; an unfinished one stays in ``_lines``."""
        lines, first, done = self._lines, self._line, 0

        def source() -> Iterator[str]:
            yield from lines
            if not final:
                raise _IncompleteRecord

        reader = csv.reader(source(), delimiter=self._delimiter, strict=True)
        try:
            for cells in reader:
                yield first + done, cells
                done = reader.line_num
        except _IncompleteRecord:
            pass
        except csv.Error as error:
            what = next((told for part, told in _CSV_ERRORS.items() if part in str(error)), _BAD_QUOTES)
            raise _of_line(first + done, what) from None
        self._lines, self._line = lines[done:], first + done

    def _recipient(self, line: int, cells: list[str]) -> RecipientInput | None:
        cells = [clean_text(cell).strip() for cell in cells]
        if not any(cells):
            return None
        if self._columns is None:
            self._columns, self._phone_column = _parse_header(line, cells)
            return None
        if len(cells) > len(self._columns) and any(cells[len(self._columns) :]):
            raise _of_line(line, Sentence("more cells than the header has columns"))
        values: dict[str, str] = {}
        for column, (name, cell) in enumerate(zip(self._columns, cells, strict=False)):
            if len(cell) > LONGEST_VALUE:
                raise InvalidRecipients(
                    Sentence(
                        "line {line}, column {name}: longer than {limit} characters",
                        line=line,
                        name=name,
                        limit=LONGEST_VALUE,
                    )
                )
            if name and cell and column != self._phone_column:
                values[name] = cell
        return RecipientInput(cells[self._phone_column] if self._phone_column < len(cells) else "", values)


def _of_line(line: int, what: Sentence) -> InvalidRecipients:
    return InvalidRecipients(Sentence("line {line}: {what}", line=line, what=what))


def _delimiter(line: str) -> str:
    """The delimiter that occurs more often in the header, outside of quotes."""
    unquoted = "".join(line.split('"')[::2])
    return ";" if unquoted.count(";") > unquoted.count(",") else ","


def _parse_header(line: int, cells: list[str]) -> tuple[list[str], int]:
    columns = [variable_name(cell)[:64] for cell in cells]
    if len(columns) > MAX_COLUMNS:
        raise _of_line(line, Sentence("more than {limit} columns", limit=MAX_COLUMNS))
    repeated = [name for name, times in Counter(columns).items() if name and times > 1]
    if repeated:
        raise _of_line(line, Sentence("column {name} is there twice", name=repeated[0]))
    for name in _PHONE_COLUMNS:
        if name in columns:
            return columns, columns.index(name)
    raise _of_line(line, Sentence("the header has no column to, phone or telefone"))


def parse_json_recipients(
    rows: Iterable[Mapping[str, str | int | float | None]], first: int = 1
) -> list[RecipientInput]:
    """Parse recipients from JSON objects: ``to`` (or ``phone``, ``telefone``), the rest are variables.

    Raises :class:`InvalidRecipients` naming the number of the recipient.
    """
    recipients: list[RecipientInput] = []
    for number, row in enumerate(rows, first):
        values = {
            variable_name(clean_text(name)): clean_text(str(value)).strip()
            for name, value in row.items()
            if value is not None
        }
        if len(values) > MAX_COLUMNS:
            raise InvalidRecipients(
                Sentence("recipient {number}: more than {limit} variables", number=number, limit=MAX_COLUMNS)
            )
        for name, value in values.items():
            if len(value) > LONGEST_VALUE:
                raise InvalidRecipients(
                    Sentence(
                        "recipient {number}, {name}: longer than {limit} characters",
                        number=number,
                        name=name[:64],
                        limit=LONGEST_VALUE,
                    )
                )
        column = next((name for name in _PHONE_COLUMNS if name in values), None)
        if column is None:
            raise InvalidRecipients(Sentence("recipient {number}: it has no to, phone or telefone", number=number))
        recipients.append(
            RecipientInput(values.pop(column), {name[:64]: value for name, value in values.items() if value})
        )
    return recipients
