import pytest
from hypothesis import given
from hypothesis import strategies as st

from zapline.domain.campaigns.text_templates import InvalidTemplate, MessageTemplate, TextTemplate, variable_name
from zapline.domain.messages.facts import MessageKind
from zapline.domain.outbox.contents import File, OutgoingMessage, Text


def template_of(text: str = "Olá {{nome}}") -> MessageTemplate:
    return MessageTemplate.parse(OutgoingMessage(Text(text)))


def test_a_variable_is_replaced_and_an_empty_one_falls_back() -> None:
    template = TextTemplate.parse("Oi {{ Nome }}, {{Nome do plano|seu plano}} vence {{dia}}. }} {x}")
    assert template.needed == {"nome", "dia"}
    rendered = template.render({"nome": "Ana", "nome_do_plano": "", "dia": "{{nome}}"})
    assert rendered == "Oi Ana, seu plano vence {{nome}}. }} {x}"
    with pytest.raises(KeyError):
        template.render({"nome": "Ana"})
    assert variable_name(" Nome-do  CLIENTE ") == "nome_do_cliente"


@pytest.mark.parametrize(
    "text", ["{{", "Oi {{nome", "{{}}", "{{a b!}}", "{{{{nome}}", "{{|x}}", "{{" + "n" * 65 + "}}"]
)
def test_a_text_with_broken_variables_is_refused(text: str) -> None:
    with pytest.raises(InvalidTemplate):
        TextTemplate.parse(text)


def test_a_files_caption_and_name_hold_variables_and_nothing_else_does() -> None:
    file = File(MessageKind.DOCUMENT, url="https://x.example/{{a}}", caption="Para {{nome}}", file_name="{{nome}}.pdf")
    template = MessageTemplate.parse(OutgoingMessage(file))
    assert template.needed == ("nome",)
    rendered = template.render({"nome": "Ana"}).content
    assert rendered == File(
        MessageKind.DOCUMENT, url="https://x.example/{{a}}", caption="Para Ana", file_name="Ana.pdf"
    )
    assert template_of("a{{b}}{{a}}").missing({"a": ""}) == ["a", "b"]


@given(st.text(alphabet="ab{}| ", max_size=30), st.text(max_size=10))
def test_any_text_is_parsed_or_refused_and_a_text_without_variables_stays_as_it_is(text: str, value: str) -> None:
    try:
        template = TextTemplate.parse(text)
    except InvalidTemplate:
        return
    rendered = template.render(dict.fromkeys(template.needed, value or "x"))
    if not template.needed and "{{" not in text:
        assert rendered == text


def test_a_file_name_with_values_is_not_a_path() -> None:
    template = MessageTemplate.parse(
        OutgoingMessage(File(MessageKind.DOCUMENT, url="https://example.com/a", file_name="{{n}}.pdf"))
    )
    content = template.render({"n": "../../x\n"}).content
    assert isinstance(content, File)
    assert content.file_name == "_.._x_.pdf"
