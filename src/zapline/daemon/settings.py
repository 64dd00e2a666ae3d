"""One frozen ``Settings`` from environment, env file and systemd credentials; one error lists every problem.

The environment takes precedence over the file named by ``ZAPLINE_ENV_FILE``, and that over the credentials (files in
``$CREDENTIALS_DIRECTORY``, named in lower case). An empty value counts as not set.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from dotenv import dotenv_values
from pydantic import ByteSize, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticUndefined
from pydantic_settings import BaseSettings, SettingsConfigDict

from zapline.daemon.setting_types import (
    PLAIN_MESSAGES,
    Binds,
    DatabaseUrl,
    HeaderValue,
    LowerCase,
    Networks,
    Seconds,
    Size,
    StrongSecret,
    Url,
    WordList,
    invalid_setting,
)
from zapline.domain.errors import ConfigurationError

PREFIX: Final = "ZAPLINE_"
ENV_FILE: Final = "ZAPLINE_ENV_FILE"


def _state_dir() -> Path:
    """systemd separates several directories by colons; the first one is ours."""
    return Path(os.environ.get("STATE_DIRECTORY", "").partition(":")[0] or ".zapline/state")


def _log_format() -> Literal["json", "text"]:
    return "text" if sys.stdout is not None and sys.stdout.isatty() else "json"


MIB: Final = 1024 * 1024


class DatabaseSettings(BaseSettings):
    """Settings of commands that only use PostgreSQL (``zapline migrate``)."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        str_strip_whitespace=True,
    )

    database_url: DatabaseUrl = Field(
        validation_alias="DATABASE_URL",
        description="PostgreSQL, as postgresql://user:password@host:5432/database.",
    )
    database_direct_url: DatabaseUrl | None = Field(
        None, description="PostgreSQL without pgbouncer, for LISTEN and locks; only needed behind pgbouncer."
    )
    database_prepare: bool = Field(
        True, description="Use prepared statements; false behind pgbouncer in transaction mode."
    )
    log_format: Annotated[Literal["json", "text"], LowerCase] = Field(
        default_factory=_log_format, description="json or text; text by default on a terminal, else json."
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error", "critical"], LowerCase] = Field(
        "info", description="The least level that is logged: debug, info, warning, error or critical."
    )


