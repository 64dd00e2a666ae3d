import io
import json
import logging
import subprocess
import sys
import textwrap
import threading
import uuid
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from zapline.daemon.logs import configuration

CANARY = "5511987654321"
SECRET = "c4n4ry-S3cr3t_0f-A-Webh00k"
EARLY = structlog.get_logger(scope="Early")
"""Made at import, before any set-up, as the rooms below do."""

Configure = Callable[..., io.BytesIO]


@pytest.fixture
def configure() -> Iterator[Configure]:
    undos = []

    def start(format: configuration.Format = "text", level: str = "debug") -> io.BytesIO:
        stream = io.BytesIO()
        undos.append(configuration.configure(format, level, stream))
        return stream

    yield start
    for undo in reversed(undos):
        undo()


def lines(stream: io.BytesIO) -> list[str]:
    return stream.getvalue().decode().splitlines()


def entry(stream: io.BytesIO) -> dict[str, Any]:
    (line,) = lines(stream)
    return dict(json.loads(line))


def test_terminal_lines_read_as_promised(configure: Configure) -> None:
    out = configure("text")
    unit = uuid.uuid4()
    configuration.get_logger("Webhook:abc-123").info("Message created: 0d9f")
    configuration.get_logger("MessageHandler").info(
        "New message from {sender} (Unit: {unit}, Provider: {provider})",
        sender="+5511999999999",
        unit=unit,
        provider="evolution",
    )
    configuration.get_logger("MessageHandler").info("Duplicate message deduplicated: 3EB0A1 (evolution)")
    configuration.get_logger("Webhook:jkl-012").warning("Unknown instance: unit_test_fake, provider: evolution")
    configuration.get_logger("webhook_jkl-012").security("Auth failed: Unknown instance: unit_test_fake")
    assert lines(out) == [
        "[INFO] [Webhook:abc-123] Message created: 0d9f",
        f"[INFO] [MessageHandler] New message from ****9999 (Unit: {unit}, Provider: evolution)",
        "[INFO] [MessageHandler] Duplicate message deduplicated: 3EB0A1 (evolution)",
        "[WARN] [Webhook:jkl-012] Unknown instance: unit_test_fake, provider: evolution",
        "[SECURITY] [webhook_jkl-012] Auth failed: Unknown instance: unit_test_fake",
    ]


def test_fields_stand_behind_the_text_on_a_terminal(configure: Configure) -> None:
    out = configure("text")
    configuration.get_logger("Line").info("Line is open", unit="u1", reason="two words", count=3, ok=True, none=None)
    assert lines(out) == ['[INFO] [Line] Line is open unit=u1 reason="two words" count=3 ok=true none=null']


def test_a_json_line_holds_time_level_scope_event_and_fields(configure: Configure) -> None:
    out = configure("json")
    configuration.get_logger("Keeper").warning("Crashed {times} times", times=3, at=1795278051, phone=CANARY)
    output = entry(out)
    assert output.pop("ts").endswith("Z")
    assert output == {
        "level": "warning",
        "scope": "Keeper",
        "event": "Crashed 3 times",
        "times": 3,
        "at": 1795278051,
        "phone": "****4321",
    }


def test_a_logger_made_before_the_set_up_follows_every_later_one(configure: Configure) -> None:
    first = configure("json")
    EARLY.info("one")
    second = configure("text")
    EARLY.info("two")
    assert entry(first)["scope"] == "Early"
    assert lines(second) == ["[INFO] [Early] two"]


def test_a_scope_given_with_the_event_wins(configure: Configure) -> None:
    out = configure("text")
    EARLY.bind(unit="u1").info("Here", scope="Webhook:7")
    assert lines(out) == ["[INFO] [Webhook:7] Here unit=u1"]


def test_levels_below_the_chosen_one_are_not_even_formatted(configure: Configure) -> None:
    class Loud:
        def __str__(self) -> str:
            raise AssertionError("formatted")

    out = configure("text", "warning")
    EARLY.info("quiet %s", Loud(), value=Loud())
    logging.getLogger("third.party").info("quiet")
    EARLY.error("heard")
    assert lines(out) == ["[ERROR] [Early] heard"]


def test_security_stands_between_error_and_critical(configure: Configure) -> None:
    out = configure("text", "error")
    EARLY.warning("An attack", security=True)
    EARLY.error("Another", security=True, source="127.0.0.1")
    logging.getLogger("guard").log(configuration.SECURITY, "A third")
    assert lines(out) == [
        "[SECURITY] [Early] An attack",
        "[SECURITY] [Early] Another source=127.0.0.1",
        "[SECURITY] [guard] A third",
    ]
    quiet = configure("text", "critical")
    EARLY.warning("An attack", security=True)
    assert lines(quiet) == []


