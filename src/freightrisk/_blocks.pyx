"""Shared parts of all kernels: columns of codes, and checks of a kernel's arguments.

A kernel walks blocks of rows that stay in cache, holds no GIL, allocates nothing and does not raise inside the walk.
`need` checks the lengths of its arguments once a call. `_check` checks the codes once, when the columns are made. Each
kernel has a slow twin, in `_reference` or in its test.
"""

cimport cython
from libc.stdint cimport int64_t, uint8_t

CHECKED = bool(FREIGHTRISK_CHECKED)
BLOCK_ROWS = BLOCK
COLUMN_LIMIT = MAX_COLUMNS


cdef int need(bint holds, str what) except -1:
    """Raise a ValueError unless a condition on a kernel's arguments holds."""
    if not holds:
        raise ValueError(f"a kernel was given {what}")
    return 0


@cython.auto_pickle(False)
cdef class CodeColumns:
    """Code columns of equal length, with the number of slots of each column. The object keeps the arrays alive.

    Parameters
    ----------
    codes : list of contiguous uint8, uint16 or uint32 arrays of equal length
    sizes : int64 array, number of slots of each column; every code is below its column's size
    largest : int64 array, optional, the largest code of each column; by default size - 1
    """

    def __init__(self, list codes not None, const int64_t[::1] sizes not None, Py_ssize_t rows,
                 const int64_t[::1] largest=None):
        cdef const uint8_t[::1] view
        cdef int f
        need(len(codes) <= MAX_COLUMNS and sizes.shape[0] == len(codes) and rows >= 0, "too many columns of codes")
        need(largest is None or largest.shape[0] == len(codes), "largest codes for another number of columns")
        self.count = <int>len(codes)
        self.rows = rows
        # The views keep the memory alive that `column` points to.
        self.views = [array.view("u1") for array in codes]
        for f in range(self.count):
            need(codes[f].dtype.str in ("|u1", "<u2", "<u4") and codes[f].shape == (rows,),
                 "code columns of the wrong type or length")
            need(sizes[f] >= 1 and (largest is None or largest[f] < sizes[f]), "a column of codes without slots")
            view = self.views[f]
            self.itemsize[f] = codes[f].dtype.itemsize
            self.size[f] = sizes[f]
            self.largest[f] = sizes[f] - 1 if largest is None else largest[f]
            self.column[f] = &view[0] if view.shape[0] > 0 else NULL

    @property
    def sizes(self):
        """Return the number of slots of each column."""
        return tuple([self.size[f] for f in range(self.count)])

    @property
    def arrays(self):
        """Return the codes of each column as a read-only array of their own type."""
        found = [self.views[f].view(f"u{self.itemsize[f]}") for f in range(self.count)]
        for codes in found:
            codes.flags.writeable = False
        return found
