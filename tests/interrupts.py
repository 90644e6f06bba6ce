"""Interrupts at any line of the library, as the stop key gives them, to see what a stopped run leaves behind."""

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