@pytest.mark.parametrize("format", ["json", "text"])
def test_a_forged_line_stays_inside_its_own(configure: Configure, format: configuration.Format) -> None:
    out = configure(format)
    forged = "x\r\n[INFO] [Forged] \x1b[2J all is well\u2028\x85"
    EARLY.info(f"Unknown instance: {forged}", name=forged, **{"na\nme": 1})
    logging.getLogger("third\nparty").warning("said %s", forged)
    try:
        raise ValueError(forged)
    except ValueError:
        EARLY.exception("failed")
    output = out.getvalue().decode()
    assert all(line[0] in "{[ " and not line.startswith("[INFO] [Forged]") for line in output.split("\n") if line)
    assert "\x1b" not in output
    assert "\r" not in output
    assert "\u2028" not in output


def test_braces_in_foreign_text_are_left_as_they_are(configure: Configure) -> None:
    out = configure("text")
    EARLY.info("Got {nothing} and {0.__class__} and {", other=1)
    assert lines(out) == ["[INFO] [Early] Got {nothing} and {0.__class__} and { other=1"]


@pytest.mark.parametrize("format", ["json", "text"])
def test_nothing_logs_around_the_masking(configure: Configure, format: configuration.Format) -> None:
    out = configure(format)
    configuration.register_secret(SECRET)
    log = configuration.get_logger(f"Webhook:{SECRET}", bound=CANARY)
    log.info(f"from {CANARY} by {SECRET}")
    log.warning("percent %s %s", CANARY, SECRET)
    log.error("nested", data={"key": SECRET, "to": [CANARY, (CANARY,)], CANARY: {SECRET}}, apikey="anything")
    log.info("url", path="/webhooks/whatsapp/evolution/unregistered-secret/messages-upsert")
    log.info("dsn", dsn="postgresql://u:unregistered-secret@h/db", where="postgresql://u:unregistered-secret@h/db")
    for name in ("hypercorn.error", "quart.app", "httpx2", "asyncio", "any.other"):
        logging.getLogger(name).error("%s: %s", CANARY, SECRET, extra={"more": SECRET})
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(f"careful with {CANARY} {SECRET}", stacklevel=1)
    try:
        held_secret = SECRET
        raise RuntimeError(f"call to {CANARY} failed") from ValueError(held_secret)
    except RuntimeError as error:
        log.exception("raised")
        log.error("given", exc_info=error)
        log.error("as a value", error=error)
        logging.getLogger("third.party").exception("raised %s", CANARY)
    group = ExceptionGroup(f"group {CANARY}", [ValueError(SECRET), KeyError(CANARY)])
    log.error("group", exc_info=group)
    output = out.getvalue().decode()
    assert CANARY not in output
    assert CANARY[-8:] not in output
    assert SECRET not in output
    assert "unregistered-secret" not in output
    assert "anything" not in output
    assert "/webhooks/whatsapp/evolution/[MASKED]/messages-upsert" in output
    assert output.count("call to ****4321 failed") >= 4
    assert "careful with ****4321 [MASKED]" in output


def test_a_handler_of_a_third_party_gets_masked_records_too(configure: Configure) -> None:
    configure("json")
    configuration.register_secret(SECRET)
    own = io.StringIO()
    logger = logging.getLogger("third.party.with.handler")
    logger.handlers, logger.propagate = [logging.StreamHandler(own)], False
    try:
        raise ValueError(f"{CANARY} {SECRET}")
    except ValueError:
        logger.exception("told %s", CANARY)
    finally:
        logger.handlers, logger.propagate = [], True
    assert "told ****4321" in own.getvalue()
    assert "ValueError: ****4321 [MASKED]" in own.getvalue()
    assert CANARY not in own.getvalue()


def test_handlers_that_were_there_before_are_taken_over(configure: Configure) -> None:
    own = io.StringIO()
    logger = logging.getLogger("third.party.early")
    logger.handlers, logger.propagate = [logging.StreamHandler(own)], False
    out = configure("text")
    logger.warning("hello")
    assert own.getvalue() == ""
    assert lines(out) == ["[WARN] [third.party.early] hello"]


def test_a_record_whose_arguments_do_not_fit_is_logged_all_the_same(configure: Configure) -> None:
    out = configure("text")
    logging.getLogger("sloppy").warning("one %s", 1, 2)
    assert lines(out) == ["[WARN] [sloppy] one %s (its arguments do not fit)"]


