"""What all kernels share: columns of codes, and the proofs of what a kernel is given.

A kernel walks blocks of rows that stay in cache, holds no GIL, allocates nothing and does not raise inside the walk.
What it takes on trust is proved once a call: lengths by `need`, codes by `_check` when the columns are made. Each
kernel has a slow twin, in `_reference` or in its test.
"""

cimport cython
from libc.stdint cimport int64_t, uint8_t

CHECKED = bool(FREIGHTRISK_CHECKED)
BLOCK_ROWS = BLOCK
COLUMN_LIMIT = MAX_COLUMNS


cdef int need(bint holds, str what) except -1:
    """Raise unless arrays are as long as a kernel is told."""
    if not holds:
        raise ValueError(f"a kernel was given {what}")
    return 0


@cython.auto_pickle(False)
cdef class CodeColumns:
    """Code columns of one length and how many slots each may name; keeps the arrays alive.

    Parameters
    ----------
    codes : list of uint8, uint16 or uint32 arrays, contiguous, of one length
    sizes : int64 array, slots of each column; every code is below its column's size
    largest : int64 array, the largest code of each column, where it is known
    """

    def __init__(self, list codes not None, const int64_t[::1] sizes not None, Py_ssize_t rows,
                 const int64_t[::1] largest=None):
        cdef const uint8_t[::1] view
        cdef int f
        need(len(codes) <= MAX_COLUMNS and sizes.shape[0] == len(codes) and rows >= 0, "too many columns of codes")
        need(largest is None or largest.shape[0] == len(codes), "another number of largest codes")
        self.count = <int>len(codes)
        self.rows = rows
        self.views = [array.view("u1") for array in codes]
        for f in range(self.count):
            need(codes[f].dtype.str in ("|u1", "<u2", "<u4") and codes[f].shape == (rows,), "other columns of codes")
            view = self.views[f]
            self.itemsize[f] = codes[f].dtype.itemsize
            self.size[f] = sizes[f]
            self.largest[f] = sizes[f] - 1 if largest is None else largest[f]
            self.column[f] = &view[0] if view.shape[0] > 0 else NULL

    @property
    def sizes(self):
        """Return the slots of each column."""
        return tuple([self.size[f] for f in range(self.count)])

    @property
    def arrays(self):
        """Return the codes of each column in their own type, which cannot be written to."""
        found = [self.views[f].view(f"u{self.itemsize[f]}") for f in range(self.count)]
        for codes in found:
            codes.flags.writeable = False
        return found
