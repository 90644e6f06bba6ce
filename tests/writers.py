"""Several processes that price batches in one ledger: what each does, and what it all must come to.

    python tests/writers.py [--processes 8] [--batches 200]

runs every kind of database, address and start of processes at full size, and prints calls a second. Some of them:

    python tests/writers.py --database postgresql --address url engine --start spawn
"""

import argparse
import itertools
import multiprocessing
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from freightrisk import Balances, Ledger, Subsidy
from test_balances import orders_at, tariff_of

SIZE = 5
DUPLICATES = 0.15
ENOUGH = 100  # batches in which the budget surely ends
CHOICES = {"database": ["sqlite", "postgresql"], "address": ["path", "url", "engine"], "start": ["fork", "spawn"]}


def tariff():
    """Return a tariff whose budget ends within the batches, with a cap by merchant."""
    return tariff_of(
        [
            Subsidy("live", "platform", percent_of_list=0.3, budget_fen=4_000),
            Subsidy("new", "insurer", fixed_fen=9, merchant_cap_fen=3_000, period="day"),
        ]
    )


def orders_of(batch):
    """Return the orders of a batch, whose fen depend on its number."""
    ids = np.arange(SIZE) + SIZE * batch
    return orders_at(37 + batch % 50, SIZE).assign(order_id=ids, merchant_id=[f"m{k % 7}" for k in ids])


def plan(process, n_processes, n_batches, seed=3):
    """Return the batches of one process: its share of all, and some of the others' that are re-run beside them."""
    rng = np.random.default_rng([seed, process])
    own = np.arange(n_batches) * n_processes + process
    again = rng.random(n_batches) < DUPLICATES
    others = rng.integers(0, n_batches * n_processes, n_batches)
    return [int(one) for pair in zip(own, np.where(again, others, -1), strict=True) for one in pair if one >= 0]


def engine_of(where):
    """Return an engine as a user makes it."""
    return sa.create_engine(where if "://" in str(where) else f"sqlite:///{where}")


def opened(where, kind):
    """Return a ledger of a path or URL, or of a user's engine."""
    if kind == "url" and "://" not in str(where):
        where = f"sqlite:///{where}"
    return Ledger(engine_of(where) if kind == "engine" else where)


def work(where, kind, batches, found, ready, ledger=None):
    """Price batches, and put down what each came to or the error."""
    rules = tariff()
    ledger = opened(where, kind) if ledger is None else ledger
    ready.wait(300)
    for batch in batches:
        try:
            quotes = ledger.price(rules, orders_of(batch), batch=str(batch), threads=1)
            found.put((batch, quotes["platform_fen"].tolist(), quotes["insurer_fen"].tolist()))
        except Exception as error:
            found.put((batch, type(error).__name__, str(error)))
    ledger.close()


def run(where, kind, start, n_processes, n_batches, *, shared=False):
    """Run the processes and return what they put down, and the seconds that they took once all had begun."""
    context = multiprocessing.get_context(start)
    found, ready = context.Queue(), context.Barrier(n_processes + 1)
    ledger = opened(where, kind) if shared else None
    if shared:
        ledger.spending()
    processes = [
        context.Process(
            target=work, args=(where, kind, plan(k, n_processes, n_batches), found, ready, ledger), daemon=True
        )
        for k in range(n_processes)
    ]
    for process in processes:
        process.start()
    ready.wait(300)
    begun = time.perf_counter()
    wanted = sum(len(plan(k, n_processes, n_batches)) for k in range(n_processes))
    answers = [found.get(timeout=300) for _ in range(wanted)]
    seconds = time.perf_counter() - begun
    for process in processes:
        process.join(60)
    if ledger is not None:
        ledger.close()
    return answers, seconds


def check(where, answers, n_batches, *, ended=True):
    """Compare every answer, and the totals, with the batches priced one after another in the ledger's order."""
    rules, balances = tariff(), Balances()
    with Ledger(where) as ledger:
        order = [int(batch) for batch in ledger.batches().index]
        spending = ledger.spending()["reserved_fen"].to_dict()
        caps = ledger.spending_by_merchant().set_index(["merchant", "period"])["spent_fen"].to_dict()
    assert sorted(order) == list(range(n_batches))
    expected = {}
    for batch in order:
        quotes = rules.price(orders_of(batch), balances=balances)
        expected[batch] = quotes["platform_fen"].tolist(), quotes["insurer_fen"].tolist()
    wrong = [answer for answer in answers if expected[answer[0]] != answer[1:]]
    assert not wrong, wrong[:5]
    assert spending == balances.spent
    assert caps == balances.spent_by_merchant["new"]
    if ended:
        assert spending["live"] == 4_000


def emptied(where):
    """Return a place with nothing in it."""
    if "://" in str(where):
        from freightrisk.pipeline import tables

        engine = sa.create_engine(where)
        with engine.begin() as connection:
            tables.TABLES.drop_all(connection)
        engine.dispose()
    return where


def kinds(given):
    """Return the database, address and start of each run that was chosen; PostgreSQL has no path."""
    every = itertools.product(given.database, given.address, given.start)
    return [one for one in every if one[:2] != ("postgresql", "path")]


def arguments():
    """Return what the command line asks for: everything at full size, if nothing is said."""
    parser = argparse.ArgumentParser(description="Price batches in one ledger from several processes, and check all.")
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--batches", type=int, default=200, help="batches of each process (default 200)")
    for name, choices in CHOICES.items():
        parser.add_argument(f"--{name}", nargs="+", choices=choices, default=choices, help="default: all")
    given = parser.parse_args()
    if not kinds(given):
        parser.error("PostgreSQL has no path; give --address url or engine")
    return given


def main():
    """Run what was chosen, and say of each whether it came to what it must."""
    import postgres

    given = arguments()
    total = given.processes * given.batches
    needs_server = "postgresql" in given.database
    with tempfile.TemporaryDirectory() as folder, postgres.server() if needs_server else nullcontext() as url:
        for database, kind, start in kinds(given):
            where = Path(folder, f"{kind}-{start}.db") if database == "sqlite" else emptied(url)
            shared = start == "fork"
            answers, seconds = run(where, kind, start, given.processes, given.batches, shared=shared)
            check(where, answers, total, ended=total >= ENOUGH)
            rate = len(answers) / seconds
            print(f"{database:10} {kind:6} {start:5} right, {len(answers)} calls, {rate:.0f} a second", flush=True)


if __name__ == "__main__":
    sys.exit(main())