class Settings(DatabaseSettings):
    """All settings of the daemon; read once, passed on in parts. Sizes in bytes, times as named."""

    evolution_api_url: Url = Field(
        validation_alias="EVOLUTION_API_URL",
        description="Where Zapline reaches the Evolution API, as https://evolution.example.",
    )
    evolution_api_key: HeaderValue = Field(
        validation_alias="EVOLUTION_API_KEY",
        min_length=1,
        description="Evolution's global key (AUTHENTICATION_API_KEY there).",
    )
    base_url: Url = Field(
        validation_alias="BASE_URL",
        description="Where Evolution reaches Zapline, as https://zapline.example; part of each webhook's URL.",
    )
    bind: Binds = Field(
        ("127.0.0.1:8080",),
        min_length=1,
        description="Where to listen, parted by commas: host:port, unix:/path, or fd://3 for a socket of systemd.",
    )
    ops_bind: Binds = Field(
        (), description="Where health and metrics listen instead, if they are not to be public; as ZAPLINE_BIND."
    )
    trusted_proxies: Networks = Field(
        (), description="Networks whose X-Forwarded-For is believed, parted by commas, as 10.0.0.0/8."
    )
    state_dir: Path = Field(
        default_factory=_state_dir,
        description="Where the journal and the key lie; by default what systemd's StateDirectory= gives,"
        " else .zapline/state. It has to survive a reboot.",
    )
    master_key: StrongSecret | None = Field(
        None, description="Secret that other keys are derived from; if missing, one is kept in the state directory."
    )
    max_body_bytes: Size = Field(
        ByteSize(110_000_000), description="Largest webhook that is read; Evolution itself knows no limit."
    )
    body_budget_bytes: Size = Field(ByteSize(256 * MIB), description="Webhook bodies in flight, as they arrive.")
    journal_keep_hours: float = Field(
        24.0, ge=0, le=24 * 365, allow_inf_nan=False, description="How long stored webhooks stay replayable."
    )
    journal_budget_bytes: Size = Field(
        ByteSize(2048 * MIB), description="Size of the journal at which the least important events are shed."
    )
    recorder_lanes: int = Field(2, ge=1, le=64, description="Transactions that store webhooks at the same time.")
    drain_seconds: Seconds = Field(8.0, description="Time to finish what was accepted when the daemon is stopped.")
    webhook_secret_grace_minutes: float = Field(
        30.0,
        ge=30,
        le=7 * 24 * 60,
        allow_inf_nan=False,
        description="How long a replaced webhook secret is still accepted: Evolution's retries carry the old URL.",
    )
    evolution_timeout_seconds: Seconds = Field(30.0, description="Longest wait for an answer of Evolution.")
    evolution_connections: int = Field(
        100, ge=1, le=1000, description="Connections to Evolution at the same time, for all units."
    )
    line_probe_seconds: Seconds = Field(
        90.0,
        description="How often a line that says it is open is asked whether that is true, and its webhook read back; "
        "varied by a quarter.",
    )
    restart_limit: int = Field(5, ge=0, le=1000, description="Crashes of a unit that are forgiven ...")
    restart_period_seconds: Seconds = Field(
        60.0, description="... within this time; one more and the unit is quarantined."
    )
    quarantine_seconds: Seconds = Field(300.0, description="How long a quarantined unit waits for its next chance.")
    default_region: str = Field(
        "BR", pattern=r"^[A-Z]{2}$", description="Country of phone numbers that come without one, as two letters."
    )
    opt_out_words: WordList = Field(
        ("SAIR", "PARAR", "STOP"),
        description="Words that end campaigns for whoever writes one and nothing else, parted by commas.",
    )
    opt_out_confirmation: str = Field(
        "Pronto, você não receberá mais nossas campanhas.",
        max_length=1000,
        description="What is answered to such a word; a single dash answers nothing.",
    )
    message_expiry_hours: float = Field(
        24.0, gt=0, le=24 * 30, allow_inf_nan=False, description="Age at which an unsent reply is not sent any more."
    )
    stalled_minutes: float = Field(
        30.0,
        gt=0,
        le=24 * 60,
        allow_inf_nan=False,
        description="Time after which a message that Evolution took and nobody confirmed counts as stalled.",
    )
    reconcile_seconds: Seconds = Field(
        900.0, description="How often each line is compared with Evolution's own store of messages."
    )
    hook_private_hosts: bool = Field(
        False,
        description="Whether webhooks to the CRM may go into private networks and without TLS; true where the CRM"
        " runs beside Zapline.",
    )
    upload_max_bytes: Size = Field(ByteSize(16 * MIB), description="Largest file that may be uploaded to be sent.")
    media_cache_bytes: Size = Field(
        ByteSize(1024 * MIB), description="Disk for files that were fetched from WhatsApp; the least used go first."
    )
    instance_prefix: str = Field(
        "unit_",
        pattern=r"^[A-Za-z0-9_-]{0,40}$",
        description="Start of the names of the instances that Zapline makes on Evolution.",
    )

    @model_validator(mode="after")
    def _budgets_fit(self) -> "Settings":
        if self.body_budget_bytes < self.max_body_bytes:
            raise invalid_setting("ZAPLINE_BODY_BUDGET_BYTES must be at least ZAPLINE_MAX_BODY_BYTES")
        return self

    @classmethod
    def documented(cls) -> list[tuple[str, str, str]]:
        """Every setting as (name, default as in an env file, description); "" for no default."""
        return [
            (env_name(cls, name), _default_text(field), field.description or "")
            for name, field in cls.model_fields.items()
        ]


RETIRED = frozenset({"ZAPLINE_QR_LIFETIME_SECONDS"})
"""Names that were settings once and had no effect. An installation that still sets one starts all the same."""
S = TypeVar("S", bound=DatabaseSettings)


def env_name(kind: type[DatabaseSettings], field: str) -> str:
    """A setting's name in the environment."""
    alias = kind.model_fields[field].validation_alias
    return alias if isinstance(alias, str) else (PREFIX + field).upper()


