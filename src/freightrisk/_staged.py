"""Files that appear whole or not at all."""

import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def staged(finals: Iterable[Path]) -> Iterator[list[Path]]:
    """Give a temporary path of the same suffix for each file; move all into place, or remove them if it fails."""
    finals = list(finals)
    made = next((path.parent for path in finals if not path.parent.exists()), None)
    parts = [path.with_name(f".{secrets.token_hex(4)}.{path.name}") for path in finals]
    try:
        if made is not None:
            made.mkdir()
        yield parts
        for part, final in zip(parts, finals, strict=True):
            os.replace(part, final)
    except BaseException:
        for part in parts:
            part.unlink(missing_ok=True)
        if made is not None and made.is_dir() and not any(made.iterdir()):
            made.rmdir()
        raise
