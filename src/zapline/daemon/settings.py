"""One frozen ``Settings`` from environment, env file and systemd credentials; one error lists every problem.

The environment takes precedence over the file named by ``ZAPLINE_ENV_FILE``, and that over the credentials (files in
``$CREDENTIALS_DIRECTORY``, named in lower case). An empty value counts as not set.
"""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from zapline.daemon.alarm_settings import AlarmSettings
from zapline.daemon.setting_types import (
    SECONDS,
    Network,
    Secret,
    WrongSetting,
    binds,
    boolean,
    database,
    directory,
    header,
    matching,
    networks,
    number,
    one_of,
    setting,
    size,
    some_binds,
    strong_secret,
    text_up_to,
    url,
    whole_number,
    words,
)
from zapline.domain.errors import ConfigurationError

PREFIX: Final = "ZAPLINE_"
ENV_FILE: Final = "ZAPLINE_ENV_FILE"
SANDBOX_FILE: Final = Path(".zapline/sandbox.env")


def _state_dir() -> Path:
    """systemd separates several directories by colons; the first one is ours."""
    return Path(os.environ.get("STATE_DIRECTORY", "").partition(":")[0] or ".zapline/state")


def _log_format() -> Literal["json", "text"]:
    return "text" if sys.stdout is not None and sys.stdout.isatty() else "json"


MIB: Final = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class DatabaseSettings:
    """Settings of commands that only use PostgreSQL (``zapline migrate``)."""

    database_url: Secret = setting(
        "PostgreSQL, as postgresql://user:password@host:5432/database.", database, name="DATABASE_URL"
    )
    database_direct_url: Secret | None = setting(
        "PostgreSQL without pgbouncer, for LISTEN and locks; only needed behind pgbouncer.", database, None
    )
    database_prepare: bool = setting(
        "Use prepared statements; false behind pgbouncer in transaction mode.", boolean, True
    )
    log_format: Literal["json", "text"] = setting(
        "json or text; text by default on a terminal, else json.", one_of("json", "text"), _log_format
    )
    log_level: str = setting(
        "The least level that is logged: debug, info, warning, error or critical.",
        one_of("debug", "info", "warning", "error", "critical"),
        "info",
    )


