"""Describes a running sandbox, its addresses and credentials, to people, programs and shells."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class SandboxInfo:
    """``units``: id, name, instance, webhookUrl and token of each. ``simulated``: Evolution and phones are."""

    base_url: str
    email: str
    password: str
    database_url: str
    evolution_url: str
    evolution_api_key: str
    simulated: bool
    units: tuple[dict[str, Any], ...]

    def write(self, directory: Path) -> None:
        """Write ``sandbox.json`` for programs and ``sandbox.env`` for shells, for us alone: they hold secrets."""
        info = {
            "baseUrl": self.base_url,
            "adminEmail": self.email,
            "adminPassword": self.password,
            "databaseUrl": self.database_url,
            "evolutionUrl": self.evolution_url,
            "evolutionApiKey": self.evolution_api_key,
            "units": self.units,
        }
        unit = self.units[0]
        variables = {
            "URL": self.base_url,
            "EVOLUTION": self.evolution_url,
            "EMAIL": self.email,
            "PASSWORD": self.password,
            "UNIT": unit["id"],
            "INSTANCE": unit["instance"],
            "TOKEN": unit["token"],
            # Settings, for commands that find none in the environment.
            "DATABASE_URL": self.database_url,
            "EVOLUTION_API_URL": self.evolution_url,
            "EVOLUTION_API_KEY": self.evolution_api_key,
            "BASE_URL": self.base_url,
            "ZAPLINE_BIND": urlsplit(self.base_url).netloc,
            "ZAPLINE_STATE_DIR": str(directory / "state"),
        }
        _write_private(
            directory / "sandbox.env", "".join(f"{name}={shlex.quote(value)}\n" for name, value in variables.items())
        )
        _write_private(directory / "sandbox.json", json.dumps(info, indent=2, ensure_ascii=False) + "\n")

    def __str__(self) -> str:
        lines = [
            "",
            f"  Zapline is ready    {self.base_url}   (API: /docs, health: /health, metrics: /metrics)",
            f"  Sign in             {self.base_url}/console/",
            f"  Administrator       {self.email}   password: {self.password}",
            f"  PostgreSQL          {self.database_url}",
            f"  Evolution           {self.evolution_url}",
            *(
                f"  Unit                {unit['name']}: {unit['id']} (instance {unit['instance']})"
                for unit in self.units
            ),
            "  All of this is in   .zapline/sandbox.json, and for a shell: . .zapline/sandbox.env",
        ]
        if self.simulated:
            receive = f'{{"instance": "{self.units[0]["instance"]}", "text": "oi"}}'
            lines += [f"  Write to a unit     curl -s {self.evolution_url}/_control/receive -d '{receive}'"]
        else:
            lines += ["  Scan the code       on the unit's page of the console"]
        return "\n".join([*lines, "  Stop with Ctrl-C.", ""])


def _write_private(file: Path, text: str) -> None:
    draft = file.with_suffix(f"{file.suffix}.new")
    draft.touch(mode=0o600)
    draft.write_text(text, "utf-8")
    draft.replace(file)
