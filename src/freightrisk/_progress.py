"""Progress bars of orders, in a terminal or in a notebook."""

import sys
from threading import RLock
from typing import Any


def is_watched() -> bool:
    """Return whether a person may be looking at the standard error stream: in a nightly log a bar is noise."""
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # there is none, or it is closed
        return False


def progress_bar(n_orders: int, doing: str) -> Any:
    """Return a progress bar of some number of orders.

    Each has a lock of its own. The one that tqdm shares between processes stays taken where a forked child is killed
    while it holds it, and then its parent waits for ever at its next bar; nor is there a thread that watches the bar.
    """
    from tqdm.auto import tqdm

    kind = type("OrderBar", (tqdm,), {"_lock": RLock(), "monitor_interval": 0})
    return kind(total=n_orders, unit=" orders", unit_scale=True, desc=doing)
