"""Sets up logging: JSON or readable lines, one masked way out for structlog, the standard library and crashes.

A room below the daemon writes ``structlog.get_logger(scope="Keeper")`` at import and has this set-up from its
first line on. An event is a text with fields; ``{name}`` in the text is filled from the field of that name.
``security=True`` makes it a SECURITY event, whatever method it is logged with.
"""

import logging
import re
import sys
import threading
import traceback
from collections.abc import Callable, MutableMapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Literal, cast

import msgspec
import structlog

from zapline.daemon.logs.redaction import Plain, Scrubber

SECURITY: Final = 45
"""Between ERROR and CRITICAL: who filters for errors sees attacks too."""
LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "security": SECURITY,
    "critical": logging.CRITICAL,
}
_BRACKETS = {name: f"[{'WARN' if name == 'warning' else name.upper()}]" for name in LEVELS}
_CHATTY = ("httpx2", "httpcore2", "hpack", "h2", "asyncio")
"""Loggers that tell of every request at INFO: they speak from WARNING on."""
_PLACE = re.compile(r"\{(\w{1,40})\}")

Fields = MutableMapping[str, Any]
Format = Literal["json", "text"]
_Failure = BaseException | tuple[Any, BaseException | None, Any] | bool | None

_encode = msgspec.json.Encoder().encode


class _Sink:
    """Where lines go. The one state of this module: logging belongs to the process, as its standard output."""

    def __init__(self) -> None:
        self.level = logging.INFO
        self.json = False
        self.lost = 0
        self.write: Callable[[bytes], object] = lambda line: sys.stderr.write(line.decode())
        self.flush: Callable[[], object] = lambda: None

    def aim(self, stream: Any) -> None:
        """Write to this stream: its bytes if it has any below its text."""
        stream.flush()
        raw = getattr(stream, "buffer", None)
        if raw is not None or not hasattr(stream, "encoding"):
            raw = raw or stream
            self.write, self.flush = raw.write, raw.flush
        else:
            self.write, self.flush = (lambda line: stream.write(line.decode())), stream.flush

    def put(self, line: bytes) -> None:
        try:
            self.write(line)
            self.flush()
        except (OSError, ValueError):
            # Nobody reads, the disk is full, or the stream is closed: the daemon's work matters more.
            self.lost += 1


_SINK = _Sink()
_SCRUBBER = Scrubber()


def register_secret(secret: str) -> None:
    """Replace this literal by ``[MASKED]`` in every line from now on, whatever surrounds it."""
    _SCRUBBER.register(secret)


def lost_lines() -> int:
    """How many lines could not be written since the start."""
    return _SINK.lost


# -- from an event to a line -----------------------------------------------------------------------------


def complete(logger: object, method: str, event: Fields) -> Fields:
    """A processor: the level, and the failure as text, without the values of variables."""
    event["level"] = "security" if event.pop("security", False) else method
    failure = event.pop("exc_info", None)
    if failure:
        event["exception"] = describe(failure)
    return event


def scrub(logger: object, method: str, event: Fields) -> dict[str, Plain]:
    """A processor: nothing reaches the next one unmasked."""
    block = event.pop("exception", None)
    shown = _SCRUBBER.fields(event)
    if block is not None:
        shown["exception"] = _SCRUBBER.block(str(block))
    return shown