def test_a_traceback_tells_lines_but_no_values_of_variables(configure: Configure) -> None:
    out = configure("json")

    def fail(argument: str) -> None:
        raise LookupError("gone")

    try:
        fail("value-of-a-variable")
    except LookupError:
        EARLY.exception("failed")
    trace = entry(out)["exception"]
    assert "LookupError: gone" in trace
    assert "in fail" in trace
    assert "argument=" not in trace.replace("fail(argument: str)", "")


def test_a_traceback_on_a_terminal_is_indented(configure: Configure) -> None:
    out = configure("text")
    try:
        raise LookupError("gone")
    except LookupError:
        EARLY.exception("failed", unit="u1")
    output = lines(out)
    assert output[0].rstrip() == "[ERROR] [Early] failed unit=u1"
    assert output[1] == "    Traceback (most recent call last):"
    assert output[-1] == "    LookupError: gone"


def test_a_thread_that_dies_is_logged(configure: Configure) -> None:
    out = configure("json")

    def die() -> None:
        raise ValueError(CANARY)

    thread = threading.Thread(target=die)
    thread.start()
    thread.join(5)
    output = entry(out)
    assert output["level"] == "critical"
    assert "ValueError: ****4321" in output["exception"]


def test_a_reader_that_went_away_is_counted_and_does_no_harm(configure: Configure) -> None:
    stream = configure("json")
    before = configuration.lost_lines()
    stream.close()
    EARLY.info("nobody reads")
    assert configuration.lost_lines() == before + 1


def test_structlogs_own_test_tools_still_work(configure: Configure) -> None:
    configure("json")
    EARLY.info("warm")
    with capture_logs() as caught:
        EARLY.warning("seen", unit="u1")
    assert caught == [{"scope": "Early", "unit": "u1", "event": "seen", "log_level": "warning"}]


def test_undoing_the_set_up_leaves_nothing_behind() -> None:
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook, warnings.showwarning
    handlers, factory = list(logging.getLogger().handlers), logging.getLogRecordFactory()
    before = structlog.get_config()
    configuration.configure("json", "info", io.BytesIO())()
    assert hooks == (sys.excepthook, threading.excepthook, sys.unraisablehook, warnings.showwarning)
    assert logging.getLogger().handlers == handlers
    assert logging.getLogRecordFactory() is factory
    assert structlog.get_config() == before


def run(code: str) -> subprocess.CompletedProcess[str]:
    start = "from zapline.daemon.logs import configuration\nconfiguration.configure('json')\n"
    start += f"configuration.register_secret({SECRET!r})\n"
    return subprocess.run(
        [sys.executable, "-c", start + textwrap.dedent(code)], capture_output=True, text=True, timeout=30, check=False
    )


def test_an_error_that_ends_the_process_is_one_masked_line() -> None:
    done = run(f"raise ValueError({CANARY!r} + ' ' + {SECRET!r})")
    assert done.returncode == 1
    assert done.stderr == ""
    output = json.loads(done.stdout)
    assert output["level"] == "critical"
    assert output["exception"].endswith("ValueError: ****4321 [MASKED]\n")
    assert CANARY not in done.stdout


def test_an_error_in_a_destructor_is_masked_too() -> None:
    done = run(
        f"""
        class Fragile:
            def __del__(self):
                raise ValueError({CANARY!r})
        Fragile()
        """
    )
    assert done.returncode == 0
    assert done.stderr == ""
    assert "ValueError: ****4321" in json.loads(done.stdout)["exception"]


def test_an_interrupt_is_no_run() -> None:
    done = run("raise KeyboardInterrupt")
    assert json.loads(done.stdout)["event"] == "Interrupted"
    assert "Traceback" not in done.stdout + done.stderr


def test_a_pipe_that_nobody_reads_does_not_end_the_process() -> None:
    code = """
        import os, sys
        reading, writing = os.pipe()
        os.close(reading)
        configuration.configure("json", "info", os.fdopen(writing, "wb"))
        for number in range(100):
            configuration.get_logger("x").info("nobody reads this")
        sys.stderr.write(str(configuration.lost_lines()))
        sys.stderr.flush()
        os._exit(0)
        """
    done = run(code)
    assert (done.returncode, done.stderr) == (0, "100")


def test_an_info_line_with_four_fields_is_cheap(configure: Configure) -> None:
    configure("json", "info")
    log, unit, calls = configuration.get_logger("MessageHandler"), str(uuid.uuid4()), 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    for number in range(600):
        if number == 100:  # what is cached is cached by now
            sys.setprofile(count)
        log.info("Message created", unit=unit, provider="evolution", external_id=f"3EB0A1{number:014X}", seq=number)
    sys.setprofile(None)
    assert calls / 500 < 70  # 56 on Python 3.11
