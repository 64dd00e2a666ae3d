"""A simulated disk under SQLite: what was not synced may be lost, and reads, writes and syncs may fail.

A VFS of SQLite in front of the system's own: files below the simulated directory are written through, and what each
write replaced is kept until the file is synced. ``power_loss`` takes back what was not. It is SQLite's real code that
asks for the syncs, so a journal that forgets one is found.
"""

import ctypes
import ctypes.util
import random
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

PAGE_BYTES = 8192
OK, FULL, IOERR = 0, 13, 10
IOERR_WRITE, IOERR_FSYNC, IOERR_TRUNCATE, IOERR_DELETE = (IOERR | code << 8 for code in (3, 4, 6, 10))
_P, _I, _L = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
_Close = ctypes.CFUNCTYPE(_I, _P)
_Transfer = ctypes.CFUNCTYPE(_I, _P, _P, _I, _L)
_Truncate = ctypes.CFUNCTYPE(_I, _P, _L)
_Sync = ctypes.CFUNCTYPE(_I, _P, _I)
_Size = ctypes.CFUNCTYPE(_I, _P, ctypes.POINTER(_L))
# Names are passed as the pointers that they are: the system keeps them.
_Open = ctypes.CFUNCTYPE(_I, _P, _P, _P, _I, _P)
_Delete = ctypes.CFUNCTYPE(_I, _P, _P, _I)


class _Methods(ctypes.Structure):
    """sqlite3_io_methods, version 3; what is not replaced here is passed on as it is."""

    _fields_ = [
        ("version", _I),
        ("close", _P),
        ("read", _P),
        ("write", _P),
        ("truncate", _P),
        ("sync", _P),
        ("size", _P),
        ("others", _P * 12),
    ]


class _Vfs(ctypes.Structure):
    """sqlite3_vfs, version 3."""

    _fields_ = [
        ("version", _I),
        ("file_bytes", _I),
        ("longest_path", _I),
        ("next", _P),
        ("name", ctypes.c_char_p),
        ("data", _P),
        ("open", _P),
        ("delete", _P),
        ("others", _P * 20),
    ]


def library() -> Any | None:
    """SQLite's library as Python uses it, or None where it is built into the interpreter."""
    name = ctypes.util.find_library("sqlite3")
    try:
        found = ctypes.CDLL(name) if name else None
    except OSError:
        return None
    if found is None:
        return None
    found.sqlite3_libversion.restype = ctypes.c_char_p
    found.sqlite3_vfs_find.restype = _P
    return found if found.sqlite3_libversion().decode() == sqlite3.sqlite_version else None


@dataclass(slots=True)
class _Undo:
    """How to take one write back: the bytes that were there, and the size that the file had."""

    offset: int
    before: bytes
    size: int
    written: int


