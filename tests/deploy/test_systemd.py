import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.many_cases import in_one_test

from zapline.daemon.settings import Settings, load

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
EXAMPLE = (UNITS / "zapline.env.example").read_text(encoding="utf-8")
SERVICES = ["zapline.service", "zapline-migrate.service"]
ANALYZE = shutil.which("systemd-analyze")
ALLOWED_EXPOSURE = 1.5

needs_systemd = pytest.mark.skipif(
    ANALYZE is None and os.environ.get("CI") != "true",
    reason="systemd-analyze is not installed (Debian: apt-get install systemd)",
)


def directives(service: str) -> list[tuple[str, str]]:
    lines = (UNITS / service).read_text(encoding="utf-8").splitlines()
    return [
        (name, value) for name, _, value in (line.partition("=") for line in lines) if value and name[0] not in "#["
    ]


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ANALYZE or "systemd-analyze", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "SYSTEMD_COLORS": "0", "LANG": "C.UTF-8"},
    )


@needs_systemd
@pytest.mark.parametrize("service", SERVICES)
def test_a_service_may_do_little(service: str) -> None:
    done = analyze("security", "--offline=true", "--no-pager", str(UNITS / service))
    result = re.search(r"Overall exposure level for \S+: (\d+\.\d+)", done.stdout)
    assert result is not None, done.stdout + done.stderr
    assert float(result[1]) <= ALLOWED_EXPOSURE, done.stdout


@needs_systemd
def test_systemd_understands_every_line(tmp_path: Path) -> None:
    for service in SERVICES:
        text = (UNITS / service).read_text(encoding="utf-8")
        # The binary of a real installation need not exist on this machine.
        (tmp_path / service).write_text(re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={sys.executable}", text))
    done = analyze("verify", *(str(tmp_path / service) for service in SERVICES))
    assert (done.returncode, done.stderr.strip()) == (0, "")


@needs_systemd
def test_a_line_that_systemd_does_not_understand_is_found(tmp_path: Path) -> None:
    service = tmp_path / "zapline.service"
    service.write_text("[Service]\nType=notify\nExecStart=/bin/true\nWatchdogSecs=30\n")
    assert "WatchdogSecs" in analyze("verify", str(service)).stderr


def test_the_daemon_is_watched_restarted_and_stopped_in_time() -> None:
    lines = dict(directives("zapline.service"))
    assert (lines["Type"], lines["NotifyAccess"], lines["Restart"]) == ("notify", "main", "always")
    assert lines["StartLimitIntervalSec"] == "0"
    assert int(lines["WatchdogSec"]) == 30
    drain = next(float(default) for name, default, _ in Settings.documented() if name == "ZAPLINE_DRAIN_SECONDS")
    assert int(lines["TimeoutStopSec"]) >= drain + 5
    assert (lines["DynamicUser"], lines["StateDirectory"], lines["StateDirectoryMode"]) == ("yes", "zapline", "0700")


def test_the_daemon_never_requires_the_migration() -> None:
    for name, value in directives("zapline.service"):
        if "zapline-migrate" in value:
            assert name == "After"


def test_no_secret_travels_by_the_command_line_or_the_unit() -> None:
    for service in SERVICES:
        for name, value in directives(service):
            assert name not in ("Environment", "PassEnvironment", "SetCredential")
            if name == "ExecStart":
                assert re.fullmatch(r"/opt/zapline/bin/zapline \w+", value)


def test_each_credential_is_the_name_of_a_setting() -> None:
    known = {name.lower() for name, _, _ in Settings.documented()}
    text = "".join((UNITS / service).read_text(encoding="utf-8") for service in SERVICES)
    credentials = re.findall(r"(?m)^#?LoadCredential=(\w+):", text)
    assert {"database_url", "evolution_api_key", "zapline_master_key"} <= set(credentials) <= known


@in_one_test(Settings.documented())
def test_the_example_explains_every_setting(name: str, default: str, sentence: str) -> None:
    flat = " ".join(re.sub(r"(?m)^# ", "", EXAMPLE).split())
    assert len(re.findall(rf"(?m)^#?{name}=", EXAMPLE)) == 1, f"{name} is not in zapline.env.example"
    assert sentence in flat, f"zapline.env.example does not say of {name}: {sentence}"
    written = re.search(rf"(?m)^(#?){name}=(.*)$", EXAMPLE)
    assert written is not None
    if written[1]:
        assert written[2] == default, f"zapline.env.example shows another default of {name}"


def test_the_example_names_nothing_that_is_no_setting() -> None:
    known = {name for name, _, _ in Settings.documented()}
    assert set(re.findall(r"(?m)^#?([A-Z_]+)=", EXAMPLE)) == known


def test_the_example_is_read_as_it_stands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("ZAPLINE_") or name in ("BASE_URL", "EVOLUTION_API_URL", "CREDENTIALS_DIRECTORY"):
            monkeypatch.delenv(name)
    (tmp_path / "database_url").write_text("postgresql://u:pw@h/db")
    (tmp_path / "evolution_api_key").write_text("key")
    # Every default that is shown, as if its line were used.
    (tmp_path / "env").write_text(re.sub(r"(?m)^#(ZAPLINE_\w+=)", r"\1", EXAMPLE), encoding="utf-8")
    monkeypatch.setenv("ZAPLINE_ENV_FILE", str(tmp_path / "env"))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.delenv("EVOLUTION_API_KEY", raising=False)
    used = load(Settings)
    monkeypatch.delenv("ZAPLINE_ENV_FILE")
    assert used == load(Settings, base_url=used.base_url, evolution_api_url=used.evolution_api_url)
