"""The client for TypeScript: compiled strictly, its decisions, and against a whole Zapline; only where npm is there."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pytest_zapline.sandbox import Sandbox

CLIENT = Path(__file__).parents[2] / "clients" / "typescript"
STATIC = CLIENT.parents[1] / "src" / "zapline" / "http" / "console" / "static"
NPM = shutil.which("npm")


@pytest.mark.long
@pytest.mark.skipif(NPM is None, reason="npm is not installed: the client for TypeScript is not tested here")
def test_the_client_for_typescript_compiles_and_passes_its_own_tests(zapline: Sandbox) -> None:
    assert NPM is not None
    if not (CLIENT / "node_modules").exists():
        subprocess.run([NPM, "ci", "--no-audit", "--no-fund"], cwd=CLIENT, check=True)
    environment = {**os.environ, "ZAPLINE_SANDBOX": json.dumps(zapline.info)}
    ran = subprocess.run([NPM, "test"], cwd=CLIENT, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-5000:] + ran.stderr[-2000:]
    assert "# pass 12\n" in ran.stdout
    assert "# skipped 0\n" in ran.stdout


@pytest.mark.long
@pytest.mark.skipif(NPM is None, reason="npm is not installed: the types of the console's modules are not checked here")
def test_the_modules_of_the_console_are_well_typed() -> None:
    """Those that say ``@ts-check``; their types stand in comments."""
    assert NPM is not None
    if not (CLIENT / "node_modules").exists():
        subprocess.run([NPM, "ci", "--no-audit", "--no-fund"], cwd=CLIENT, check=True)
    modules = [str(path) for path in sorted(STATIC.glob("*.js")) if "// @ts-check" in path.read_text("utf-8")]
    assert len(modules) >= 3
    strict = ["--noEmit", "--allowJs", "--checkJs", "--strict", "--noImplicitAny", "false"]
    browser = ["--target", "es2022", "--module", "esnext", "--lib", "es2022,dom,dom.iterable"]
    checker = [str(CLIENT / "node_modules" / ".bin" / "tsc"), *strict, *browser, *modules]
    ran = subprocess.run(checker, cwd=STATIC, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-5000:] + ran.stderr[-2000:]
