"""Files that appear whole or not at all."""

import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path


def beside(final: Path) -> Path:
    """Return a new hidden name of the same suffix in the same folder, for a file that is not whole yet."""
    return final.with_name(f".{secrets.token_hex(4)}.{final.name}")


def uninterrupted(work: Callable[[], None]) -> None:
    """Do all of some work or nothing: another thread does it, because an interrupt reaches only the main thread."""
    with ThreadPoolExecutor(1) as other:
        other.submit(int).result()  # the thread runs before it has the work, because its start can be interrupted
        other.submit(work).result()


def probe(final: Path) -> None:
    """Make a new file beside a path and remove it: access rights do not tell of long names and read-only disks."""
    part = beside(final)

    def make() -> None:
        part.touch(exist_ok=False)
        part.unlink()

    uninterrupted(make)


@contextmanager
def staged(finals: Iterable[Path], *, then: Callable[[], None] | None = None) -> Iterator[list[Path]]:
    """Give a temporary path of the same suffix for each file; move all into place, or remove them if it fails.

    `then` is called once all files are in place; an interrupt falls before the first move or after `then`.
    """
    finals = list(finals)
    made = next((path.parent for path in finals if not path.parent.exists()), None)
    parts = [beside(path) for path in finals]

    def move() -> None:
        for part, final in zip(parts, finals, strict=True):
            os.replace(part, final)
        if then is not None:
            then()

    try:
        if made is not None:
            made.mkdir()
        yield parts
        uninterrupted(move)
    except BaseException:
        for part in parts:
            part.unlink(missing_ok=True)
        if made is not None and made.is_dir() and not any(made.iterdir()):
            made.rmdir()
        raise
