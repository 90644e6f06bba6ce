"""The command line: ``freightrisk demo``, ``fit``, ``price`` and ``explain``.

Each command computes everything first and moves its files into place at the end, so that a failure writes nothing.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

import freightrisk
from freightrisk import _check, _text
from freightrisk._config import book_of, fit_models, read_plan
from freightrisk._demo import run_demo
from freightrisk._files import arrow_table, check_outputs, columns_of, row_of, source_of, texts_of, write_table
from freightrisk._staged import staged
from freightrisk._text import show
from freightrisk.book.factors import Band
from freightrisk.errors import FreightRiskError, InputError
from freightrisk.tariff.document import load_tariff
from freightrisk.tariff.quotes import quote_names
from freightrisk.tariff.tariff import Tariff

NEW_BUDGETS = "budgets and caps began full in this run; to carry them on from run to run, give --ledger and --batch"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0, or 2 after one line on stderr.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the name of the program; those of the process by default.
    """
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (FreightRiskError, OSError) as error:
        print(f"freightrisk: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("freightrisk: stopped; nothing was written", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="freightrisk", description="Pricing of return-freight insurance.")
    parser.add_argument("--version", action="version", version=f"freightrisk {freightrisk.__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")

    def command(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        return added

    _demo_options(command("demo", _demo, "Simulate a book, fit it, and price every order of it."))
    _fit_options(command("fit", _fit, "Fit the models of a configuration and write the tariff."))
    _price_options(command("price", _price, "Price a file of orders."))
    _explain_options(command("explain", _explain, "Print the worksheet of one order."))
    return parser


def _demo_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--orders", type=int, default=1_000_000, help="orders to simulate (default 1000000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the simulation (default 0)")
    parser.add_argument("--out", type=Path, default=Path("freightrisk_demo"), help="folder to write to")
    _threads_option(parser)


def _fit_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, help="TOML file; the demo writes an example")
    _frame_option(parser, "orders", "one row an order (default: data.orders of the configuration)")
    _frame_option(parser, "claims", "one row a claim (default: data.claims)")
    _frame_option(parser, "merchants", "one row a merchant (default: data.merchants)")
    parser.add_argument("--as-of", type=_day, help="valuation date, e.g. 2026-09-01 (default: as_of)")
    parser.add_argument("--out", type=Path, required=True, help="tariff document to write (JSON)")
    parser.add_argument("--relativities", type=Path, help="relativities to write (CSV)")
    _threads_option(parser)


def _price_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tariff", type=Path, required=True, help="tariff document")
    _frame_option(parser, "orders", "one row an order", required=True)
    _frame_option(parser, "merchants", "one row a merchant, with the tariff's columns that orders lack")
    parser.add_argument("--out", type=Path, required=True, help="quotes to write (Parquet, or CSV by its name)")
    parser.add_argument("--keep", nargs="+", default=["order_id"], metavar="COLUMN",
                        help="columns of orders to repeat in the quotes (default order_id)")  # fmt: skip
    parser.add_argument("--merchant-id", default="merchant_id", help="column that joins merchants")
    parser.add_argument("--ledger", metavar="FILE_OR_URL",
                        help="ledger in which budgets go on from run to run; needs --batch")  # fmt: skip
    parser.add_argument("--batch", metavar="ID", help="id of these orders in the ledger; a batch counts once")
    _threads_option(parser)


def _explain_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tariff", type=Path, required=True, help="tariff document")
    _frame_option(parser, "orders", "one row an order")
    _frame_option(parser, "merchants", "one row a merchant")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--order-id", help="the order to explain; needs --orders")
    which.add_argument("--json", help="""the order itself, e.g. '{"channel": "search", "price": 59.9}'""")
    parser.add_argument("--order-id-column", default="order_id", help="column with the ids of orders")
    parser.add_argument("--merchant-id", default="merchant_id", help="column that joins merchants")


def _frame_option(parser: argparse.ArgumentParser, name: str, text: str, *, required: bool = False) -> None:
    parser.add_argument(f"--{name}", type=Path, required=required, metavar="FILE", help=f"Parquet or CSV: {text}")


def _threads_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=int, help="threads (default: all cores); no result depends on it")


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no date; write it as 2026-09-01") from None


def _demo(arguments: argparse.Namespace) -> None:
    run_demo(arguments.orders, seed=arguments.seed, out=arguments.out, threads=arguments.threads)


def _fit(arguments: argparse.Namespace) -> None:
    plan = read_plan(arguments.config)
    paths = {name: getattr(arguments, name) or getattr(plan, name) for name in ("orders", "claims", "merchants")}
    for name in ("orders", "claims"):
        if paths[name] is None:
            raise InputError(
                f"no {name} were given; name the file with --{name}, or as data.{name} in the configuration."
            )
    as_of = arguments.as_of or plan.as_of
    if as_of is None and max(plan.frequency_age_days, plan.severity_age_days):
        raise InputError("min_age_days needs a valuation date; give --as-of, or as_of in the configuration.")
    outputs = [path for path in (arguments.out, arguments.relativities) if path is not None]
    check_outputs(outputs, inputs=[arguments.config, *paths.values()])
    threads = _check.threads(arguments.threads)
    frames = {name: None if path is None else source_of(path, name) for name, path in paths.items()}
    book = book_of(plan, frames["orders"], frames["claims"], frames["merchants"], as_of)
    fitted = fit_models(plan, book, threads)
    show([*_text.fit_lines(plan, book, fitted), ""])
    show(_text.relativity_lines(fitted.frequency, fitted.severity))
    with staged(outputs) as parts:
        fitted.tariff.save(parts[0])
        if len(parts) > 1:
            fitted.relativities.to_csv(parts[1], index=False)
    show(["", f"wrote {' and '.join(map(str, outputs))}"])


def _price(arguments: argparse.Namespace) -> None:
    is_url = arguments.ledger is None or "://" in arguments.ledger
    inputs = [arguments.tariff, arguments.orders, arguments.merchants, None if is_url else Path(arguments.ledger)]
    check_outputs([arguments.out], inputs=inputs)
    threads = _check.threads(arguments.threads)
    if (arguments.ledger is None) != (arguments.batch is None):
        raise InputError("--ledger and --batch need each other; give the ledger, and an id for these orders in it.")
    tariff = load_tariff(arguments.tariff)
    texts = _text_columns(tariff)
    orders = source_of(arguments.orders, "orders", texts=texts)
    merchants = None if arguments.merchants is None else source_of(arguments.merchants, "merchants", texts=texts)
    kept = columns_of(orders, arguments.keep, required=arguments.keep, argument="orders (--keep)")
    clash = [name for name in arguments.keep if name in quote_names(tariff.payers)]
    if clash:
        raise InputError(f"--keep names '{clash[0]}', which is also a column of the quotes; rename it in the orders.")
    told = {"merchants": merchants, "merchant_id": arguments.merchant_id, "threads": threads}
    placed: list[Path] = []
    columns = {name: kept.column(name) for name in arguments.keep}
    with (
        _priced(tariff, orders, told, arguments, placed) as quotes,
        staged([arguments.out], then=lambda: placed.append(arguments.out)) as parts,
    ):
        write_table(arrow_table(columns | quotes), parts[0])
    notes = [NEW_BUDGETS, ""] if tariff.in_sequence and arguments.ledger is None else []
    show([*_text.quote_lines(tariff, quotes), "", *notes, f"wrote {arguments.out}"])


@contextmanager
def _priced(
    tariff: Tariff, orders: Any, told: dict[str, Any], arguments: argparse.Namespace, placed: list[Path]
) -> Iterator[Any]:
    """Give the quotes; a ledger confirms them once their file is placed, and takes their money back if it is not."""
    if arguments.ledger is None:
        coded = tariff.encode(orders, **told)
        yield tariff.price_columns(coded, threads=told["threads"], progress=True)
        return
    try:
        from freightrisk.pipeline.ledger import Ledger
    except ModuleNotFoundError as error:
        raise InputError(f"--ledger was given, but {error}; pip install freightrisk[ledger].") from None
    batch = arguments.batch
    with Ledger(arguments.ledger) as ledger:
        is_new = batch not in ledger.batches().index
        quotes = ledger.price(tariff, orders, batch=batch, progress=True, **told)
        is_recorded = batch in ledger.batches().index  # not if the tariff has no limits
        names = list(quotes.columns) if hasattr(quotes, "iloc") else quotes.column_names
        try:
            yield {name: quotes[name].to_numpy() for name in names}
        finally:
            if placed and is_recorded:
                ledger.confirm(batch)
            elif is_new and is_recorded:
                ledger.release(batch)


def _text_columns(tariff: Tariff) -> list[str]:
    """Return the columns whose levels are all words, so that a file of nothing but campaign 618 keeps the word."""
    levels: dict[str, set[Any]] = {}
    for coding in tariff.codings.values():
        if not isinstance(coding.declared, Band):
            for path in coding.lookup:
                for column, level in zip(coding.columns, path, strict=False):
                    levels.setdefault(column, set()).add(level)
    for gate in tariff.gates:
        if gate.kind == "levels":
            levels.setdefault(gate.column, set()).update(gate.marks)
    return [column for column, known in levels.items() if all(isinstance(level, str) for level in known)]


def _explain(arguments: argparse.Namespace) -> None:
    if arguments.order_id is not None and arguments.orders is None:
        raise InputError("--order-id was given without --orders; name the file that holds the order.")
    tariff = load_tariff(arguments.tariff)
    if arguments.json is not None:
        order = _json_order(arguments.json)
    else:
        order = _order_of_file(tariff, arguments)
    if arguments.merchants is not None:
        order = _merchant_of(tariff, order, arguments) | order
    tariff.explain(order)


def _json_order(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, str | int | float | bool | None])
    except msgspec.DecodeError as error:
        raise InputError(
            f"--json is not one order: {error}; give an object of column and value such as "
            '\'{"channel": "search", "price": 59.9}\'.'
        ) from None


