"""Finds or creates the master key, and derives all other keys from it."""

import contextlib
import hashlib
import hmac
import os
import secrets
import stat
from base64 import urlsafe_b64encode
from pathlib import Path
from uuid import UUID

from zapline.daemon.durable_files import sync_directory, write_new
from zapline.daemon.setting_types import Secret
from zapline.domain.errors import ConfigurationError
from zapline.domain.ids import UnitId
from zapline.domain.privacy.sealed_credentials import CredentialSealer

FILE = "master.key"
_MIN_LENGTH = 32
"""Bytes of text, as ``ZAPLINE_MASTER_KEY`` requires."""
_SALT = b"zapline master key v1"


def master_key(configured: Secret | None, state_dir: Path) -> bytes:
    """The configured key, or the one in ``state_dir``, created at the first call (mode 0600, fsynced before its use).

    Of two processes that create one at the same time, both get the same. Raises ``ConfigurationError`` if the file is
    empty, cut off, open to others or cannot be read or created. A broken file is never replaced: everything derived
    from the lost key would be lost with it.
    """
    if configured is not None:
        return configured.get_secret_value().encode()
    path = state_dir / FILE
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _create(path)
        return _read(path)
    except OSError as error:
        raise ConfigurationError(
            f"The key file {path} cannot be read or made ({error.strerror}). Make its directory writable for"
            " the daemon (ZAPLINE_STATE_DIR), or set ZAPLINE_MASTER_KEY."
        ) from error


def derive(master: bytes, purpose: str) -> bytes:
    """32 bytes for one purpose, by HKDF-SHA256 (RFC 5869); they reveal nothing of the master key or of each other."""
    return _hkdf(master, _SALT, purpose.encode())


def webhook_secret(master: bytes, unit: UnitId, generation: int) -> str:
    """The secret in a unit's webhook URL: derived, so that no database dump contains it."""
    return urlsafe_b64encode(derive(master, f"webhook:{unit}:{generation}")).rstrip(b"=").decode()


def hook_key(master: bytes, hook: UUID, generation: int) -> bytes:
    """The key that signs deliveries to a CRM's hook."""
    return derive(master, f"hook:{hook}:{generation}")


def seal_server_key(master: bytes, name: str, key: str) -> bytes:
    """An Evolution server's key as it is stored."""
    return _credentials(master).seal(f"evolution server {name}", key)


def unseal_server_key(master: bytes, name: str, sealed: bytes) -> str | None:
    """The key of the Evolution server of this name; None where it was stored under another master key."""
    return _credentials(master).unseal(f"evolution server {name}", sealed)


def seal_alarm_target(master: bytes, id: UUID, target: str) -> bytes:
    """The address of a destination of alarms as it is stored."""
    return _credentials(master).seal(f"alarm destination {id}", target)


def unseal_alarm_target(master: bytes, id: UUID, sealed: bytes) -> str | None:
    """The address of this destination of alarms; None where it was stored under another master key."""
    return _credentials(master).unseal(f"alarm destination {id}", sealed)


def alarm_key(master: bytes, id: UUID, generation: int) -> bytes:
    """The key that signs alarms to this webhook."""
    return derive(master, f"alarm:{id}:{generation}")


def _credentials(master: bytes) -> CredentialSealer:
    return CredentialSealer(derive(master, "credentials"))


def _hkdf(key: bytes, salt: bytes, info: bytes) -> bytes:
    """The first block of the expansion: 32 bytes are enough."""
    extracted = hmac.digest(salt or bytes(hashlib.sha256().digest_size), key, "sha256")
    return hmac.digest(extracted, info + b"\x01", "sha256")


def _create(path: Path) -> None:
    draft = path.with_name(f"{FILE}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        write_new(draft, secrets.token_urlsafe(48).encode() + b"\n")
        # A link, unlike a rename, never replaces the key of another process that was faster.
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    sync_directory(path.parent)


def _read(path: Path) -> bytes:
    with open(path, "rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        key = file.read().strip()
    if mode & 0o077:
        raise ConfigurationError(f"The key file {path} is open to others. Run: chmod 600 {path}")
    if len(key) < _MIN_LENGTH:
        raise ConfigurationError(
            f"The key file {path} is cut off. Restore it from a backup; without one, remove it, and every webhook"
            " is registered anew with a new secret."
        )
    return key
