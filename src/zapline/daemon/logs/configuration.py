"""Configures logging: JSON or readable lines, one masked output for structlog, the standard library and crashes.

Other modules call ``structlog.get_logger(scope="Keeper")`` at import and are configured by their first line. An event
is a text with fields; ``{name}`` in the text is filled from the field of that name. ``security=True`` makes it a
SECURITY event, whatever method it is logged with.
"""

import logging
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, MutableMapping
from functools import lru_cache
from types import TracebackType
from typing import Any, Final, Literal, cast

import msgspec
import structlog

from zapline.daemon.logs.redaction import JsonValue, Redactor

SECURITY: Final = 45
"""Between ERROR and CRITICAL, so that filters for errors include attacks."""
LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "security": SECURITY,
    "critical": logging.CRITICAL,
}
_BRACKETS = {name: f"[{'WARN' if name == 'warning' else name.upper()}]" for name in LEVELS}
_NOISY_LOGGERS = ("httpx2", "httpcore2", "hpack", "h2", "asyncio")
"""Loggers that write every request at INFO; they are logged from WARNING on."""
_PLACEHOLDER = re.compile(r"\{(\w{1,40})\}")

Fields = MutableMapping[str, Any]
Format = Literal["json", "text"]
_Failure = BaseException | tuple[Any, BaseException | None, Any] | bool | None

_encode = msgspec.json.Encoder().encode


class _Output:
    """Where lines are written. The only state of this module: logging belongs to the process."""

    def __init__(self) -> None:
        self.level = logging.INFO
        self.json = False
        self.lost = 0
        self.write: Callable[[bytes], object] = lambda line: sys.stderr.write(line.decode())
        self.flush: Callable[[], object] = lambda: None

    def use(self, stream: Any) -> None:
        """Write to this stream, to its bytes if it has a buffer."""
        stream.flush()
        raw = getattr(stream, "buffer", None)
        if raw is not None or not hasattr(stream, "encoding"):
            raw = raw or stream
            self.write, self.flush = raw.write, raw.flush
        else:
            self.write, self.flush = (lambda line: stream.write(line.decode())), stream.flush

    def write_line(self, line: bytes) -> None:
        try:
            self.write(line)
            self.flush()
        except (OSError, ValueError):
            # Nobody reads, the disk is full, or the stream is closed: the daemon's work goes on.
            self.lost += 1


_OUTPUT = _Output()
_REDACTOR = Redactor()


def register_secret(secret: str) -> None:
    """Replace this literal by ``[MASKED]`` in every line from now on."""
    _REDACTOR.register(secret)


def lost_lines() -> int:
    """Lines that could not be written since the start."""
    return _OUTPUT.lost


class _Clock:
    """Formats the time of a line; its second is formatted once."""

    def __init__(self) -> None:
        self._second, self._text = 0, ""

    def now(self) -> str:
        at = time.time()
        second = int(at)
        if second != self._second:
            self._second, self._text = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._text}.{int((at - second) * 1000):03d}Z"


_CLOCK = _Clock()


@lru_cache(maxsize=512)
def _split_sentence(text: str) -> list[str]:
    """Literal, name, literal, name, ... of a text with placeholders."""
    return _PLACEHOLDER.split(text)


# -- from an event to a line -----------------------------------------------------------------------------


def add_level_and_exception(logger: object, method: str, event: Fields) -> Fields:
    """A processor: adds the level, and the traceback without values of variables."""
    event["level"] = "security" if event.pop("security", False) else method
    failure = event.pop("exc_info", None)
    if failure:
        event["exception"] = describe(failure)
    return event


def redact(logger: object, method: str, event: Fields) -> dict[str, JsonValue]:
    """A processor: masks everything for the next one."""
    block = event.pop("exception", None)
    result = _REDACTOR.fields(event)
    if block is not None:
        result["exception"] = _REDACTOR.block(str(block))
    return result


