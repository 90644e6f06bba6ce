"""Progress bars: no lock of theirs is another's, and they are for eyes alone."""

import io
import sys

import pytest
from tqdm.auto import tqdm

from freightrisk._progress import is_watched, progress_bar


def test_bars_share_no_lock_with_each_other_or_with_other_processes():
    with progress_bar(10, "pricing") as first, progress_bar(20, "coding") as second:
        locks = {id(one.get_lock()) for one in (first, second, tqdm)}
        assert len(locks) == 3
        assert (first.total, second.desc) == (10, "coding")
        assert first.monitor is None  # no thread that could hold it
        first.update(10)
    assert first.n == 10


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize(
    ("stream", "watched"), [(Screen(), True), (io.StringIO(), False), (None, False), (closed(), False)]
)
def test_only_a_terminal_is_watched(monkeypatch, stream, watched):
    monkeypatch.setattr(sys, "stderr", stream)
    assert is_watched() is watched
