import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zapline.domain.campaigns.recipients_csv import (
    LONGEST_VALUE,
    CsvReader,
    InvalidRecipients,
    RecipientInput,
    parse_json_recipients,
)


def read_all(data: bytes, size: int, charset: str = "utf-8") -> list[RecipientInput]:
    reader = CsvReader(charset)
    recipients: list[RecipientInput] = []
    for at in range(0, len(data), size):
        recipients += reader.feed(data[at : at + size])
    return recipients + reader.end()


LIST = (
    "\ufeffNome do cliente;Telefone;Observação;\r\n"
    'Ana;11999990001;"diz ""oi""; e\nassina";\r\n'
    "\r\n"
    "José  ;'+5511999990002;;\r\n"
    "Bia"
)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 10_000])
def test_a_csv_is_parsed_alike_in_chunks_of_any_size(size: int) -> None:
    assert read_all(LIST.encode(), size) == [
        RecipientInput("11999990001", {"nome_do_cliente": "Ana", "observação": 'diz "oi"; e\nassina'}),
        RecipientInput("'+5511999990002", {"nome_do_cliente": "José"}),
        RecipientInput("", {"nome_do_cliente": "Bia"}),
    ]
    latin = LIST.removeprefix("\ufeff").encode("cp1252")
    assert read_all(latin, size, "windows-1252")[1].values == {"nome_do_cliente": "José"}
    assert read_all(b"to\n5511999990001\n", size) == [RecipientInput("5511999990001", {})]
    assert read_all(b'name,"a;b;c",to\nAna,x,1\n', size)[0].to == "1"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "line 1: the list is empty"),
        (b"\n\n", "line 1: the list is empty"),
        (b"name,celular\nAna,1\n", "line 1: the header has no column"),
        (b"to,Nome,nome\n", "line 1: column nome is there twice"),
        (b"to,name\n1,Ana\n2,Jos\xe9\n", "line 3: this is not utf-8"),
        (b"to,name\n1,Ana,x\n", "line 2: more cells than the header has columns"),
        (b'to,name\n1,Ana\n2,"Bia\n3,C\n', "line 3: unexpected end of data"),
        (b'to,name\n1,"Ana"x\n', "line 2: "),
        (b"to,name\n1," + b"x" * (LONGEST_VALUE + 1), "line 2, column name: longer than"),
        (b"to\n" + b"x" * 300_000, "line 2: it does not end"),
        (b'to\n1\n"' + b"x\n" * 200_000, "line 3: it does not end; is a quote opened"),
        (b"to" + b",a" * 60 + b"\n", "line 1: more than 50 columns"),
    ],
)
def test_a_broken_list_is_refused_and_the_line_is_named(data: bytes, message: str) -> None:
    with pytest.raises(InvalidRecipients, match=f"^{message}"):
        read_all(data, 4096)
    with pytest.raises(InvalidRecipients):
        CsvReader("utf-16")


def test_recipients_in_json_are_parsed_like_those_of_a_csv() -> None:
    parsed = parse_json_recipients(
        [{"to": 5511999990001, "Nome": "Ana", "saldo": 1.5, "x": None, "y": ""}, {"telefone": "2"}]
    )
    assert parsed == [RecipientInput("5511999990001", {"nome": "Ana", "saldo": "1.5"}), RecipientInput("2", {})]
    with pytest.raises(InvalidRecipients, match="recipient 8: it has no"):
        parse_json_recipients([{"to": "1"}, {"nome": "Ana"}], 7)
    with pytest.raises(InvalidRecipients, match="recipient 1, nome: longer"):
        parse_json_recipients([{"to": "1", "nome": "x" * (LONGEST_VALUE + 1)}])


@given(st.lists(st.tuples(st.text(max_size=12), st.text(max_size=12)), max_size=6), st.integers(1, 40))
def test_rows_of_any_csv_writer_are_read_back_unchanged(rows: list[tuple[str, str]], size: int) -> None:
    clean = [tuple(cell.replace("\0", "").replace("\r", "").strip() for cell in row) for row in rows]
    written = io.StringIO()
    csv.writer(written, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows([("to", "v"), *clean])
    data = written.getvalue().encode("utf-8", "ignore")
    expected = [
        (a.encode("utf-8", "ignore").decode().strip(), b.encode("utf-8", "ignore").decode().strip()) for a, b in clean
    ]
    parsed = read_all(data, size)
    assert [(row.to, row.values.get("v", "")) for row in parsed] == [pair for pair in expected if any(pair)]
