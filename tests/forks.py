"""Children of a test that cannot outlive it: one that waits for ever ends, and its test fails instead of waiting."""

import os
import signal

SECONDS = 300


def fork():
    """Fork, and let the child be ended by the system if it takes too long."""
    child = os.fork()
    if child == 0 and hasattr(signal, "alarm"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(SECONDS)
    return child
