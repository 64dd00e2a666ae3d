"""compose.yaml, the image and the manifests of Kubernetes: confined, with secrets as files whose names are settings."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from zapline import __version__
from zapline.daemon.settings import DatabaseSettings, Settings, load

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
MANIFESTS: list[dict[str, Any]] = list(yaml.safe_load_all((ROOT / "deploy/kubernetes/zapline.yaml").read_text()))
DOCKERFILE = (ROOT / "Dockerfile").read_text()
KNOWN = {name for name, _, _ in Settings.documented()}


def test_every_service_is_confined_and_watched() -> None:
    for name, service in COMPOSE["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"] is (name != "evolution"), name
    assert "HEALTHCHECK" in DOCKERFILE
    assert "\nUSER 10001" in DOCKERFILE
    assert all("healthcheck" in COMPOSE["services"][name] for name in ("postgres", "evolution"))
    assert int(COMPOSE["services"]["zapline"]["stop_grace_period"].removesuffix("s")) >= 13
    assert [port for service in COMPOSE["services"].values() for port in service.get("ports", [])] == [
        "127.0.0.1:8080:8080"
    ]


def test_secrets_are_files_whose_names_are_settings_and_no_service_names_a_server_of_images() -> None:
    service = COMPOSE["services"]["zapline"]
    assert {name.upper() for name in service["secrets"]} | set(service["environment"]) <= KNOWN
    assert set(COMPOSE["secrets"]) == {
        name for each in COMPOSE["services"].values() for name in each.get("secrets", [])
    }
    for each in COMPOSE["services"].values():
        assert "." not in each["image"].partition("/")[0].partition(":")[0]
    settings = re.findall(r"\b(ZAPLINE_[A-Z_]+)=", DOCKERFILE)
    assert settings
    assert set(settings) <= KNOWN


def test_the_drawn_secrets_are_read_by_the_daemon_and_drawn_once(tmp_path: Path, monkeypatch: Any) -> None:
    script = tmp_path / "make-secrets"
    script.write_bytes((ROOT / "deploy/compose/make-secrets").read_bytes())

    def draw() -> dict[str, str]:
        subprocess.run(["sh", script], check=True, capture_output=True)
        return {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}

    drawn = draw()
    assert draw() == drawn
    assert set(drawn) == set(COMPOSE["secrets"])
    for name in list(os.environ):
        if name.startswith("ZAPLINE_") or name == "DATABASE_URL":
            monkeypatch.delenv(name)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "secrets"))
    url = load(DatabaseSettings).database_url.get_secret_value()
    assert url == f"postgresql://zapline:{drawn['postgres_password']}@postgres:5432/zapline"


def test_the_manifests_confine_the_pod_and_probe_routes_that_are_there() -> None:
    [pod] = [each["spec"]["template"]["spec"] for each in MANIFESTS if each["kind"] == "StatefulSet"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
    for container in pod["containers"] + pod["initContainers"]:
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["image"] == f"zapline:{__version__}" == COMPOSE["services"]["zapline"]["image"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted <= {"state", *(volume["name"] for volume in pod["volumes"])}
    [daemon] = pod["containers"]
    routes = {daemon[probe]["httpGet"]["path"] for probe in ("readinessProbe", "livenessProbe", "startupProbe")}
    assert routes == {"/readyz", "/livez"}
    [config] = [each["data"] for each in MANIFESTS if each["kind"] == "ConfigMap"]
    assert set(config) <= KNOWN


def test_each_way_to_install_takes_at_most_ten_lines() -> None:
    page = (ROOT / "docs/install.md").read_text()
    ways = re.findall(r"(?ms)^## \d\..*?^```sh\n(.*?)^```", page)
    assert [len(way.splitlines()) <= 10 for way in ways] == [True] * 4
    assert f"zapline_{__version__}_amd64.deb" in page