@dataclass(frozen=True, kw_only=True)
class Settings(DatabaseSettings, AlarmSettings):
    """All settings of the daemon; read once, passed on in parts. Sizes in bytes, times as named."""

    evolution_api_url: str = setting(
        "Where Zapline reaches the Evolution API, as https://evolution.example.", url, name="EVOLUTION_API_URL"
    )
    evolution_api_key: Secret = setting(
        "Evolution's global key (AUTHENTICATION_API_KEY there).", header, name="EVOLUTION_API_KEY"
    )
    base_url: str = setting(
        "Where Evolution reaches Zapline, as https://zapline.example; part of each webhook's URL.", url, name="BASE_URL"
    )
    bind: Sequence[str] = setting(
        "Where to listen, parted by commas: host:port, unix:/path, or fd://3 for a socket of systemd.",
        some_binds,
        ("127.0.0.1:8080",),
    )
    ops_bind: Sequence[str] = setting(
        "Where health and metrics listen instead, if they are not to be public; as ZAPLINE_BIND.", binds, ()
    )
    trusted_proxies: Sequence[Network] = setting(
        "Networks whose X-Forwarded-For is believed, parted by commas, as 10.0.0.0/8.", networks, ()
    )
    state_dir: Path = setting(
        "Where the journal and the key lie; by default what systemd's StateDirectory= gives,"
        " else .zapline/state. It has to survive a reboot.",
        directory,
        _state_dir,
    )
    master_key: Secret | None = setting(
        "Secret that other keys are derived from; if missing, one is kept in the state directory.", strong_secret, None
    )
    cluster: bool = setting(
        "Share the lines with other daemons on the same database; they need the same master key.", boolean, False
    )
    max_body_bytes: int = setting("Largest webhook that is read; Evolution itself knows no limit.", size, 110_000_000)
    body_budget_bytes: int = setting("Webhook bodies in flight, as they arrive.", size, 256 * MIB)
    journal_keep_hours: float = setting(
        "How long stored webhooks stay replayable.", number(least=0, most=24 * 365), 24.0
    )
    journal_budget_bytes: int = setting(
        "Size of the journal at which the least important events are shed.", size, 2048 * MIB
    )
    recorder_lanes: int = setting("Transactions that store webhooks at the same time.", whole_number(1, 64), 2)
    drain_seconds: float = setting("Time to finish what was accepted when the daemon is stopped.", SECONDS, 8.0)
    webhook_secret_grace_minutes: float = setting(
        "How long a replaced webhook secret is still accepted: Evolution's retries carry the old URL.",
        number(least=30, most=7 * 24 * 60),
        30.0,
    )
    evolution_timeout_seconds: float = setting("Longest wait for an answer of Evolution.", SECONDS, 30.0)
    evolution_connections: int = setting(
        "Connections to Evolution at the same time, for all units.", whole_number(1, 1000), 100
    )
    line_probe_seconds: float = setting(
        "How often a line that says it is open is asked whether that is true, and its webhook read back; "
        "varied by a quarter.",
        SECONDS,
        90.0,
    )
    restart_limit: int = setting("Crashes of a unit that are forgiven ...", whole_number(0, 1000), 5)
    restart_period_seconds: float = setting(
        "... within this time; one more and the unit is quarantined.", SECONDS, 60.0
    )
    quarantine_seconds: float = setting("How long a quarantined unit waits for its next chance.", SECONDS, 300.0)
    default_region: str = setting(
        "Country of phone numbers that come without one, as two letters.", matching(r"[A-Z]{2}"), "BR"
    )
    opt_out_words: Sequence[str] = setting(
        "Words that end campaigns for whoever writes one and nothing else, parted by commas.",
        words,
        ("SAIR", "PARAR", "STOP"),
    )
    opt_out_confirmation: str = setting(
        "What is answered to such a word; a single dash answers nothing.",
        text_up_to(1000),
        "Pronto, você não receberá mais nossas campanhas.",
    )
    message_expiry_hours: float = setting(
        "Age at which an unsent reply is not sent any more.", number(above=0, most=24 * 30), 24.0
    )
    stalled_minutes: float = setting(
        "Time after which a message that Evolution took and nobody confirmed counts as stalled.",
        number(above=0, most=24 * 60),
        30.0,
    )
    reconcile_seconds: float = setting(
        "How often each line is compared with Evolution's own store of messages.", SECONDS, 900.0
    )
    hook_private_hosts: bool = setting(
        "Whether webhooks to the CRM may go into private networks and without TLS; true where the CRM"
        " runs beside Zapline.",
        boolean,
        False,
    )
    upload_max_bytes: int = setting("Largest file that may be uploaded to be sent.", size, 16 * MIB)
    media_cache_bytes: int = setting(
        "Disk for files that were fetched from WhatsApp; the least used go first.", size, 1024 * MIB
    )
    files_quota_bytes: int = setting(
        "Disk that a unit may use at most to keep files of its messages; which ones it keeps is its own policy.",
        size,
        10 * 1024 * MIB,
    )
    files_reserve_bytes: int = setting(
        "Disk that is left free when such files are kept: the journal has to have room.", size, 1024 * MIB
    )
    number_checks_per_day: int = setting(
        "Numbers that a unit may look up on WhatsApp on one day; WhatsApp bans lines that look up many.",
        whole_number(1, 1_000_000),
        1000,
    )
    instance_prefix: str = setting(
        "Start of the names of the instances that Zapline makes on Evolution.",
        matching(r"[A-Za-z0-9_-]{0,40}"),
        "unit_",
    )

    def __post_init__(self) -> None:
        if self.body_budget_bytes < self.max_body_bytes:
            raise WrongSetting("ZAPLINE_BODY_BUDGET_BYTES must be at least ZAPLINE_MAX_BODY_BYTES")
        self.check_mail()

    @classmethod
    def documented(cls) -> list[tuple[str, str, str]]:
        """Every setting as (name, default as in an env file, description); "" for no default."""
        return [(env_name(each), _default_text(each), each.metadata["description"]) for each in fields(cls)]


RETIRED = frozenset({"ZAPLINE_QR_LIFETIME_SECONDS"})
"""Names that were settings once and had no effect. An installation that still sets one starts all the same."""
S = TypeVar("S", bound=DatabaseSettings)


def same_setting(name: str) -> Any:
    """A field for a class with a subset of ``Settings``, as there."""
    known = next(each for each in fields(Settings) if each.name == name)
    default = known.default if known.default_factory is MISSING else known.default_factory
    return setting(**{**known.metadata, "default": default})


def env_name(each: "Field[Any]") -> str:
    """A setting's name in the environment."""
    return str(each.metadata["name"] or (PREFIX + each.name).upper())


