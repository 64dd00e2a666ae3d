"""Settings of commands that need the database and the master key, but neither Evolution nor BASE_URL."""

from copy import copy
from pathlib import Path
from typing import cast

from zapline.daemon.setting_types import StrongSecret
from zapline.daemon.settings import DatabaseSettings, Settings


class KeySettings(DatabaseSettings):
    """A subset of ``Settings``, with the same names and defaults."""

    state_dir: Path = cast(Path, copy(Settings.model_fields["state_dir"]))
    master_key: StrongSecret | None = cast(None, copy(Settings.model_fields["master_key"]))


class RegionSettings(DatabaseSettings):
    """A subset of ``Settings`` for commands that take phone numbers."""

    default_region: str = cast(str, copy(Settings.model_fields["default_region"]))
