"""Arrays on disk: columns mapped into memory, whose pages the system may take back once they have been read."""

import mmap
from collections.abc import Iterable
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

PIECE = 2**24  # rows read before their pages are released: at most 128 MiB of 8-byte values


def largest(array: NDArray[Any]) -> int:
    """Return the largest of some non-negative whole numbers, 0 if there are none."""
    found = 0
    for start in range(0, len(array), PIECE):
        found = max(found, int(array[start : start + PIECE].max()))
        let_go([array], start, start + PIECE)
    return found


def bounds(array: NDArray[Any]) -> tuple[Any, Any]:
    """Return the least and the largest of some numbers; both are NaN if any number is NaN."""
    least = most = array[0]
    for start in range(0, len(array), PIECE):
        piece = array[start : start + PIECE]
        least, most = np.minimum(least, piece.min()), np.maximum(most, piece.max())
        let_go([array], start, start + PIECE)
    return least, most


def on_disk(array: NDArray[Any]) -> TypeGuard["np.memmap[Any, Any]"]:
    """Return whether an array is a file mapped into memory."""
    return isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap)


def let_go(arrays: Iterable[NDArray[Any]], start: int, stop: int) -> None:
    """Tell the system that some rows of arrays on disk are not needed for now; arrays in memory are left alone.

    The pages of these rows leave the process, so that reading a whole book takes only the memory of one piece.
    """
    for array in arrays:
        if not on_disk(array) or not hasattr(mmap, "MADV_DONTNEED"):
            continue
        mapped: Any = array.base
        # numpy maps from the last multiple of the granularity before the offset, and madvise takes whole pages.
        skipped = array.offset % mmap.ALLOCATIONGRANULARITY
        first = (skipped + start * array.itemsize) // mmap.PAGESIZE * mmap.PAGESIZE
        last = (skipped + min(stop, len(array)) * array.itemsize) // mmap.PAGESIZE * mmap.PAGESIZE
        if last > first:
            mapped.madvise(mmap.MADV_DONTNEED, first, last - first)
