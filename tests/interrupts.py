"""Interrupts at any line of the library, as the stop key gives them, to see what a stopped run leaves behind."""

import signal
import sys
from pathlib import Path

import freightrisk

FOLDER = str(Path(freightrisk.__file__).parent)


class Interrupt:
    """Count the lines that the main thread runs in the library, and raise KeyboardInterrupt before one of them."""

    def __init__(self, at=None):
        self.at, self.lines = at, 0

    def _trace(self, frame, event, _):
        if not frame.f_code.co_filename.startswith(FOLDER):
            return None
        if event == "line":
            self.lines += 1
            if self.lines == self.at:
                raise KeyboardInterrupt
        return self._trace

    def __enter__(self):
        self.before = sys.gettrace()
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_):
        sys.settrace(self.before)


def interrupted(call, at):
    """Run a call and return whether it was interrupted before the line of that number."""
    try:
        with Interrupt(at):
            call()
    except KeyboardInterrupt:
        return True
    return False


def lines_of(call):
    """Return the number of lines that a call runs."""
    with Interrupt() as counted:
        call()
    return counted.lines


class At:
    """Do something once, before the line of some number that the main thread runs in the library."""

    def __init__(self, at, action):
        self.counted, self.action, self.at = Interrupt(), action, at

    def _trace(self, frame, event, argument):
        inner = self.counted._trace(frame, event, argument)
        if event == "line" and self.counted.lines == self.at:
            self.at = None
            self.action()
        return None if inner is None else self._trace

    def __enter__(self):
        self.before = sys.gettrace()
        sys.settrace(self._trace)

    def __exit__(self, *_):
        sys.settrace(self.before)


def stopped_after(call, at, seconds):
    """Run a call and return whether a real signal stopped it, which comes some seconds after a line of the library.

    So it comes anywhere, in other libraries and in the midst of C code too, however slow the machine.
    """

    over = False

    def stop(_, frame):
        if over:
            return
        # What a trace function raises while a frame returns would pass by the `finally` of that frame: a little later.
        if frame.f_code.co_filename == __file__:
            signal.setitimer(signal.ITIMER_REAL, 1e-4)
        else:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stop)
    try:
        with At(at, lambda: signal.setitimer(signal.ITIMER_REAL, seconds)):
            call()
        return False
    except KeyboardInterrupt:
        return True
    finally:
        over = True
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
