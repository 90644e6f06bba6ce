"""Hypothesis profiles and the fixtures that every test module may use."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# dev finds new examples at every run and keeps failures in .hypothesis; ci is the same run for the same commit.
settings.register_profile("dev", max_examples=30, deadline=None)
settings.register_profile(
    "ci",
    max_examples=10,
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "quick", max_examples=10, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))

# A shell starts what runs in its background with interrupts ignored; the tests of interrupts need them.
signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def same_trace() -> Iterator[None]:
    """Leave the trace function as it was: an interrupt may fall between its use and its removal."""
    before = sys.gettrace()
    yield
    sys.settrace(before)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of public data sets that lies beside the checkout."""
    if not SHARED_DATA.is_dir():
        pytest.skip("needs the public data sets in ../shared/data beside the checkout")
    return SHARED_DATA
