"""Hidden folders for files that are not whole yet: locked by their writer, and removed once it is gone."""

import hashlib
import os
import platform
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from io import FileIO
from pathlib import Path

LOCK = "lock"
UNLOCKED = "unlocked"  # in place of the lock, where a disk has no locks: such a folder is never empty and never swept
NAME = re.compile(r"\.freightrisk-([0-9a-f]{12})-([0-9a-f]{12})-[0-9a-f]{12}\.part")
TRIES = 100


class HiddenFolder:
    """A new hidden folder, open to its owner alone, whose lock this process holds.

    Parameters
    ----------
    parent : Path
        The folder in which it is made.
    """

    def __init__(self, parent: Path) -> None:
        for _ in range(TRIES):
            self.path = parent / f".freightrisk-{'-'.join(here())}-{secrets.token_hex(6)}.part"
            self.path.mkdir(0o700)
            try:
                self.lock = self._lock()
                return
            except FileNotFoundError:  # another run has swept the folder before it was locked
                continue
            except BaseException:
                clear(self.path)
                raise
        raise OSError(f"hidden folders in '{parent}' are removed as soon as they are made")

    def _lock(self) -> FileIO:
        place = self.path / LOCK
        lock = FileIO(place, "x")
        try:
            if not locks(lock, wait=True):
                lock.close()
                os.rename(place, self.path / UNLOCKED)
            elif not os.path.samestat(os.fstat(lock.fileno()), os.stat(place)):
                raise FileNotFoundError(place)
        except BaseException:
            lock.close()
            raise
        return lock

    def remove(self) -> None:
        """Remove the folder with all that is left in it, and let go of its lock."""
        clear(self.path)
        self.lock.close()
        clear(self.path)  # where an open file cannot be removed, the lock can be now


@cache
def here() -> tuple[str, str]:
    """Return what tells this machine, and this run of its kernel, from all others."""
    machine = f"{platform.node()} {_text('/etc/machine-id')}"
    return _digest(machine), _digest(_text("/proc/sys/kernel/random/boot_id") or f"no id {secrets.token_hex(16)}")


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def locks(file: FileIO, *, wait: bool) -> bool:
    """Return whether this open file now holds the lock; systems without fcntl, and some disks, have no locks."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except (ModuleNotFoundError, OSError):
        return False
    return True


def clear(path: Path) -> None:
    """Remove a hidden folder as far as possible, its lock last, so that the next run goes on where one was stopped."""
    with suppress(OSError):
        _clear_files(path)
        (path / LOCK).unlink(missing_ok=True)
        path.rmdir()


def _clear_files(path: Path) -> None:
    for child in path.iterdir():
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        elif child.name != LOCK:
            child.unlink(missing_ok=True)


def sweep(parent: Path) -> None:
    """Remove the hidden folders of this user in a folder whose writer is gone."""
    with suppress(OSError), os.scandir(parent) as entries:
        _sweep_all(entries)


def _sweep_all(entries: Iterator["os.DirEntry[str]"]) -> None:
    for entry in entries:
        if NAME.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
            with suppress(OSError):
                _sweep_one(Path(entry.path))


def _sweep_one(path: Path) -> None:
    """Remove a hidden folder if its lock can be taken, which tells only of writers under the same kernel.

    On a shared disk the lock of another machine may not be seen here, so its folders stay. Those that this machine made
    before it was started again have no writer.
    """
    named = NAME.fullmatch(path.name)
    is_near = named is not None and any(one == own for one, own in zip(named.groups(), here(), strict=True))
    if not is_near or not hasattr(os, "geteuid") or path.lstat().st_uid != os.geteuid():
        return
    try:
        lock = FileIO(os.open(path / LOCK, os.O_RDWR | os.O_NOFOLLOW), "r+")
    except FileNotFoundError:
        path.rmdir()  # its writer had made nothing yet; one that lives makes another
        return
    with lock:
        if locks(lock, wait=False):
            clear(path)
