"""Cases that fail in every possible way, to prove that the workers notice each."""

import os
import signal
import warnings

from benchmarks.attack.documents import FaultError


def case(seed: int) -> str:
    """Return for three seeds in seven; each of the other four fails in its own way."""
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
