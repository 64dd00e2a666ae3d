"""Builds the Debian package of a wheel and the pinned packages that the environment holds; see `make release`.

Same input, same bytes: files are sorted, belong to root, and carry the time SOURCE_DATE_EPOCH.
"""

import base64
import gzip
import hashlib
import io
import os
import re
import sys
import sysconfig
import tarfile
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path, PurePosixPath

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
LIB = "opt/zapline/lib"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
LEFT_OUT = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}
"""Of a dist-info: what says how this environment came to it."""
SCRIPTS = ("preinst", "postinst", "prerm", "postrm")


def needed(name: str, extras: frozenset[str], found: dict[str, Distribution]) -> None:
    """Add a package, and what it needs on this Python, to ``found``."""
    package = distribution(name)
    found[re.sub(r"[-_.]+", "-", package.metadata["Name"]).lower()] = package
    for line in package.requires or []:
        requirement = Requirement(line)
        wanted = any(requirement.marker is None or requirement.marker.evaluate({"extra": e}) for e in extras | {""})
        key = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if wanted and (key not in found or requirement.extras):
            if requirement.extras and key in found and requirement.extras <= _taken.get(key, set()):
                continue
            _taken.setdefault(key, set()).update(requirement.extras)
            needed(requirement.name, frozenset(requirement.extras), found)


_taken: dict[str, set[str]] = {}


def check_against_lock(packages: dict[str, Distribution]) -> None:
    """Raises SystemExit where the environment holds a version that requirements-run.lock pins for no Python."""
    lock: dict[str, list[str]] = {}
    for name, version in re.findall(r"(?m)^([a-z0-9.-]+)==([^\s;]+)", (ROOT / "requirements-run.lock").read_text()):
        lock.setdefault(name, []).append(version)
    for name, package in packages.items():
        if package.version not in lock.get(name, ()):
            pinned = " or ".join(lock.get(name, ["not at all"]))
            sys.exit(f"{name} {package.version} is not as pinned ({pinned}); run make clean first")


def files_of(package: Distribution) -> dict[str, bytes]:
    """What a package has installed, but its scripts and compiled modules, checked against its own record."""
    files = {}
    for entry in package.files or []:
        if entry.parts[0] == ".." or "__pycache__" in entry.parts:
            continue
        if entry.parts[0].endswith(".dist-info") and entry.name in LEFT_OUT:
            continue
        content = Path(str(entry.locate())).read_bytes()
        if entry.hash is not None:
            digest = base64.urlsafe_b64encode(hashlib.new(entry.hash.mode, content).digest()).rstrip(b"=").decode()
            if digest != entry.hash.value:
                sys.exit(
                    f"{entry} of {package.metadata['Name']} was changed since it was installed; run make clean first"
                )
        files[f"{LIB}/{PurePosixPath(*entry.parts)}"] = content
    return files


def third_party(packages: dict[str, Distribution]) -> bytes:
    """Name, version and licence of each package, as a page."""
    rows = ["# Packages of others in this one", "", "| package | version | licence |", "|---|---|---|"]
    for name, package in sorted(packages.items()):
        about = package.metadata
        classifiers = [line.rpartition(" :: ")[2] for line in about.get_all("Classifier") or [] if "License ::" in line]
        told = (
            about.get("License-Expression") or ", ".join(classifiers) or (about.get("License") or "").partition("\n")[0]
        )
        rows.append(f"| {name} | {package.version} | {told.replace('|', '/') or 'see its dist-info'} |")
    return "\n".join([*rows, ""]).encode()


def archive(files: dict[str, tuple[bytes, int]], epoch: int) -> bytes:
    """A compressed tar with all directories on the way."""
    directories = {str(parent) for name in files for parent in PurePosixPath(name).parents if str(parent) != "."}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name in ["", *sorted(directories | set(files))]:
            entry = tarfile.TarInfo("./" + name)
            entry.mtime, entry.uname, entry.gname = epoch, "root", "root"
            if name in files:
                content, entry.mode = files[name]
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
            else:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(entry)
    return gzip.compress(buffer.getvalue(), 6, mtime=0)


def ar(members: dict[str, bytes], epoch: int) -> bytes:
    """The outer archive of a .deb."""
    parts = [b"!<arch>\n"]
    for name, content in members.items():
        parts.append(f"{name:<16}{epoch:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode())
        parts.append(content + (b"\n" if len(content) % 2 else b""))
    return b"".join(parts)


def build(wheel: Path, out: Path, epoch: int) -> Path:
    """Write the package into ``out``; its path."""
    version = wheel.name.split("-")[1]
    architecture = ARCHITECTURES.get(sysconfig.get_platform().rpartition("-")[2])
    if architecture is None:
        sys.exit(f"no Debian name is known here for the architecture {sysconfig.get_platform()}")
    packages: dict[str, Distribution] = {}
    needed("zapline", frozenset(), packages)
    del packages["zapline"]
    check_against_lock(packages)
    contents: dict[str, bytes] = {}
    for package in packages.values():
        contents |= files_of(package)
    with zipfile.ZipFile(wheel) as zipped:
        for name in zipped.namelist():
            if not name.endswith(("/", "/RECORD")):
                contents[f"{LIB}/{name}"] = zipped.read(name)
    files = {name: (content, 0o644) for name, content in contents.items()}
    files["opt/zapline/bin/zapline"] = ((HERE / "launcher.py").read_bytes(), 0o755)
    files["usr/bin/zapline"] = ((HERE / "zapline.sh").read_bytes(), 0o755)
    files["usr/lib/sysusers.d/zapline.conf"] = ((HERE / "sysusers.conf").read_bytes(), 0o644)
    for name in ("zapline.service", "zapline-migrate.service"):
        files[f"usr/lib/systemd/system/{name}"] = ((ROOT / "deploy/systemd" / name).read_bytes(), 0o644)
    example = (ROOT / "deploy/systemd/zapline.env.example").read_bytes()
    files["usr/share/doc/zapline/zapline.env.example"] = (example, 0o644)
    files["usr/share/doc/zapline/copyright"] = ((ROOT / "NOTICE").read_bytes(), 0o644)
    files["usr/share/doc/zapline/THIRD-PARTY.md"] = (third_party(packages), 0o644)
    for name in ("LICENSE", "CHANGELOG.md", "SECURITY.md"):
        files[f"usr/share/doc/zapline/{name}"] = ((ROOT / name).read_bytes(), 0o644)
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    control = (
        (HERE / "control")
        .read_text()
        .format(
            version=version.replace(".dev", "~dev").replace("rc", "~rc"),
            architecture=architecture,
            size=sum(len(content) for content, _ in files.values()) // 1024,
            python=python,
            next=f"{sys.version_info.major}.{sys.version_info.minor + 1}",
        )
    )
    sums = "".join(f"{hashlib.md5(content).hexdigest()}  {name}\n" for name, (content, _) in sorted(files.items()))  # noqa: S324
    inside = {"control": (control.encode(), 0o644), "md5sums": (sums.encode(), 0o644)}
    inside |= {name: ((HERE / name).read_bytes(), 0o755) for name in SCRIPTS}
    members = {
        "debian-binary": b"2.0\n",
        "control.tar.gz": archive(inside, epoch),
        "data.tar.gz": archive(files, epoch),
    }
    target = out / f"zapline_{version}_{architecture}.deb"
    target.write_bytes(ar(members, epoch))
    return target


if __name__ == "__main__":
    print(build(Path(sys.argv[1]), Path(sys.argv[2]), int(os.environ["SOURCE_DATE_EPOCH"])))  # noqa: T201
