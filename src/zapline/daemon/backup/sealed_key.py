"""Seals the master key with a password: scrypt and AES-256-GCM, so that who holds the backup alone holds no key."""

import secrets

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from zapline.daemon.master_key import derive
from zapline.domain.errors import LocalError

_COST, _BLOCK, _LANES = 2**16, 8, 1
"""scrypt: 64 MiB and a fifth of a second for each password that is tried."""
_MIN_PASSWORD = 12


class SealedKey(msgspec.Struct, frozen=True, rename="camel"):
    """The file ``master.key.sealed``, as JSON."""

    kdf: str
    cost: int
    salt: bytes
    nonce: bytes
    sealed: bytes


def fingerprint(master: bytes) -> str:
    """Tells two master keys apart and reveals neither."""
    return derive(master, "backup fingerprint").hex()[:16]


def seal(master: bytes, password: bytes) -> bytes:
    """The file's content. Raises LocalError for a password that is too short."""
    if len(password) < _MIN_PASSWORD:
        raise LocalError(f"the password of the master key needs at least {_MIN_PASSWORD} characters")
    salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
    sealed = AESGCM(_stretch(password, salt, _COST)).encrypt(nonce, master, b"zapline master key")
    return msgspec.json.encode(SealedKey("scrypt", _COST, salt, nonce, sealed))


def unseal(content: bytes, password: bytes) -> bytes:
    """The master key. Raises LocalError for a wrong password or a damaged file."""
    try:
        file = msgspec.json.decode(content, type=SealedKey)
        if not 2**10 <= file.cost <= 2**20:
            raise ValueError
        key = _stretch(password, file.salt, file.cost)
        return AESGCM(key).decrypt(file.nonce, file.sealed, b"zapline master key")
    except InvalidTag:
        raise LocalError("the password does not open the master key in this backup") from None
    except (msgspec.DecodeError, ValueError) as error:
        raise LocalError("master.key.sealed in this backup cannot be read") from error


def _stretch(password: bytes, salt: bytes, cost: int) -> bytes:
    return Scrypt(salt=salt, length=32, n=cost, r=_BLOCK, p=_LANES).derive(password)