def _order_of_file(tariff: Tariff, arguments: argparse.Namespace) -> dict[str, Any]:
    id_column, wanted = arguments.order_id_column, [*tariff.column_names, arguments.merchant_id]
    orders = source_of(arguments.orders, "orders", texts=_text_columns(tariff))
    ids = texts_of(columns_of(orders, [id_column], required=[id_column], argument="orders").column(id_column))
    rows = np.flatnonzero(ids == arguments.order_id)
    if len(rows) != 1:
        raise InputError(
            f"orders: '{id_column}' is '{arguments.order_id}' in {len(rows)} of {len(ids):,} rows; give the id of one "
            f"order, such as {', '.join(ids[:3])}."
        )
    return row_of(columns_of(orders, wanted, argument="orders"), int(rows[0]))


def _merchant_of(tariff: Tariff, order: Mapping[str, Any], arguments: argparse.Namespace) -> dict[str, Any]:
    column = arguments.merchant_id
    _check.columns_present([column], list(order), argument="order")
    source = source_of(arguments.merchants, "merchants", texts=_text_columns(tariff))
    merchants = columns_of(source, None, required=[column], argument="merchants")
    rows = np.flatnonzero(texts_of(merchants.column(column)) == str(order[column]))
    if len(rows) != 1:
        raise InputError(
            f"merchants: '{column}' is '{order[column]}' in {len(rows)} rows; the order's merchant must be in one."
        )
    return row_of(merchants, int(rows[0]))
