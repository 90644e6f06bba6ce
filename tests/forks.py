"""Children of a test that cannot outlive it: one that waits for ever ends, and its test fails instead of waiting."""

import os
import signal

SECONDS = 300


def end_after(work, writing):
    """Do the work of a child, tell its parent of an error through a pipe, and end the child."""
    status = 1
    try:
        work()
        status = 0
    except BaseException as error:
        os.write(writing, f"{type(error).__name__}: {error}".encode()[:4000])
    finally:
        os._exit(status)


def fork():
    """Fork, and let the child be ended by the system if it takes too long."""
    child = os.fork()
    if child == 0 and hasattr(signal, "alarm"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(SECONDS)
    return child
