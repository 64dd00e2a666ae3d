import os
import stat
import threading
from pathlib import Path

import pytest

from zapline.daemon.master_key import _hkdf, derive, master_key
from zapline.daemon.setting_types import Secret
from zapline.domain.errors import ConfigurationError


def test_a_given_key_is_taken_and_nothing_is_written(tmp_path: Path) -> None:
    assert master_key(Secret("given" * 8), tmp_path) == b"given" * 8
    assert list(tmp_path.iterdir()) == []


def test_a_missing_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    state = tmp_path / "deep" / "state"
    first = master_key(None, state)
    assert len(first) >= 32
    assert master_key(None, state) == first
    assert [path.name for path in state.iterdir()] == ["master.key"]
    assert stat.S_IMODE((state / "master.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(state.stat().st_mode) == 0o700


def test_two_states_have_two_keys(tmp_path: Path) -> None:
    assert master_key(None, tmp_path / "a") != master_key(None, tmp_path / "b")


def test_all_who_make_a_key_at_once_get_the_same(tmp_path: Path) -> None:
    keys: list[bytes] = []
    start = threading.Barrier(8)

    def make() -> None:
        start.wait(5)
        keys.append(master_key(None, tmp_path))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(keys) == 8
    assert len(set(keys)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["master.key"]


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    master_key(None, tmp_path)
    (tmp_path / "master.key").chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        master_key(None, tmp_path)


@pytest.mark.parametrize("content", [b"", b"\n", b"short\n"])
def test_a_broken_key_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "master.key"
    path.touch(0o600)
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="cut off"):
        master_key(None, tmp_path)
    assert path.read_bytes() == content


def test_a_state_directory_that_cannot_be_made_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="ZAPLINE_STATE_DIR"):
        master_key(None, tmp_path / "file" / "state")
    assert os.listdir(tmp_path) == ["file"]


def test_each_purpose_has_a_key_of_its_own_that_stays_the_same() -> None:
    assert derive(b"m" * 32, "webhook secrets") == derive(b"m" * 32, "webhook secrets")
    assert len({derive(b"m" * 32, "a"), derive(b"m" * 32, "b"), derive(b"n" * 32, "a")}) == 3
    assert len(derive(b"m" * 32, "a")) == 32


def test_the_derivation_is_the_one_of_rfc_5869() -> None:
    first = _hkdf(bytes([0x0B] * 22), bytes(range(13)), bytes(range(0xF0, 0xFA)))
    assert first.hex() == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
    without_salt = _hkdf(bytes([0x0B] * 22), b"", b"")
    assert without_salt.hex() == "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