@dataclass
class Disk:
    """The disk below one directory. ``chance`` draws what survives a loss of power."""

    root: Path
    chance: random.Random
    dead: bool = False
    """The process that wrote here was killed: nothing of it reaches the disk any more."""
    refusal: Callable[[str], int] = lambda operation: OK
    """Asked before each write ("write") and sync ("sync"): the error code of SQLite, or OK."""
    refused_at: float = -inf
    """When something was refused last, as ``now`` tells the time."""
    refusals: list[float] = field(default_factory=list)
    """When something was refused."""
    now: Callable[[], float] = lambda: 0.0
    on_sync: Callable[[str], None] = lambda name: None
    unsynced: dict[str, list[_Undo]] = field(default_factory=dict)
    _open_files: dict[int, tuple[str, Any]] = field(default_factory=dict)
    _tables: dict[int, tuple[Any, Any]] = field(default_factory=dict)

    @contextmanager
    def mounted(self) -> Iterator[None]:
        """Have SQLite use this disk for all files below ``root`` until the block ends."""
        sqlite = library()
        assert sqlite is not None, "the simulated disk needs a shared library of SQLite"
        system = _Vfs.from_address(sqlite.sqlite3_vfs_find(None))
        shim = _Vfs.from_buffer_copy(system)
        shim.name, shim.next = b"simulated", None
        callbacks = (self._opener(system), self._deleter(system))
        shim.open, shim.delete = (ctypes.cast(callback, _P).value for callback in callbacks)
        sqlite.sqlite3_vfs_register(ctypes.byref(shim), 1)
        try:
            yield
        finally:
            sqlite.sqlite3_vfs_unregister(ctypes.byref(shim))

    def power_loss(self) -> int:
        """Take back what was not synced: all of it, or each write by chance, as a disk may. Returns how many."""
        lost = 0
        for name, undos in self.unsynced.items():
            path = Path(name)
            keep = self.chance.choice((0.0, 0.0, 0.5, 0.9))
            for undo in reversed(undos):
                if self.chance.random() < keep or not path.exists():
                    continue
                with path.open("r+b") as file:
                    file.seek(undo.offset)
                    file.write(undo.before + bytes(max(0, undo.written - len(undo.before))))
                    if undo.offset + undo.written >= undo.size and keep == 0.0:
                        file.truncate(undo.size)
                lost += 1
        self.unsynced.clear()
        for shared in self.root.rglob("*-shm"):
            shared.unlink()
        return lost

    def copy(self, target: Path) -> None:
        """Copy the directory as a backup does. In a process of its own: to close a file drops SQLite's locks on it."""
        subprocess.run(["rm", "-rf", str(target)], check=True)
        subprocess.run(["cp", "-a", str(self.root), str(target)], check=True)

    def restore(self, source: Path) -> None:
        """Put a copy in the place of the directory."""
        subprocess.run(["rm", "-rf", str(self.root)], check=True)
        subprocess.run(["cp", "-a", str(source), str(self.root)], check=True)

    def rot(self) -> int | None:
        """Write nonsense over one page of the journal, whose daemon has ended; returns which, None where there is none.

        The first pages are left: without them nobody can tell whose journal it was.
        """
        found = sorted(self.root.rglob("journal.db"))
        pages = found[0].stat().st_size // PAGE_BYTES if found else 0
        if pages < 2:
            return None
        number = self.chance.randrange(1, pages)
        with found[0].open("r+b") as file:
            file.seek(number * PAGE_BYTES)
            file.write(self.chance.randbytes(PAGE_BYTES))
        return number

    # -- the VFS ---------------------------------------------------------------------------------------------

    def _opener(self, system: _Vfs) -> Any:
        really_open = _Open(system.open)
        here = str(self.root)

        def open(vfs: int, name: int | None, file: int, flags: int, out: int | None) -> int:
            code = really_open(vfs, name, file, flags, out)
            path = ctypes.string_at(name).decode() if name else ""
            if code == OK and path.startswith(here) and not path.endswith("-shm"):
                pointer = _P.from_address(file)
                methods, table = self._table(int(pointer.value or 0))
                self._open_files[file] = (path, methods)
                pointer.value = ctypes.addressof(table)
            return code

        return _Open(open)

    def _deleter(self, system: _Vfs) -> Any:
        really_delete = _Delete(system.delete)
        here = str(self.root)

        def delete(vfs: int, name: int, sync: int) -> int:
            path = ctypes.string_at(name).decode()
            if path.startswith(here):
                if self.dead:
                    return IOERR_DELETE
                self.unsynced.pop(path, None)
            return int(really_delete(vfs, name, sync))

        return _Delete(delete)

    def _table(self, address: int) -> tuple[Any, Any]:
        """The methods of the system's files, and a copy of them that goes through this disk."""
        known = self._tables.get(address)
        if known is not None:
            return known
        system = _Methods.from_address(address)
        copy = _Methods.from_buffer_copy(system)
        if system.version < 3:  # a shorter table in memory: do not read beyond it
            copy.version = system.version
        real = {
            "read": _Transfer(system.read),
            "write": _Transfer(system.write),
            "truncate": _Truncate(system.truncate),
            "sync": _Sync(system.sync),
            "size": _Size(system.size),
        }
        own = (_Transfer(self._write), _Truncate(self._truncate), _Sync(self._sync))
        copy.write, copy.truncate, copy.sync = (ctypes.cast(each, _P).value for each in own)
        real["own"] = own  # keeps them alive
        self._tables[address] = (real, copy)
        return self._tables[address]

    def _remember(self, file: int, offset: int, length: int) -> None:
        path, real = self._open_files[file]
        size = _L(0)
        real["size"](file, ctypes.byref(size))
        there = max(0, min(length, size.value - offset))
        before = ctypes.create_string_buffer(there) if there else None
        if before is not None:
            real["read"](file, ctypes.addressof(before), there, offset)
        kept = before.raw if before is not None else b""
        self.unsynced.setdefault(path, []).append(_Undo(offset, kept, size.value, length))

    def _write(self, file: int, data: int, length: int, offset: int) -> int:
        code = IOERR_WRITE if self.dead else self.refusal("write")
        if code != OK:
            self.refused_at = self.now()
            self.refusals.append(self.refused_at)
            return code
        self._remember(file, offset, length)
        return int(self._open_files[file][1]["write"](file, data, length, offset))

    def _truncate(self, file: int, size: int) -> int:
        if self.dead:
            return IOERR_TRUNCATE
        path, real = self._open_files[file]
        code = int(real["truncate"](file, size))
        self.unsynced[path] = [undo for undo in self.unsynced.get(path, ()) if undo.offset < size]
        return code

    def _sync(self, file: int, flags: int) -> int:
        path, _ = self._open_files[file]
        code = IOERR_FSYNC if self.dead else self.refusal("sync")
        if code == OK:
            self.unsynced.pop(path, None)
            self.on_sync(path)
        else:
            self.refused_at = self.now()
            self.refusals.append(self.refused_at)
        return code
