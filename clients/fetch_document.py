"""Writes docs/openapi.json: the document that a Zapline of this source serves."""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "openapi.json"


def main() -> None:
    """Start a Zapline, ask it, and end it. Raises OSError, ValueError where it does not start."""
    command = [sys.executable, "-m", "zapline", "sandbox", "--ephemeral"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(f"{url}/openapi.json", timeout=30) as answer:
            document = json.load(answer)
    DOCUMENT.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()
