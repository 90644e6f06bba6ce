"""Cases that fail in each way that a case can, to prove that the workers see it."""

import os
import signal
import warnings

from benchmarks.attack.documents import FaultError


def case(seed: int) -> str:
    """Return for three seeds of seven; fail in another way for each of the others."""
    match seed % 7:
        case 0:
            os.kill(os.getpid(), signal.SIGSEGV)
        case 1:
            raise ZeroDivisionError("of a library")
        case 2:
            raise FaultError("a law")
        case 3:
            warnings.warn("of a library", RuntimeWarning, stacklevel=1)
    return "done"