def render(logger: object, method: str, event: Fields) -> bytes:
    """The last processor: the line as bytes, with its line break."""
    text = str(event.pop("event", ""))
    used: list[str] = []
    if "{" in text:
        parts = list(_split_sentence(text))
        for at in range(1, len(parts), 2):
            name = parts[at]
            if name in event:
                used.append(name)
                parts[at] = str(event[name])
            else:
                parts[at] = f"{{{name}}}"
        text = "".join(parts)
    level, scope = str(event.pop("level")), event.pop("scope", "zapline")
    if _OUTPUT.json:
        return _encode({"ts": _CLOCK.now(), "level": level, "scope": scope, "event": text, **event}) + b"\n"
    block = event.pop("exception", None)
    words = [_BRACKETS[level], f"[{scope}]", text]
    words += [f"{name}={_field_text(value)}" for name, value in event.items() if name not in used]
    if block is not None:
        # Indented, so that no line of foreign text looks like one of ours.
        words.append("\n    " + str(block).rstrip().replace("\n", "\n    "))
    return (" ".join(words) + "\n").encode()


def _field_text(value: JsonValue) -> str:
    if isinstance(value, str) and value and not any(letter in value for letter in ' "='):
        return value
    return _encode(value).decode()


def describe(failure: _Failure) -> str:
    """The traceback of an exception, of an ``exc_info`` triple, or (True) of the one being handled; unmasked."""
    if isinstance(failure, BaseException):
        error: BaseException | None = failure
    else:
        error = failure[1] if isinstance(failure, tuple) else sys.exc_info()[1]
    return "".join(traceback.format_exception(error)) if error is not None else "(no exception)"


_PROCESSORS: list[Any] = [add_level_and_exception, redact, render]
"""Passed to structlog itself, never copied: cached loggers follow a new configuration."""


class Logger(structlog.BoundLoggerBase):
    """What ``structlog.get_logger()`` returns: levels are compared before anything is formatted."""

    def _emit(self, method: str, event: str, args: tuple[object, ...], fields: dict[str, Any]) -> None:
        if LEVELS[method] < _OUTPUT.level and not (fields.get("security") and _OUTPUT.level <= SECURITY):
            return
        line: Any = {**self._context, **fields, "event": event % args if args else event}
        try:
            for processor in self._processors:
                line = processor(_OUTPUT, method, line)
        except structlog.DropEvent:
            return
        _OUTPUT.write_line(line)

    def debug(self, event: str, *args: object, **fields: Any) -> None:
        self._emit("debug", event, args, fields)

    def info(self, event: str, *args: object, **fields: Any) -> None:
        self._emit("info", event, args, fields)

    def warning(self, event: str, *args: object, **fields: Any) -> None:
        self._emit("warning", event, args, fields)

    def error(self, event: str, *args: object, **fields: Any) -> None:
        self._emit("error", event, args, fields)

    def exception(self, event: str, *args: object, **fields: Any) -> None:
        """An error with the traceback of the exception being handled."""
        fields.setdefault("exc_info", True)
        self._emit("error", event, args, fields)

    def security(self, event: str, *args: object, **fields: Any) -> None:
        """Something that only an attacker or a wrong set-up does."""
        self._emit("security", event, args, fields)

    def critical(self, event: str, *args: object, **fields: Any) -> None:
        self._emit("critical", event, args, fields)

    warn = warning


def get_logger(scope: str, **fields: Any) -> Logger:
    """A logger whose lines start with ``[scope]``; cheap, and usable at import."""
    return cast(Logger, structlog.get_logger(scope=scope, **fields))


# -- the standard library, and crashes ---------------------------------------------------------------------


