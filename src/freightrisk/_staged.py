"""Files and folders that appear complete or not at all, and that are flushed to the disk before they appear.

Each result is written in a hidden folder beside its place, flushed with fsync, and renamed; then the folder that holds
its name is flushed. docs/reliability.md states the promises.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from freightrisk._parallel import Turn, chunks, end_all, in_order, start
from freightrisk._unfinished import HiddenFolder, sweep

FULL = (errno.ENOSPC, errno.EDQUOT)
NO_ROOM = (*FULL, errno.EFBIG, errno.EROFS)
SYNCS = 8  # threads that call fsync on the files of a folder
NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES)  # from file systems that cannot fsync a folder


def uninterrupted(work: Callable[[], None]) -> None:
    """Do work that an interrupt cannot divide: another thread does it, because only the main thread is interrupted."""
    failed: list[BaseException] = []

    def tried() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    turn = Turn(tried)
    try:
        start(turn.take)
        turn.wait()
    finally:
        try:
            end_all([turn])  # waits for the work, however often the stop key is pressed
        except BaseException:
            end_all([turn])  # again, because an interrupt may arrive before the first line of the call above
            raise
    if failed:
        raise failed[0]


def followed(path: Path) -> Path:
    """Return the target of a path with all links followed, so that the target is replaced and the link stays."""
    return Path(os.path.realpath(path))


def probe(final: Path) -> None:
    """Make a hidden folder beside a path and remove it, because access rights do not reveal a read-only disk."""
    final = followed(final)
    with suppress(FileNotFoundError):
        final.stat()  # raises for a name that is too long, and for links in a ring
    try:
        uninterrupted(lambda: HiddenFolder(final.parent).remove())
    except OSError as error:
        if is_full(error):
            error.filename = str(final)
        raise


def is_full(error: Exception) -> bool:
    """Return whether an error reports a full disk, in which case the given path is not at fault."""
    return isinstance(error, OSError) and error.errno in FULL


@contextmanager
def staged(
    finals: Iterable[Path], *, private: Iterable[Path] = (), then: Callable[[], None] | None = None
) -> Iterator[list[Path]]:
    """Give a temporary path for each file or folder of a result, and move all into place once they are written.

    If anything fails, all are removed. Names and suffixes of the temporary paths differ from the final ones.

    Parameters
    ----------
    finals : paths
        Final paths of the result. If their folder does not exist, it is made, and appears with all its files at once.
        A file that replaces another gets the mode of the old file, and its owner and group if the system allows it.
    private : paths
        Final paths that only their owner may read, if no file exists there yet.
    then : callable, optional
        Called once everything is in place. An interrupt takes effect before the first move or after `then`.
    """
    finals, kept = [followed(path) for path in finals], {followed(path) for path in private}
    made = next((path.parent for path in finals if not path.parent.exists()), None)
    if made is not None:
        with staged([made], then=then) as (folder,):
            folder.mkdir()
            for path in kept:
                (folder / path.name).touch(0o600)
            yield [folder / path.name for path in finals]
        return
    hidden: dict[Path, HiddenFolder] = {}
    parts: list[Path] = []

    def begin() -> None:
        for parent in dict.fromkeys(path.parent for path in finals):
            sweep(parent)
            hidden[parent] = HiddenFolder(parent)
        # On the other thread: in Python 3.12 and 3.13 an interrupt inside a comprehension can escape the try block.
        parts.extend(hidden[path.parent].path / f"{k}.part" for k, path in enumerate(finals))

    def move() -> None:
        # Renames come last and in one step, so that until then the old result is complete.
        _move_all([*zip(parts, finals, strict=True)])
        try:
            for parent in hidden:
                _to_disk(parent)
        finally:
            if then is not None:
                then()
        remove()

    def remove() -> None:
        for folder in hidden.values():
            folder.remove()

    try:
        uninterrupted(begin)
        yield parts
        for part, final in zip(parts, finals, strict=True):
            _finish(part, final, is_private=final in kept)
        uninterrupted(move)
    except BaseException as error:
        remove()
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            error.filename = str(finals[0] if len(finals) == 1 else finals[0].parent)
        raise


def _move_all(moves: list[tuple[Path, Path]]) -> None:
    """Move parts into place; if one of several cannot be moved, restore the files that were there before."""
    undo: list[Callable[[], None]] = []
    try:
        for part, final in moves:
            if len(moves) > 1:
                undo.append(_way_back(final, part.with_suffix(".old")))
            os.replace(part, final)
    except BaseException:
        for back in reversed(undo):
            with suppress(OSError):
                back()
        raise


def _way_back(final: Path, spare: Path) -> Callable[[], None]:
    """Return a function that undoes a move; the old file keeps a second name (a hard link) until all moves are done.

    On a file system without hard links, the function does nothing. A full disk is an error at once, because the next
    move might fail for the same reason.
    """
    try:
        os.link(final, spare)
    except FileNotFoundError:
        return final.unlink
    except OSError as error:
        if is_full(error):
            raise
        return lambda: None
    return lambda: os.replace(spare, final)


def _finish(part: Path, final: Path, *, is_private: bool) -> None:
    """Set the mode of a written part, and wait until all of it is on disk."""
    inside = sorted(part.rglob("*"), reverse=True)
    if inside:
        # In parallel, because a file system writes one journal entry for all files that wait at the same time.
        for _ in in_order(lambda k, _: _to_disk(inside[k]), chunks(len(inside), 1), threads=SYNCS):
            pass

    def dress() -> None:
        try:
            old = final.stat()
        except FileNotFoundError:
            if is_private:
                _set_mode(part, 0o600)
        else:
            _keep(part, old)

    _to_disk(part, before=dress)


def _keep(part: Path, old: os.stat_result) -> None:
    """Give a file the owner, group and mode of the file that it replaces."""
    mode = stat.S_IMODE(old.st_mode) & 0o777
    if hasattr(os, "chown"):
        for owner in (old.st_uid, -1):
            with suppress(OSError):
                os.chown(part, owner, old.st_gid)
                break
        if part.stat().st_gid != old.st_gid:  # the group changed, so its rights shrink to the rights of others
            mode &= 0o707 | (mode & 0o007) << 3
    _set_mode(part, mode)


def _set_mode(part: Path, mode: int) -> None:
    if stat.S_IMODE(part.stat().st_mode) & 0o777 != mode:
        with suppress(PermissionError):  # we own the file, so the file system has no modes
            part.chmod(mode)


def _to_disk(path: Path, *, before: Callable[[], None] = lambda: None) -> None:
    """Wait until a file, or the list of names in a folder, is on disk; `before` is called while it is open."""
    is_folder, is_windows = path.is_dir(), os.name == "nt"
    if is_folder and is_windows:  # Windows cannot open a folder
        before()
        return
    handle = os.open(path, os.O_RDWR if is_windows else os.O_RDONLY)
    try:
        before()  # before fsync, which then flushes the mode too
        os.fsync(handle)
    except OSError as error:
        if not is_folder or error.errno not in NO_SYNC:
            raise
    finally:
        os.close(handle)
