"""Progress bars of orders and other items, in a terminal or in a notebook."""

import sys
from threading import RLock
from typing import Any


def is_watched() -> bool:
    """Return whether a person may be watching standard error; in the log of a nightly job, a bar is noise."""
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # standard error does not exist, or is closed
        return False


def progress_bar(total: int | None, doing: str, *, unit: str = "orders") -> Any:
    """Return a progress bar for a number of orders or other items; None if the number is not known."""
    from tqdm.auto import tqdm

    # Each bar has its own lock. If a forked child is killed while it holds the lock that tqdm shares between
    # processes, the parent waits for ever at its next bar. An interval of 0 starts no monitoring thread.
    kind = type("OrderBar", (tqdm,), {"_lock": RLock(), "monitor_interval": 0})
    return kind(total=total, unit=f" {unit}", unit_scale=True, desc=doing)