def load(kind: type[S], **overrides: object) -> S:
    """Read settings of this class from the environment; ``overrides`` (by field name) take precedence.

    Raises ``ConfigurationError``: one text with a line for each problem. It never contains a value.
    """
    file, credentials = _sources()
    problems: list[str] = []
    loaded: S | None = None
    names: set[str] = set()
    if file is not None and not Path(file).is_file():
        problems.append(f"{ENV_FILE} names a file that is not there.")
        file = None
    # Pydantic takes fields with an alias by their alias alone.
    arguments = {str(kind.model_fields[field].validation_alias or field): value for field, value in overrides.items()}
    construct: Callable[..., S] = kind
    try:
        names = _names_in_use(file, credentials)
        loaded = construct(_env_file=file, _secrets_dir=credentials, **arguments)
    except ValidationError as error:
        # Not chained: pydantic's error contains the values.
        problems += [_error_line(kind, details, names) for details in error.errors(include_url=False)]
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"The env file or a credential cannot be read: {type(error).__name__}.")
    problems += _unknown_names(names)
    if loaded is None or problems:
        raise ConfigurationError(_error_text(problems)) from None
    return loaded


def retired_names_in_use() -> list[str]:
    """Names that are set although nothing reads them any more. Raises OSError, UnicodeDecodeError for the sources."""
    file, credentials = _sources()
    return sorted(_names_in_use(file if file is not None and Path(file).is_file() else None, credentials) & RETIRED)


def _sources() -> tuple[str | None, Path | None]:
    """The env file that is named and the directory of credentials, each None where there is none."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    credentials = Path(directory) if directory and Path(directory).is_dir() else None
    return os.environ.get(ENV_FILE) or None, credentials


def _names_in_use(file: str | None, credentials: Path | None) -> set[str]:
    """The names that are set anywhere, in upper case."""
    names = {name for name, value in os.environ.items() if value}
    if file is not None:
        names |= {name for name, value in dotenv_values(file).items() if value}
    if credentials is not None:
        names |= {path.name for path in credentials.iterdir()}
    return {name.upper() for name in names}


def _setting_names() -> dict[str, str]:
    return {env_name(Settings, field): field for field in Settings.model_fields}


def _unknown_names(names: set[str]) -> Iterator[str]:
    known = _setting_names()
    for name in sorted(names):
        if name.startswith(PREFIX) and name not in known and name != ENV_FILE and name not in RETIRED:
            similar = get_close_matches(name, known, 1, 0.75) or get_close_matches(
                name.removeprefix(PREFIX), known, 1, 0.75
            )
            hint = f"did you mean {similar[0]}?" if similar else "no setting has this name; remove it."
            yield f"{name} is unknown: {hint}"


def _error_line(kind: type[DatabaseSettings], error: ErrorDetails, names: set[str]) -> str:
    if not error["loc"]:
        return f"{error['msg']}."
    location = str(error["loc"][0])
    fields: Mapping[str, str] = {env_name(kind, field).lower(): field for field in kind.model_fields}
    field = fields.get(location.lower(), location)
    name = env_name(kind, field)
    sentence = kind.model_fields[field].description or ""
    if error["type"] != "missing":
        message = PLAIN_MESSAGES.get(error["type"]) or error["msg"].replace("Input should be", "must be")
        return f"{name} {message.rstrip('.')}. ({sentence})"
    similar = get_close_matches(name, names - set(_setting_names()), 1, 0.8)
    hint = f" ({similar[0]} is set: did you mean {name}?)" if similar else ""
    return f"{name} is missing{hint}. Set it: {sentence}"


def _error_text(problems: list[str]) -> str:
    count = "1 setting is" if len(problems) == 1 else f"{len(problems)} settings are"
    return "\n".join([f"{count} missing or wrong:", *(f"  - {problem}" for problem in problems)])


def _default_text(field: Any) -> str:
    default = field.default
    if default is PydanticUndefined or default is None:
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    if isinstance(default, float) and default.is_integer():
        return str(int(default))
    return str(int(default)) if isinstance(default, int) else str(default)
