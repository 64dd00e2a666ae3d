"""What `make release` builds: the same bytes twice, and from each package to the first message in a fresh tree."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx2
import psycopg
import pytest

ROOT = Path(__file__).parents[2]
EPOCH = "1790000000"
READY_SECONDS = 120.0

pytestmark = pytest.mark.long


def run(*command: str | Path, **more: object) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **more)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-3000:]}"
    return str(done.stdout + done.stderr)


def release(tree: Path, out: Path) -> dict[str, bytes]:
    """Build in this tree. The environment of the tests need not be the lock's to the version."""
    run(tree / "deploy/release", sys.executable, out, env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH})
    return {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out: Path = tmp_path_factory.mktemp("dist")
    release(ROOT, out)
    return out


def test_two_builds_of_one_commit_have_the_same_bytes(built: Path, tmp_path: Path) -> None:
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).splitlines()
    for name in reversed(listed):
        target = tmp_path / "elsewhere" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, target)  # with times of their own
    again = release(tmp_path / "elsewhere", tmp_path / "again")
    assert len(again) == 5
    for name, content in again.items():
        assert content == (built / name).read_bytes(), name
    assert "OK" in run("sha256sum", "-c", "SHA256SUMS", cwd=built)


@contextmanager
def sandbox(command: Sequence[str], directory: Path, database: str) -> Iterator[dict[str, str]]:
    """Run `zapline sandbox`, and give what a newcomer reads in its file."""
    directory.mkdir(exist_ok=True)
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": database, "HOME": str(directory)}
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=directory, env=environment, stdout=log, stderr=log)
    try:
        started, file = time.monotonic(), directory / ".zapline" / "sandbox.env"
        while not (file.exists() and b"Zapline is ready" in (directory / "log").read_bytes()):
            assert process.poll() is None, (directory / "log").read_text()[-3000:]
            assert time.monotonic() - started < READY_SECONDS, (directory / "log").read_text()[-3000:]
            time.sleep(0.1)
        lines = (line.removeprefix("export ") for line in file.read_text().splitlines() if "=" in line)
        yield {name: value.strip("'\"") for name, _, value in (line.partition("=") for line in lines)}
    finally:
        process.terminate()
        process.wait(READY_SECONDS)


def send_the_first_message(info: dict[str, str], database: str) -> None:
    """As the README says, until it was taken by Evolution; and the console's parts came along."""
    body = {"clientMessageId": "order-4711", "to": "(11) 99999-0001", "text": "Seu pedido saiu para entrega."}
    headers = {"authorization": f"Bearer {info['TOKEN']}"}
    with httpx2.Client(base_url=info["URL"], headers=headers, trust_env=False, timeout=30) as http:
        assert http.post(f"/units/{info['UNIT']}/messages", json=body).status_code == 202
        for path, part in (("/console", "/console/static/console."), ("/docs", "swagger"), ("/readyz", "")):
            answer = http.get(path, headers={"accept-language": "pt-BR"}, follow_redirects=True)
            assert answer.status_code == 200, path
            assert part in answer.text.lower(), path
    query = "select count(*) from zapline.messages where body = %s and external_id is not null"
    started = time.monotonic()
    with psycopg.connect(database, autocommit=True) as conn:
        while conn.execute(query, (body["text"],)).fetchall() != [(1,)]:
            assert time.monotonic() - started < READY_SECONDS, "the first message"
            time.sleep(0.1)


def test_the_wheel_reaches_the_first_message_in_a_fresh_environment(
    built: Path, tmp_path: Path, database_url: str
) -> None:
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    python = tmp_path / "venv/bin/python"
    [wheel] = built.glob("zapline-*.whl")
    where = ("--python", python, "install", "--no-index", "--no-deps", "--find-links", built)
    run(sys.executable, "-m", "pip", *where, wheel)
    # The locked dependencies, beside it. A path in a .pth file is not read for .pth files: Zapline is the wheel's own.
    [packages] = (tmp_path / "venv/lib").glob("python3*/site-packages")
    (packages / "locked.pth").write_text(str(Path(pytest.__file__).parents[1]))
    zapline = tmp_path / "venv/bin/zapline"
    assert run(zapline, "--version").startswith("zapline ")
    where_from = run(python, "-c", "import zapline; print(zapline.__file__)", cwd=tmp_path)
    assert str(packages) in where_from
    with sandbox([str(zapline), "sandbox"], tmp_path / "work", database_url) as info:
        send_the_first_message(info, database_url)


