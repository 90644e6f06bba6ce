"""Ledgers for tests: fixtures on SQLite and PostgreSQL, batches of orders, and ways in which writers meet."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies as st

import postgres
import writers
from freightrisk import Balances, Ledger, Tariff
from freightrisk.pipeline import tables
from strategies import draw_batch
from test_balances import in_fixed_order, no_missing_merchants


@pytest.fixture(autouse=True)
def without_waiting_for_the_disk(monkeypatch):
    """Killed processes lose nothing that the system holds; only a loss of power would."""
    monkeypatch.setattr(tables, "SYNCHRONOUS", "OFF")


@pytest.fixture(scope="module")
def postgres_url():
    with postgres.server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request, tmp_path):
    """Where a ledger is that has nothing in it."""
    if request.param == "sqlite":
        return tmp_path / "spending.db"
    return writers.emptied(request.getfixturevalue("postgres_url"))


def batches_of(n_batches, size=40, seed=5):
    """Batches of orders with ids of their own."""
    rng = np.random.default_rng(seed)
    frames = [draw_batch(rng, size) for _ in range(n_batches)]
    return [frame.assign(order_id=frame["order_id"] + size * k) for k, frame in enumerate(frames)]


def state_of(ledger):
    """Return everything that a ledger has spent, as plain values."""
    return (
        ledger.spending().reset_index().astype(object).to_dict("records"),
        ledger.spending_by_merchant().to_dict("records"),
        ledger.remainders().query("micro != 0").to_dict("records"),
        ledger.batches().reset_index().to_dict("records"),
    )


def replayed(ledger, tariff, frames):
    """Return the quotes of the batches of a ledger, priced again in memory in the order of their numbers."""
    balances, quotes = Balances(), {}
    for batch in ledger.batches().index:
        quotes[batch] = tariff.price(frames[batch], balances=balances)
    return quotes, balances


def assert_priced_as_in_memory(ledger, tariff, frame, balances, cuts):
    """Price a frame in batches with a ledger, each of them twice, and assert the fen of the same batches in memory."""
    order = in_fixed_order(frame, priority=False)
    for k, (start, stop) in enumerate(pairwise([0, *sorted(cuts), len(frame)])):
        part = frame.iloc[order[start:stop]]
        expected = tariff.price(part, balances=balances)
        for _ in range(2):  # the second is a re-run
            pd.testing.assert_frame_equal(ledger.price(tariff, part, batch=str(k)), expected)


def priced_by_threads(where, tariff, frames, n_threads=4):
    """Return the quotes of batches that threads price at one time."""
    Ledger(where).close()

    def work(batches):
        with Ledger(where) as ledger:
            return {batch: ledger.price(tariff, frames[batch], batch=batch, threads=1) for batch in batches}

    found = {}
    with ThreadPoolExecutor(n_threads) as pool:
        for part in pool.map(work, [list(frames)[start::n_threads] for start in range(n_threads)]):
            found |= part
    return found


def small_batches(seed, rounding, n_batches=5):
    """Return batches of eight orders by name."""
    rng, frames = np.random.default_rng(seed), {}
    for k in range(n_batches):
        frame = no_missing_merchants(draw_batch(rng, 8), rounding)
        frames[str(k)] = frame.assign(order_id=frame["order_id"] + 100 * k)
    return frames


def priced_in_any_interleaving(where, tariff, frames, data):
    """Return the quotes of batches. While one is priced, others begin and are recorded, to any depth.

    Each attempt at a batch may meet more of them.
    """
    waiting, found = list(frames), {}
    price_columns = Tariff.price_columns

    def disturbed(self, coded, **more):
        columns = {name: values.copy() for name, values in price_columns(self, coded, **more).items()}
        while waiting and not locked and data.draw(st.booleans()):
            run(waiting.pop(0))
        return columns

    locked = []

    class Watched(Ledger):
        def _locked(self):
            return Counted(super()._locked())

    class Counted:
        def __init__(self, inner):
            self.inner = inner

        def __enter__(self):
            locked.append(True)
            return self.inner.__enter__()

        def __exit__(self, *error):
            locked.pop()
            return self.inner.__exit__(*error)

    def run(batch):
        with Watched(where) as ledger:
            found[batch] = ledger.price(tariff, frames[batch], batch=batch, threads=1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tariff, "price_columns", disturbed)
        while waiting:
            run(waiting.pop(0))
    return found
