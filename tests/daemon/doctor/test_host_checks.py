"""What the doctor finds on this machine, and what it can tell of the way from Evolution to here."""

import os
from pathlib import Path

import pytest

from zapline.daemon.doctor.finding import Finding, Verdict
from zapline.daemon.doctor.host_checks import check_host, filesystem
from zapline.daemon.doctor.listener_checks import _check_from_evolution


@pytest.mark.parametrize(
    ("base_url", "evolution_url", "verdict"),
    [
        ("http://localhost:8080", "https://evolution.example", Verdict.WARN),
        ("http://127.0.0.1:8080", "http://10.0.0.7:8080", Verdict.WARN),
        ("http://127.0.0.1:8080", "http://localhost:8081", Verdict.OK),
        ("http://10.0.0.5", "http://8.8.8.8", Verdict.WARN),
        ("http://10.0.0.5", "http://10.0.0.6", Verdict.OK),
        ("https://same.example", "https://same.example", Verdict.WARN),
        ("https://zapline.example", "https://evolution.example", Verdict.OK),
    ],
)
def test_a_base_url_that_evolution_cannot_follow_is_a_warning(
    base_url: str, evolution_url: str, verdict: Verdict
) -> None:
    assert _check_from_evolution(base_url, evolution_url).verdict is verdict


# -- this machine ----------------------------------------------------------------------------------------


async def look(directory: Path) -> dict[str, Finding]:
    result: list[Finding] = []
    await check_host(directory, result.append)
    return {finding.what: finding for finding in result}


async def test_a_state_directory_that_others_may_read_is_told_how_to_be_closed(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o755)
    assert (await look(tmp_path))["state directory"].next_step == f"Run: chmod 700 {tmp_path}"
    os.chmod(tmp_path, 0o700)
    result = await look(tmp_path)
    assert result["state directory"].verdict is Verdict.OK
    assert result["journal"].verdict is Verdict.OK
    assert os.listdir(tmp_path) == []


async def test_a_journal_that_was_damaged_is_told_until_somebody_has_looked(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o700)
    (tmp_path / "journal" / "damaged-20261129T000000Z-abcdef").mkdir(parents=True)
    result = (await look(tmp_path))["journal"]
    assert result.verdict is Verdict.WARN
    assert "damaged-20261129T000000Z-abcdef" in result.observation


async def test_a_state_directory_that_is_not_there_yet_is_no_failure(tmp_path: Path) -> None:
    result = (await look(tmp_path / "not" / "yet"))["state directory"]
    assert result.verdict is Verdict.WARN
    assert not (tmp_path / "not").exists()
    (tmp_path / "file").touch()
    assert (await look(tmp_path / "file"))["state directory"].verdict is Verdict.FAIL


async def test_a_disk_in_memory_is_a_failure() -> None:
    kind, point = filesystem(Path("/dev/shm"), Path("/proc/mounts"))
    if kind != "tmpfs":
        pytest.skip("this machine has no /dev/shm in memory")
    result = (await look(Path(point)))["disk"]
    assert result.verdict is Verdict.FAIL
    assert "tmpfs" in result.observation


def test_the_deepest_and_latest_mount_counts(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "overlay / overlay rw 0 0\n/dev/sda1 /var ext4 rw 0 0\ntmpfs /var/lib/zap tmpfs rw 0 0\n"
        "/dev/sdb1 /var/lib/with\\040space xfs rw 0 0\n/dev/sdc1 /var/lib/zap ext4 rw 0 0\nodd\n"
    )
    assert filesystem(Path("/var/lib/zapline"), mounts) == ("ext4", "/var")
    assert filesystem(Path("/var/lib/zap/x"), mounts) == ("ext4", "/var/lib/zap")
    assert filesystem(Path("/var/lib/with space/x"), mounts) == ("xfs", "/var/lib/with space")
    assert filesystem(Path("/etc"), mounts) == ("overlay", "/")
    assert filesystem(Path("/etc"), tmp_path / "none") == ("", "")