TREE = """
set -e
mount -t tmpfs none {scratch}
mkdir -p {scratch}/upper {scratch}/work {scratch}/root
mount -t overlay overlay -o lowerdir=/,upperdir={scratch}/upper,workdir={scratch}/work {scratch}/root
mount --rbind /proc {scratch}/root/proc
mount --rbind /dev {scratch}/root/dev
mount --bind {shared} {scratch}/root{shared}
exec chroot {scratch}/root "$@"
"""
"""A copy of this Debian in memory, in a mount namespace of its own: nothing that is installed there stays."""


@pytest.fixture
def in_fresh_tree(tmp_path: Path) -> Callable[..., list[str]]:
    """Turns a shell script into a command that runs in a fresh tree; ``tmp_path`` is there under its own name."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    prefix = ["unshare", "-m", "sh", "-c", TREE.format(scratch=scratch, shared=tmp_path), "sh"]
    usable = os.geteuid() == 0 and shutil.which("dpkg-deb") and shutil.which("unshare")
    if not usable or subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no fresh tree: it needs root, dpkg, unshare and overlayfs")
    return lambda script: [*prefix, "sh", "-euc", script]


STATE = "/var/lib/private/zapline"
BEFORE = f"""
export DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin
mkdir -p /etc/zapline {STATE}/journal
echo 'BASE_URL=https://operators.own.example' > /etc/zapline/zapline.env
echo kept > {STATE}/master.key; echo kept > {STATE}/journal/journal.db; ln -sfn private/zapline /var/lib/zapline
"""
"""What an installation of 0.3 by hand has left."""


def test_the_debian_package_installs_upgrades_and_is_removed_without_loss(
    built: Path, tmp_path: Path, in_fresh_tree: Callable[..., list[str]], database_url: str
) -> None:
    [deb] = built.glob("*.deb")
    shutil.copy(deb, tmp_path / "zapline.deb")
    (tmp_path / "work").mkdir()
    command = in_fresh_tree(f"""{BEFORE}
dpkg -i {tmp_path}/zapline.deb < /dev/null
/usr/bin/zapline --version; getent passwd zapline
grep -q operators.own /etc/zapline/zapline.env
echo 'postgresql://u:p@127.0.0.1:1/none' > /etc/zapline/database_url; echo key > /etc/zapline/evolution_api_key
echo once more; dpkg -i {tmp_path}/zapline.deb < /dev/null
grep -q kept {STATE}/master.key; grep -q kept {STATE}/journal/journal.db
cd {tmp_path}/work; trap 'kill $sandbox' TERM
/opt/zapline/bin/zapline sandbox & sandbox=$!
wait $sandbox || wait $sandbox || true
dpkg -r zapline
test ! -e /opt/zapline/bin/zapline; test ! -e /opt/zapline/lib
grep -q kept {STATE}/master.key; grep -q kept {STATE}/journal/journal.db; grep -q own /etc/zapline/zapline.env
dpkg -P zapline
test ! -e {STATE}; test ! -e /etc/zapline
echo all is well
""")
    with sandbox(command, tmp_path / "work", database_url) as info:
        send_the_first_message(info, database_url)
    first, _, second = (tmp_path / "work" / "log").read_text().partition("once more")
    assert "systemctl enable --now zapline-migrate zapline" in first
    assert "failures" in second, "zapline doctor at its end"
    assert second.rstrip().endswith("all is well"), second[-2000:]