def render(logger: object, method: str, event: Fields) -> bytes:
    """The last processor: the line as bytes, its end included."""
    text, used = str(event.pop("event", "")), ()
    if "{" in text:
        used = tuple(name for name in _PLACE.findall(text) if name in event)
        text = _PLACE.sub(lambda place: str(event.get(place[1], place[0])), text)
    level, scope = str(event.pop("level")), event.pop("scope", "zapline")
    if _SINK.json:
        at = datetime.now(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
        return _encode({"ts": at, "level": level, "scope": scope, "event": text, **event}) + b"\n"
    block = event.pop("exception", None)
    parts = [_BRACKETS[level], f"[{scope}]", text]
    parts += [f"{name}={_word(value)}" for name, value in event.items() if name not in used]
    if block is not None:
        # Indented, so that no line of a foreign text can pass for one of ours.
        parts.append("\n    " + str(block).rstrip().replace("\n", "\n    "))
    return (" ".join(parts) + "\n").encode()


def _word(value: Plain) -> str:
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


_CHAIN: list[Any] = [complete, scrub, render]
"""Handed to structlog itself, never a copy: loggers that are kept from an earlier set-up follow the new one."""


class Logger(structlog.BoundLoggerBase):
    """What ``structlog.get_logger()`` gives: levels are compared before anything is formatted."""

    def _emit(self, method: str, event: str, args: tuple[object, ...], fields: dict[str, Any]) -> None:
        if LEVELS[method] < _SINK.level and not (fields.get("security") and _SINK.level <= SECURITY):
            return
        try:
            line, _ = self._process_event(method, event % args if args else event, fields)
        except structlog.DropEvent:
            return
        _SINK.put(line[0])

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
        """Somebody tried what only an attacker or a wrong set-up tries."""
        self._emit("security", event, args, fields)

    def critical(self, event: str, *args: object, **fields: Any) -> None:
        self._emit("critical", event, args, fields)

    warn = warning


def get_logger(scope: str, **fields: Any) -> Logger:
    """A logger whose lines start with ``[scope]``; cheap, and right at import too."""
    return cast(Logger, structlog.get_logger(scope=scope, **fields))


def security(logger: Any, event: str, **fields: Any) -> None:
    """Log a SECURITY event with any logger of structlog."""
    logger.error(event, security=True, **fields)


# -- the standard library, and crashes ---------------------------------------------------------------------


class MaskedRecord(logging.LogRecord):
    """Masked where it is made: a handler that somebody adds later cannot show more than ours."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        try:
            text = self.getMessage()
        except (TypeError, ValueError, LookupError, AttributeError, RuntimeError):
            text = f"{self.msg} (its arguments do not fit)"
        self.msg, self.args = _SCRUBBER.text(text), None
        if self.exc_info:
            self.exc_text = _SCRUBBER.block(describe(self.exc_info))


class _Handler(logging.Handler):
    """Takes every record of the standard library the same way out as our own events."""

    def emit(self, record: logging.LogRecord) -> None:
        method = next((name for name in reversed(LEVELS) if LEVELS[name] <= record.levelno), "debug")
        event: Fields = {"scope": record.name, "event": record.getMessage()}
        if record.exc_text or record.exc_info:
            event["exception"] = record.exc_text or describe(record.exc_info)
        if record.stack_info:
            event["exception"] = f"{event.get('exception', '')}\n{record.stack_info}".strip()
        _SINK.put(render(None, method, scrub(None, method, complete(None, method, event))))


def _crashed(where: str, kind: type[BaseException] | None, error: BaseException | None) -> None:
    if kind is not None and issubclass(kind, KeyboardInterrupt):
        get_logger("zapline").info("Interrupted")
    elif kind is None or not issubclass(kind, SystemExit):
        get_logger("zapline").critical(where, exc_info=error or False)


def _main_crashed(kind: type[BaseException], error: BaseException, tb: TracebackType | None) -> None:
    _crashed("The process ends by an error that nobody handled", kind, error)


def _thread_crashed(crash: threading.ExceptHookArgs) -> None:
    _crashed("A thread ends by an error that nobody handled", crash.exc_type, crash.exc_value)


def _unraisable(crash: Any) -> None:
    _crashed(f"An error that nobody can handle: {crash.err_msg or 'while cleaning up'}", None, crash.exc_value)


# -- set-up -------------------------------------------------------------------------------------------------


def configure(format: Format, level: str = "info", stream: Any = None) -> Callable[[], None]:
    """Send all logging of this process to ``stream`` (standard output if None); returns what undoes it.

    ``level`` is a key of ``LEVELS``. May be called again. Servers and clients set up later must log to
    loggers of the standard library that propagate (hypercorn: ``errorlog=logging.getLogger("hypercorn.error")``,
    no access log); records are masked even where they do not.
    """
    undo = _remember()
    _SINK.level, _SINK.json = LEVELS[level], format == "json"
    _SINK.aim(stream or sys.stdout)
    structlog.configure(
        processors=_CHAIN,
        wrapper_class=Logger,
        context_class=dict,
        logger_factory=lambda *_: _SINK,
        cache_logger_on_first_use=True,
    )
    logging.addLevelName(SECURITY, "SECURITY")
    logging.setLogRecordFactory(MaskedRecord)
    logging.captureWarnings(True)
    root = logging.getLogger()
    root.handlers = [_Handler()]
    root.setLevel(_SINK.level)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(_SINK.level, logging.WARNING))
    for logger in list(root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            logger.handlers, logger.propagate = [], True
    sys.excepthook, threading.excepthook, sys.unraisablehook = _main_crashed, _thread_crashed, _unraisable
    return undo


def _remember() -> Callable[[], None]:
    root = logging.getLogger()
    loggers = [root, *(known for known in root.manager.loggerDict.values() if isinstance(known, logging.Logger))]
    kept = [(logger, list(logger.handlers), logger.propagate, logger.level) for logger in loggers]
    sink, factory = dict(vars(_SINK)), logging.getLogRecordFactory()
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    config = structlog.get_config() if structlog.is_configured() else None
    warned = logging._warnings_showwarning is not None  # type: ignore[attr-defined]

    def undo() -> None:
        for logger, handlers, propagate, level in kept:
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)
        vars(_SINK).update(sink)
        logging.setLogRecordFactory(factory)
        logging.captureWarnings(warned)
        sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
        structlog.reset_defaults()
        if config is not None:
            structlog.configure(**config)

    return undo
