import os
import traceback
from dataclasses import FrozenInstanceError, fields
from ipaddress import ip_network
from pathlib import Path

import pytest

from zapline.daemon.settings import DatabaseSettings, Settings, load, retired_names_in_use
from zapline.domain.errors import ConfigurationError

NEEDED = {
    "DATABASE_URL": "postgresql://u:pw@127.0.0.1/db",
    "EVOLUTION_API_URL": "https://evolution.example/",
    "EVOLUTION_API_KEY": "evo-key-1",
    "BASE_URL": "https://zapline.example",
}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only what a test sets; a working directory without surprises."""
    for name in list(os.environ):
        if name.startswith("ZAPLINE_") or name in {*NEEDED, "CREDENTIALS_DIRECTORY", "STATE_DIRECTORY"}:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def needed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)


def refusal(kind: type[DatabaseSettings] = Settings) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(kind)
    return str(caught.value)


@pytest.mark.usefixtures("needed")
def test_four_names_are_enough() -> None:
    settings = load(Settings)
    assert settings.evolution_api_url == "https://evolution.example"
    assert settings.evolution_api_key.get_secret_value() == "evo-key-1"
    assert settings.database_url.get_secret_value() == "postgresql://u:pw@127.0.0.1/db"
    assert settings.bind == ("127.0.0.1:8080",)
    assert settings.ops_bind == ()
    assert settings.state_dir == Path(".zapline/state")
    assert settings.max_body_bytes == 110_000_000
    assert settings.journal_budget_bytes == 2 * 1024**3
    assert (settings.recorder_lanes, settings.drain_seconds, settings.journal_keep_hours) == (2, 8.0, 24.0)
    assert settings.master_key is None
    assert settings.log_format == "json"


@pytest.mark.usefixtures("needed")
def test_settings_are_read_as_what_they_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "BIND": "0.0.0.0:80, [::1]:8080,unix:/run/z.sock,fd://3",
        "TRUSTED_PROXIES": "10.0.0.0/8,fd00::1",
        "MAX_BODY_BYTES": "1MiB",
        "DATABASE_PREPARE": "no",
        "LOG_LEVEL": "WARNING",
        "LOG_FORMAT": "text",
        "DRAIN_SECONDS": "2.5",
        "INSTANCE_PREFIX": "",
        "OPS_BIND": "",
    }.items():
        monkeypatch.setenv("ZAPLINE_" + name, value)
    settings = load(Settings)
    assert settings.bind == ("0.0.0.0:80", "[::1]:8080", "unix:/run/z.sock", "fd://3")
    assert settings.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("fd00::1/128"))
    assert settings.max_body_bytes == 1024**2
    assert settings.database_prepare is False
    assert (settings.log_level, settings.log_format) == ("warning", "text")
    assert settings.drain_seconds == 2.5
    assert settings.instance_prefix == "unit_"
    assert settings.ops_bind == ()


@pytest.mark.usefixtures("needed")
def test_settings_cannot_be_changed_and_do_not_show_secrets() -> None:
    settings = load(Settings)
    with pytest.raises(FrozenInstanceError):
        settings.recorder_lanes = 5  # type: ignore[misc]
    assert "pw" not in repr(settings)
    assert "evo-key-1" not in str(settings)


@pytest.mark.usefixtures("needed")
def test_what_the_caller_gives_wins() -> None:
    settings = load(Settings, base_url="http://127.0.0.1:9999", recorder_lanes=2)
    assert (settings.base_url, settings.recorder_lanes) == ("http://127.0.0.1:9999", 2)


def test_an_env_file_is_read_only_when_it_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("".join(f'{name}="{value}"\n' for name, value in NEEDED.items()) + "ZAPLINE_RECORDER_LANES=7\n")
    assert "4 settings are missing or wrong" in refusal()
    monkeypatch.setenv("ZAPLINE_ENV_FILE", str(file))
    assert load(Settings).recorder_lanes == 7
    monkeypatch.setenv("ZAPLINE_RECORDER_LANES", "3")
    assert load(Settings).recorder_lanes == 3


@pytest.mark.usefixtures("needed")
def test_an_env_file_that_is_not_there_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZAPLINE_ENV_FILE", "/nowhere/zapline.env")
    assert "ZAPLINE_ENV_FILE names a file that is not there" in refusal()


@pytest.mark.usefixtures("needed")
def test_an_env_file_that_is_no_text_is_a_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "env").write_bytes(b"BASE_URL=\xff\xfe\n")
    monkeypatch.setenv("ZAPLINE_ENV_FILE", str(tmp_path / "env"))
    assert "cannot be read: UnicodeDecodeError" in refusal()


def test_credentials_of_systemd_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    for name in ("EVOLUTION_API_URL", "BASE_URL"):
        monkeypatch.setenv(name, NEEDED[name])
    (tmp_path / "evolution_api_key").write_text("from-a-file\n")
    (tmp_path / "database_url").write_text("postgresql://u:file@h/db\n")
    (tmp_path / "zapline_master_key").write_text("m" * 40 + "\n")
    settings = load(Settings)
    assert settings.evolution_api_key.get_secret_value() == "from-a-file"
    assert settings.database_url.get_secret_value() == "postgresql://u:file@h/db"
    assert settings.master_key is not None
    assert settings.master_key.get_secret_value() == "m" * 40
    monkeypatch.setenv("EVOLUTION_API_KEY", "from-the-environment")
    assert load(Settings).evolution_api_key.get_secret_value() == "from-the-environment"


@pytest.mark.usefixtures("needed")
def test_credentials_that_are_gone_do_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/nowhere")
    assert load(Settings).evolution_api_key.get_secret_value() == "evo-key-1"


@pytest.mark.usefixtures("needed")
def test_the_state_directory_is_the_first_that_systemd_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/zapline:/var/lib/other")
    assert load(Settings).state_dir == Path("/var/lib/zapline")
    monkeypatch.setenv("ZAPLINE_STATE_DIR", "/srv/zapline")
    assert load(Settings).state_dir == Path("/srv/zapline")


def test_one_error_names_every_problem_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    failures = {
        "DATABASE_URL": "mysql://u:c4nary@h/db",
        "EVOLUTION_API_URL": "https://user:c4nary@evolution.example",
        "EVOLUTION_API_KEY": "c4nary key",
        "ZAPLINE_BIND": "c4nary",
        "ZAPLINE_TRUSTED_PROXIES": "10.0.0.0/33,c4nary",
        "ZAPLINE_MASTER_KEY": "c4nary",
        "ZAPLINE_DRAIN_SECONDS": "-1",
        "ZAPLINE_RECORDER_LANES": "c4nary",
        "ZAPLINE_LOG_LEVEL": "c4nary",
        "ZAPLINE_MAX_BODY_BYTES": "c4nary",
        "ZAPLINE_DATABASE_PREPARE": "c4nary",
        "ZAPLINE_DEFAULT_REGION": "c4nary",
        "ZAPLINE_WEBHOOK_SECRET_GRACE_MINUTES": "5",
    }
    for name, value in failures.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        load(Settings)
    payload = str(caught.value)
    assert payload.startswith("14 settings are missing or wrong:\n")
    assert len(payload.splitlines()) == 15
    for name in [*failures, "BASE_URL"]:
        assert sum(f"- {name} " in line for line in payload.splitlines()) == 1, name
    assert "BASE_URL is missing. Set it: Where Evolution reaches Zapline" in payload
    assert "postgresql://user:password@host:5432/database" in payload
    assert "ZAPLINE_RECORDER_LANES must be a whole number." in payload
    assert "ZAPLINE_DRAIN_SECONDS must be greater than 0." in payload
    # Neither the text nor what a traceback would print holds a value.
    assert "c4nary" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.usefixtures("needed")
@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("ZAPLINE_BND", "did you mean ZAPLINE_BIND?"),
        ("ZAPLINE_BASE_URL", "did you mean BASE_URL?"),
        ("ZAPLINE_EVOLUTION_API_KEY", "did you mean EVOLUTION_API_KEY?"),
        ("ZAPLINE_WHATEVER", "no setting has this name; remove it."),
    ],
)
def test_a_name_that_no_setting_has_is_a_problem(monkeypatch: pytest.MonkeyPatch, name: str, hint: str) -> None:
    monkeypatch.setenv(name, "https://c4nary.example")
    assert f"1 setting is missing or wrong:\n  - {name} is unknown: {hint}" == refusal()


@pytest.mark.usefixtures("needed")
def test_a_setting_that_was_retired_refuses_no_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert retired_names_in_use() == []
    (tmp_path / "env").write_text("ZAPLINE_QR_LIFETIME_SECONDS=45\n")
    monkeypatch.setenv("ZAPLINE_ENV_FILE", str(tmp_path / "env"))
    load(Settings)
    assert retired_names_in_use() == ["ZAPLINE_QR_LIFETIME_SECONDS"]


@pytest.mark.usefixtures("needed")
def test_unknown_names_in_the_env_file_and_credentials_are_found_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "zapline_masterkey").write_text("x")
    (tmp_path / "env").write_text("ZAPLINE_RECORDERLANES=3\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("ZAPLINE_ENV_FILE", str(tmp_path / "env"))
    payload = refusal()
    assert "ZAPLINE_MASTERKEY is unknown: did you mean ZAPLINE_MASTER_KEY?" in payload
    assert "ZAPLINE_RECORDERLANES is unknown: did you mean ZAPLINE_RECORDER_LANES?" in payload


def test_a_needed_name_that_is_misspelt_is_pointed_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVOLUTION_APIKEY", "x")
    assert "EVOLUTION_API_KEY is missing (EVOLUTION_APIKEY is set: did you mean EVOLUTION_API_KEY?)" in refusal()


@pytest.mark.usefixtures("needed")
def test_a_body_has_to_fit_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZAPLINE_BODY_BUDGET_BYTES", "1000000")
    assert "ZAPLINE_BODY_BUDGET_BYTES must be at least ZAPLINE_MAX_BODY_BYTES" in refusal()


@pytest.mark.usefixtures("needed")
def test_the_settings_of_the_mail_server_have_to_fit_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZAPLINE_SMTP_HOST", "mail.example.com")
    assert "ZAPLINE_SMTP_HOST needs ZAPLINE_SMTP_FROM" in refusal()
    monkeypatch.setenv("ZAPLINE_SMTP_FROM", "zapline@example.com")
    assert load(Settings).smtp_port == 587
    monkeypatch.setenv("ZAPLINE_SMTP_SECURITY", "none")
    assert "only for a server on this machine" in refusal()
    monkeypatch.setenv("ZAPLINE_SMTP_HOST", "127.0.0.1")
    monkeypatch.setenv("ZAPLINE_SMTP_PASSWORD", "c4nary")
    assert "ZAPLINE_SMTP_PASSWORD needs ZAPLINE_SMTP_USER" in refusal()
    monkeypatch.setenv("ZAPLINE_SMTP_USER", "zapline")
    assert "c4nary" not in repr(load(Settings))
    for name, right, wrong in (
        ("USER", "zapline", "zaplíne"),
        ("PASSWORD", "c4nary", "c4náry"),
        ("FROM", "zapline@example.com", "zaplíne@example.com"),
    ):
        monkeypatch.setenv(f"ZAPLINE_SMTP_{name}", wrong)
        told = refusal()
        assert f"ZAPLINE_SMTP_{name} may hold ASCII letters, digits and signs only" in told
        assert "c4n" not in told
        monkeypatch.setenv(f"ZAPLINE_SMTP_{name}", right)
    monkeypatch.setenv("ZAPLINE_SMTP_SECURITY", "starttls")
    for host in ("mail..example.com", "a" * 64, "mail example", ".example.com"):
        monkeypatch.setenv("ZAPLINE_SMTP_HOST", host)
        assert "ZAPLINE_SMTP_HOST is no name of a host" in refusal()


@pytest.mark.usefixtures("needed")
@pytest.mark.parametrize(
    "url",
    ["ftp://h", "evolution.example", "https://", "https://h:port", "https://h/?a=b", "https://a b", "http://[::1"],
)
def test_a_url_has_to_be_one(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("BASE_URL", url)
    assert "- BASE_URL must" in refusal()


def test_a_command_that_needs_the_database_alone_asks_for_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(DatabaseSettings).startswith("1 setting is missing or wrong:\n  - DATABASE_URL is missing")
    monkeypatch.setenv("DATABASE_URL", NEEDED["DATABASE_URL"])
    monkeypatch.setenv("ZAPLINE_BIND", "127.0.0.1:1")
    assert load(DatabaseSettings).database_prepare is True


def test_every_setting_is_described_by_a_sentence() -> None:
    documented = Settings.documented()
    assert len(documented) == len(fields(Settings))
    for name, _, sentence in documented:
        assert name.startswith("ZAPLINE_") or name in NEEDED
        assert sentence.endswith((".", "..."))
    assert ("ZAPLINE_BIND", "127.0.0.1:8080") in [(name, default) for name, default, _ in documented]
    assert ("ZAPLINE_DATABASE_PREPARE", "true") in [(name, default) for name, default, _ in documented]
