"""Settings of commands that need the database and the master key, but neither Evolution nor BASE_URL."""

from dataclasses import dataclass
from pathlib import Path

from zapline.daemon.setting_types import Secret
from zapline.daemon.settings import DatabaseSettings, same_setting


@dataclass(frozen=True, kw_only=True)
class KeySettings(DatabaseSettings):
    """A subset of ``Settings``, with the same names and defaults."""

    state_dir: Path = same_setting("state_dir")
    master_key: Secret | None = same_setting("master_key")


@dataclass(frozen=True, kw_only=True)
class AlarmTargetSettings(KeySettings):
    """A subset of ``Settings`` for commands that take addresses of alarms."""

    default_region: str = same_setting("default_region")
    hook_private_hosts: bool = same_setting("hook_private_hosts")
    smtp_host: str = same_setting("smtp_host")


@dataclass(frozen=True, kw_only=True)
class RegionSettings(DatabaseSettings):
    """A subset of ``Settings`` for commands that take phone numbers."""

    default_region: str = same_setting("default_region")
