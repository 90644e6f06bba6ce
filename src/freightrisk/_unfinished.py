"""Hidden folders for unfinished files: locked by their writer, and removed by the next run once the writer is gone."""

import hashlib
import os
import platform
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from io import FileIO
from pathlib import Path

LOCK = "lock"
UNLOCKED = "unlocked"  # name of the lock file on a disk without locks; such a folder is never swept
NAME = re.compile(r"\.freightrisk-([0-9a-f]{12})-([0-9a-f]{12})-[0-9a-f]{12}\.part")
TRIES = 100


class HiddenFolder:
    """A new hidden folder that only its owner may open, and whose lock this process holds.

    Parameters
    ----------
    parent : Path
        The folder in which the hidden folder is made.
    """

    def __init__(self, parent: Path) -> None:
        for _ in range(TRIES):
            self.path = parent / f".freightrisk-{'-'.join(here())}-{secrets.token_hex(6)}.part"
            self.path.mkdir(0o700)
            try:
                self.lock = self._lock()
                return
            except FileNotFoundError:  # another run swept the folder between mkdir and the lock
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
            # Another run may have removed the lock file before we got its lock, so ours would lock a deleted file.
            elif not os.path.samestat(os.fstat(lock.fileno()), os.stat(place)):
                raise FileNotFoundError(place)
        except BaseException:
            lock.close()
            raise
        return lock

    def remove(self) -> None:
        """Remove the folder with everything in it, and release its lock."""
        clear(self.path)
        self.lock.close()
        clear(self.path)  # again, because some systems cannot remove the lock file while it is open


@cache
def here() -> tuple[str, str]:
    """Return ids of this machine and of its current boot."""
    machine = f"{platform.node()} {_text('/etc/machine-id')}"
    return _digest(machine), _digest(_text("/proc/sys/kernel/random/boot_id") or f"no id {secrets.token_hex(16)}")


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def locks(file: FileIO | int, *, wait: bool) -> bool:
    """Return whether this open file now holds the lock; systems without fcntl, and some disks, have no locks."""
    try:
        import fcntl

        # The kernel releases a flock when the process ends, however it ends, so a kill leaves no stale lock.
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except (ModuleNotFoundError, OSError):
        return False
    return True


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, for which other runs wait; without effect on systems and disks without such locks."""
    handle = None
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
    try:
        if handle is not None:
            locks(handle, wait=True)
        yield
    finally:
        if handle is not None:
            os.close(handle)  # releases the lock


def clear(path: Path) -> None:
    """Remove a hidden folder as far as possible, its lock last, so that a later sweep can finish an interrupted one."""
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
    """Remove those hidden folders in `parent` that belong to this user and whose writer is gone."""
    with suppress(OSError), os.scandir(parent) as entries:
        _sweep_all(entries)


def _sweep_all(entries: Iterator["os.DirEntry[str]"]) -> None:
    for entry in entries:
        if NAME.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
            with suppress(OSError):
                _sweep_one(Path(entry.path))


def _sweep_one(path: Path) -> None:
    """Remove a hidden folder if its lock can be taken; only folders of this machine or of this boot are tried.

    On a shared disk, a lock held on another machine may be invisible here, so folders of other machines stay. Folders
    that this machine made before its last boot have no writer.
    """
    named = NAME.fullmatch(path.name)
    is_near = named is not None and any(one == own for one, own in zip(named.groups(), here(), strict=True))
    if not is_near or not hasattr(os, "geteuid") or path.lstat().st_uid != os.geteuid():
        return
    try:
        # O_NOFOLLOW, so that a link planted under the name of the lock cannot lead elsewhere.
        lock = FileIO(os.open(path / LOCK, os.O_RDWR | os.O_NOFOLLOW), "r+")
    except FileNotFoundError:
        path.rmdir()  # the writer has written nothing yet; if it is alive, it makes another folder
        return
    with lock:
        if locks(lock, wait=False):
            clear(path)
