"""A credential is read under its own key and for its own purpose alone."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zapline.domain.privacy.sealed_credentials import CredentialSealer

TEXTS = st.text(max_size=60)
BUSY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@BUSY
@given(st.binary(min_size=32, max_size=32), TEXTS, TEXTS)
def test_what_was_sealed_is_read_again_and_sealed_alike(key: bytes, purpose: str, credential: str) -> None:
    sealed = CredentialSealer(key).seal(purpose, credential)
    assert CredentialSealer(key).unseal(purpose, sealed) == credential
    assert CredentialSealer(key).seal(purpose, credential) == sealed
    assert len(credential) < 8 or credential.encode() not in sealed


@BUSY
@given(TEXTS, TEXTS, st.binary(max_size=80))
def test_another_key_another_purpose_or_other_bytes_open_nothing(purpose: str, credential: str, other: bytes) -> None:
    sealer = CredentialSealer(bytes(32))
    sealed = sealer.seal(purpose, credential)
    assert CredentialSealer(bytes(31) + b"1").unseal(purpose, sealed) is None
    assert sealer.unseal(purpose + "!", sealed) is None
    assert other == sealed or sealer.unseal(purpose, other) is None
    assert sealer.unseal(purpose, sealed[:-1]) is None
