"""Pricing of the command line: with a ledger, a run confirms its batches once its file is in place."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from freightrisk._progress import is_watched
from freightrisk._staged import uninterrupted
from freightrisk.errors import InputError
from freightrisk.programme.priced import PricedBy, batch_ids


@contextmanager
def in_ledger(tariff: PricedBy, orders: Any, told: Any, arguments: argparse.Namespace) -> Iterator[Any]:
    """Give the quotes; afterwards the ledger confirms their batches if the file is in place, and else releases them."""
    if arguments.ledger is None:
        coded = tariff.encode(orders, **told)
        yield tariff.price_columns(coded, threads=told["threads"], progress=is_watched())
        return
    ids = batch_ids(tariff, arguments.batch)
    with opened(arguments.ledger) as ledger:
        before = {*ledger.batches().index}

        def settle() -> None:
            now = {*ledger.batches().index}
            for batch in ids:
                if batch not in now:  # a tariff without limits, or no money was reserved
                    continue
                if arguments.placed:
                    ledger.confirm(batch)
                elif batch not in before:  # an earlier run's reservation is not ours to release
                    ledger.release(batch)

        try:
            quotes = ledger.price(tariff, orders, batch=arguments.batch, progress=is_watched(), **told)
            names = list(quotes.columns) if hasattr(quotes, "iloc") else quotes.column_names
            yield {name: quotes[name].to_numpy() for name in names}
        finally:
            uninterrupted(settle)


def opened(where: str) -> Any:
    """Return a ledger, which needs an extra."""
    try:
        from freightrisk.pipeline.ledger import Ledger
    except ModuleNotFoundError as error:
        raise InputError(f"a ledger was named, but {error}; pip install 'freightrisk[ledger]'.") from None
    return Ledger(where)
