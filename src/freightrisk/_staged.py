"""Files and folders that appear whole or not at all, and on disk before they appear."""

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
SYNCS = 8
NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES)  # of a folder, on disks that cannot


def uninterrupted(work: Callable[[], None]) -> None:
    """Do all of some work or nothing: another thread does it, because an interrupt reaches only the main thread."""
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
            end_all([turn])  # the stop key may be hit again and again
        except BaseException:
            end_all([turn])  # an interrupt may fall before its first line
            raise
    if failed:
        raise failed[0]


def followed(path: Path) -> Path:
    """Return the place that a path means: links are followed, so that what they name is replaced and they stay."""
    return Path(os.path.realpath(path))


def probe(final: Path) -> None:
    """Make a hidden folder beside a path and remove it: access rights do not tell of read-only disks."""
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
    """Return whether an error tells of a full disk, which is no fault of the path that was given."""
    return isinstance(error, OSError) and error.errno in FULL


@contextmanager
def staged(
    finals: Iterable[Path], *, private: Iterable[Path] = (), then: Callable[[], None] | None = None
) -> Iterator[list[Path]]:
    """Give a path for each file or folder of a result; when all are written, move them into place, or remove them.

    The paths that are given have other names and suffixes than the final ones.

    Parameters
    ----------
    finals : paths
        Where the result is to stand. A folder that is not there is made, with all of the files in it at once. Where a
        file stands already, the new one has its mode, and its owner and group as far as the system lets us.
    private : paths
        Those that only their owner may read, if nothing stands there yet.
    then : callable, optional
        Called once everything is in place; an interrupt falls before the first move or after `then`.
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
        # Here, since an interrupt in a comprehension of Python 3.12 and 3.13 can pass by what catches it.
        parts.extend(hidden[path.parent].path / f"{k}.part" for k, path in enumerate(finals))

    def move() -> None:
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
    """Move parts into place; if one of several cannot be moved, put back what stood there before."""
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
    """Return what undoes a move: the old file has a second name until all are moved, where the disk has links.

    A disk without room for that name may have none for the next move either.
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
    """Give what was written the mode that it is to have, and wait until all of it is on disk."""
    inside = sorted(part.rglob("*"), reverse=True)
    if inside:
        # A disk writes one journal entry for files that wait together.
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
    """Give a file the owner, group and mode of the one that it replaces."""
    mode = stat.S_IMODE(old.st_mode) & 0o777
    if hasattr(os, "chown"):
        for owner in (old.st_uid, -1):
            with suppress(OSError):
                os.chown(part, owner, old.st_gid)
                break
        if part.stat().st_gid != old.st_gid:  # another group may do no more than others may
            mode &= 0o707 | (mode & 0o007) << 3
    _set_mode(part, mode)


def _set_mode(part: Path, mode: int) -> None:
    if stat.S_IMODE(part.stat().st_mode) & 0o777 != mode:
        with suppress(PermissionError):  # we own the file, so its disk knows no modes
            part.chmod(mode)


def _to_disk(path: Path, *, before: Callable[[], None] = lambda: None) -> None:
    """Wait until a file, or the list of names in a folder, is on disk; `before` is called while it is open."""
    is_folder, is_windows = path.is_dir(), os.name == "nt"
    if is_folder and is_windows:  # where folders cannot be opened
        before()
        return
    handle = os.open(path, os.O_RDWR if is_windows else os.O_RDONLY)
    try:
        before()
        os.fsync(handle)
    except OSError as error:
        if not is_folder or error.errno not in NO_SYNC:
            raise
    finally:
        os.close(handle)