class MaskedRecord(logging.LogRecord):
    """Masked when it is created, so that handlers added later show no more than ours."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        try:
            text = self.getMessage()
        except (TypeError, ValueError, LookupError, AttributeError, RuntimeError):
            text = f"{self.msg} (its arguments do not fit)"
        self.msg, self.args = _REDACTOR.text(text), None
        if self.exc_info:
            self.exc_text = _REDACTOR.block(describe(self.exc_info))


class _Handler(logging.Handler):
    """Sends records of the standard library to the same output as our own events."""

    def emit(self, record: logging.LogRecord) -> None:
        method = next((name for name in reversed(LEVELS) if LEVELS[name] <= record.levelno), "debug")
        event: Fields = {"scope": record.name, "event": record.getMessage()}
        if record.exc_text or record.exc_info:
            event["exception"] = record.exc_text or describe(record.exc_info)
        if record.stack_info:
            event["exception"] = f"{event.get('exception', '')}\n{record.stack_info}".strip()
        _OUTPUT.write_line(render(None, method, redact(None, method, add_level_and_exception(None, method, event))))


def _log_crash(event: str, kind: type[BaseException] | None, error: BaseException | None) -> None:
    if kind is not None and issubclass(kind, KeyboardInterrupt):
        get_logger("zapline").info("Interrupted")
    elif kind is None or not issubclass(kind, SystemExit):
        get_logger("zapline").critical(event, exc_info=error or False)


def _main_crash(kind: type[BaseException], error: BaseException, tb: TracebackType | None) -> None:
    _log_crash("The process ends by an error that nobody handled", kind, error)


def _thread_crash(crash: threading.ExceptHookArgs) -> None:
    _log_crash("A thread ends by an error that nobody handled", crash.exc_type, crash.exc_value)


def _unraisable_error(crash: Any) -> None:
    _log_crash(f"An error that nobody can handle: {crash.err_msg or 'while cleaning up'}", None, crash.exc_value)


# -- set-up -------------------------------------------------------------------------------------------------


def configure(format: Format, level: str = "info", stream: Any = None) -> Callable[[], None]:
    """Send all logging of this process to ``stream`` (standard output if None); returns a function that undoes it.

    ``level`` is a key of ``LEVELS``. May be called again. Servers and clients configured later must log to propagating
    loggers of the standard library (hypercorn: ``errorlog=logging.getLogger("hypercorn.error")``, no access log);
    records are masked even by others.
    """
    undo = _save_state()
    _OUTPUT.level, _OUTPUT.json = LEVELS[level], format == "json"
    _OUTPUT.use(stream or sys.stdout)
    structlog.configure(
        processors=_PROCESSORS,
        wrapper_class=Logger,
        context_class=dict,
        logger_factory=lambda *_: _OUTPUT,
        cache_logger_on_first_use=True,
    )
    logging.addLevelName(SECURITY, "SECURITY")
    logging.setLogRecordFactory(MaskedRecord)
    logging.captureWarnings(True)
    root = logging.getLogger()
    root.handlers = [_Handler()]
    root.setLevel(_OUTPUT.level)
    for name in _NOISY_LOGGERS:
        logging.getLogger(name).setLevel(max(_OUTPUT.level, logging.WARNING))
    for logger in list(root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            logger.handlers, logger.propagate = [], True
    sys.excepthook, threading.excepthook, sys.unraisablehook = _main_crash, _thread_crash, _unraisable_error
    return undo


def _save_state() -> Callable[[], None]:
    root = logging.getLogger()
    loggers = [root, *(known for known in root.manager.loggerDict.values() if isinstance(known, logging.Logger))]
    saved = [(logger, list(logger.handlers), logger.propagate, logger.level) for logger in loggers]
    sink, factory = dict(vars(_OUTPUT)), logging.getLogRecordFactory()
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    config = structlog.get_config() if structlog.is_configured() else None
    warned = logging._warnings_showwarning is not None  # type: ignore[attr-defined]

    def undo() -> None:
        for logger, handlers, propagate, level in saved:
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)
        vars(_OUTPUT).update(sink)
        logging.setLogRecordFactory(factory)
        logging.captureWarnings(warned)
        sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
        structlog.reset_defaults()
        if config is not None:
            structlog.configure(**config)

    return undo