def load(kind: type[S], **overrides: object) -> S:
    """Read settings of this class from the environment; ``overrides`` (by field name) take precedence.

    Raises ``ConfigurationError``: one text with a line for each problem. It never contains a value.
    """
    file, credentials = _sources()
    problems: list[str] = []
    given: Mapping[str, str] = {}
    if file is not None and not Path(file).is_file():
        problems.append(f"{ENV_FILE} names a file that is not there.")
        file = None
    try:
        given = _texts(file, credentials)
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"The env file or a credential cannot be read: {type(error).__name__}.")
        given = _texts(None, None)
    values: dict[str, Any] = {}
    for each in fields(kind):
        text = overrides.get(each.name, given.get(env_name(each)))
        if isinstance(text, str):
            try:
                values[each.name] = each.metadata["read"](text.strip())
            except WrongSetting as wrong:
                problems.append(f"{env_name(each)} {wrong}. ({each.metadata['description']})")
        elif text is not None:
            values[each.name] = text
        elif each.default is MISSING and each.default_factory is MISSING:
            problems.append(_missing(each, set(given)))
    problems += _unknown_names(set(given))
    if not problems:
        try:
            return kind(**values)
        except WrongSetting as wrong:
            problems.append(f"{wrong}.")
    raise ConfigurationError(_error_text(problems))


def retired_names_in_use() -> list[str]:
    """Names that are set although nothing reads them any more. Raises OSError, UnicodeDecodeError for the sources."""
    file, credentials = _sources()
    return sorted(_names_in_use(file if file is not None and Path(file).is_file() else None, credentials) & RETIRED)


def use_sandbox() -> Path | None:
    """Where nothing at all is set, take the settings of this directory's sandbox from now on; its file, None without.

    For commands that change nothing. Settings of logs do not count.
    """
    named = {name for name, value in os.environ.items() if value}
    if named & ({ENV_FILE, "CREDENTIALS_DIRECTORY"} | {name for name in _setting_names() if "_LOG_" not in name}):
        return None
    if not SANDBOX_FILE.is_file():
        return None
    os.environ[ENV_FILE] = str(SANDBOX_FILE)
    return SANDBOX_FILE


def _sources() -> tuple[str | None, Path | None]:
    """The env file that is named and the directory of credentials, each None where there is none."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    credentials = Path(directory) if directory and Path(directory).is_dir() else None
    return os.environ.get(ENV_FILE) or None, credentials


def _names_in_use(file: str | None, credentials: Path | None) -> set[str]:
    """The names that are set anywhere, in upper case."""
    return set(_texts(file, credentials))


def _texts(file: str | None, credentials: Path | None) -> dict[str, str]:
    """What is set, by its name in upper case: the environment counts before the file, and that before credentials."""
    texts: dict[str, str] = {}
    if credentials is not None:
        texts |= {path.name.upper(): path.read_text().strip() for path in credentials.iterdir() if path.is_file()}
    if file is not None:
        from dotenv import dotenv_values

        texts |= {name.upper(): value for name, value in dotenv_values(file).items() if value}
    texts |= {name.upper(): value for name, value in os.environ.items() if value}
    return {name: value for name, value in texts.items() if value}


def _setting_names() -> set[str]:
    return {env_name(each) for each in fields(Settings)}


def _unknown_names(names: set[str]) -> Iterator[str]:
    known = _setting_names()
    for name in sorted(names):
        if name.startswith(PREFIX) and name not in known and name != ENV_FILE and name not in RETIRED:
            similar = get_close_matches(name, known, 1, 0.75) or get_close_matches(
                name.removeprefix(PREFIX), known, 1, 0.75
            )
            hint = f"did you mean {similar[0]}?" if similar else "no setting has this name; remove it."
            yield f"{name} is unknown: {hint}"


def _missing(each: "Field[Any]", names: set[str]) -> str:
    name = env_name(each)
    similar = get_close_matches(name, names - _setting_names(), 1, 0.8)
    hint = f" ({similar[0]} is set: did you mean {name}?)" if similar else ""
    return f"{name} is missing{hint}. Set it: {each.metadata['description']}"


def _error_text(problems: list[str]) -> str:
    count = "1 setting is" if len(problems) == 1 else f"{len(problems)} settings are"
    return "\n".join([f"{count} missing or wrong:", *(f"  - {problem}" for problem in problems)])


def _default_text(each: "Field[Any]") -> str:
    default = each.default
    if default is MISSING or default is None:
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    return f"{default:g}" if isinstance(default, float) else str(default)
