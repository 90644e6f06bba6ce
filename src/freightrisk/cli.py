"""The command line: ``freightrisk demo``, ``fit``, ``price``, ``explain``, ``settle`` and ``ledger``.

Each command computes everything first and moves its files into place at the end, so that a failure writes nothing.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, NoReturn

import msgspec

import freightrisk
from freightrisk import _check, _text
from freightrisk._columns import ColumnNames, PricingColumns, read
from freightrisk._config import book_of, fit_models, read_plan
from freightrisk._demo import run_demo
from freightrisk._files import (
    arrow_table,
    check_outputs,
    kept_columns,
    refuse_clash,
    row_with_id,
    source_of,
    write_report,
    write_table,
)
from freightrisk._ledger_run import in_ledger, opened
from freightrisk._plain import json_document
from freightrisk._shown import counted, shown
from freightrisk._staged import staged
from freightrisk._text import settled_lines, show, show_at_the_end
from freightrisk.errors import FreightRiskError, InputError
from freightrisk.models import model_document
from freightrisk.pipeline.addresses import looks_like_an_address, without_addresses
from freightrisk.programme.claim_columns import ClaimColumns
from freightrisk.programme.claim_payer import load_payers
from freightrisk.programme.claim_totals import ClaimTotals, replaced_once, state_of
from freightrisk.programme.claim_totals import document_of as totals_document
from freightrisk.programme.priced import covers_of, load_priced, programmes_of, quote_columns
from freightrisk.programme.settle import settle
from freightrisk.programme.settled import settled_names
from freightrisk.tariff.aggregate_limit import AGGREGATES, AggregateLimit
from freightrisk.tariff.parts import document_of
from freightrisk.tariff.subsidy import PERIODS

BATCHES_SHOWN = 20
NEW_TOTALS = "no claim was settled before this run; to carry totals over from run to run, give --totals"
NEW_BUDGETS = "budgets and caps started full in this run; to carry them over from run to run, give --ledger and --batch"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0, or 2 after one line on stderr.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the name of the program; the arguments of the process by default.
    """
    placed: list[Path] = []
    try:
        _text.open_streams()
        arguments = _parser().parse_args(argv)
        arguments.placed = placed
        arguments.run(arguments)
    except BrokenPipeError:
        _text.silence()
        return 1
    except (FreightRiskError, OSError, UnicodeError) as error:
        print(shown(f"freightrisk: {' '.join(str(error).split())}"), file=sys.stderr)
        return 2
    except BaseException as error:
        if not _was_stopped(error):
            raise
        # 130 is 128 + SIGINT, the exit code by which shells recognise an interrupted command.
        what = f"{' and '.join(map(str, placed))} had been written" if placed else "nothing was written"
        print(shown(f"freightrisk: stopped; {what}"), file=sys.stderr)
        return 130
    return 0


def _was_stopped(error: BaseException | None) -> bool:
    """Return whether an interrupt caused an error: a library that is interrupted may raise an error of its own."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


class _Parser(argparse.ArgumentParser):
    """A parser whose errors escape control characters in arguments and repeat no password."""

    def error(self, message: str) -> NoReturn:
        super().error(shown(without_addresses(message)))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="freightrisk", description="Pricing of return-freight insurance.")
    parser.add_argument("--version", action="version", version=f"freightrisk {freightrisk.__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")

    def command(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        return added

    _demo_options(command("demo", _demo, "Simulate a book, fit it, and price all its orders."))
    _fit_options(command("fit", _fit, "Fit the models of a configuration and write the tariff."))
    _price_options(command("price", _price, "Price a file of orders."))
    _explain_options(command("explain", _explain, "Print the worksheet of one order."))
    _settle_options(command("settle", _settle, "Settle a file of claims under the covers of a tariff or a programme."))
    _ledger_options(command("ledger", _ledger, "Print batches, campaigns and funds of a ledger, and settle batches."))
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
    for kind in ("frequency", "severity"):
        parser.add_argument(f"--{kind}", type=Path, help=f"{kind} model to write (JSON), for load_model")
    parser.add_argument("--date-format", help="how texts with dates are written (default: columns.date_format)")
    _encoding_option(parser)
    _threads_option(parser)


def _price_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tariff", type=Path, required=True, help="document of a tariff, programme or versions")
    _frame_option(parser, "orders", "one row an order", required=True)
    _frame_option(parser, "merchants", "one row a merchant, with the columns of the tariff that the orders lack")
    parser.add_argument("--out", type=Path, required=True, help="quotes to write (Parquet, or CSV by its name)")
    parser.add_argument("--keep", nargs="+", metavar="COLUMN",
                        help="columns of orders to repeat in the quotes (default: the ids of orders)")  # fmt: skip
    parser.add_argument("--ledger", metavar="FILE_OR_URL",
                        help="ledger that carries budgets over from run to run; needs --batch")  # fmt: skip
    parser.add_argument("--batch", metavar="ID", help="id of these orders in the ledger; a batch counts once")
    _column_options(parser)
    _encoding_option(parser)
    _threads_option(parser)


def _explain_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tariff", type=Path, required=True, help="document of a tariff, programme or versions")
    _frame_option(parser, "orders", "one row an order")
    _frame_option(parser, "merchants", "one row a merchant")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--order-id", help="the order to explain; needs --orders")
    which.add_argument("--json", help="the order itself, with every column that the tariff reads")
    _column_options(parser)
    _encoding_option(parser)


def _settle_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tariff", type=Path, required=True, help="document of a tariff or a programme")
    _frame_option(parser, "claims", "one row a claim", required=True)
    _frame_option(parser, "orders", "one row an order, with the columns that the claims lack")
    _frame_option(parser, "merchants", "one row a merchant, with the columns that claims and orders lack")
    parser.add_argument("--out", type=Path, required=True, help="settled claims to write (Parquet, or CSV by its name)")
    parser.add_argument("--keep", nargs="+", metavar="COLUMN",
                        help="columns of claims to repeat (default: the ids of order and claim)")  # fmt: skip
    parser.add_argument("--payers", type=Path, metavar="FILE", help="who pays, as a JSON list of rules")
    parser.add_argument(
        "--aggregate", type=float, metavar="YUAN", help="largest sum of payments of a merchant or order"
    )
    parser.add_argument("--by", choices=AGGREGATES, help="whose payments --aggregate limits (default merchant)")
    parser.add_argument("--period", choices=[*PERIODS, "all"], help="period of --aggregate (default month)")
    parser.add_argument("--totals", type=Path, metavar="FILE",
                        help="totals of earlier runs (JSON), read if the file exists, then replaced")  # fmt: skip
    _column_options(parser, ClaimColumns)
    _encoding_option(parser)


def _ledger_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ledger", metavar="FILE_OR_URL", help="ledger made by freightrisk price --ledger")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--confirm", metavar="BATCH", help="turn the reserved money of a batch into spending")
    what.add_argument("--release", metavar="BATCH", help="give back the reserved money of a batch and free its id")
    what.add_argument("--reverse", metavar="ORDER", nargs="+", help="give back the money paid for some orders")


def _column_options(parser: argparse.ArgumentParser, kind: Any = PricingColumns) -> None:
    for name in kind.__annotations__:
        if name == "date_format":
            parser.add_argument("--date-format", help="how texts with dates are written, such as %%d/%%m/%%Y")
        else:
            option, what = name.replace("_", "-"), name.replace("_", " ")
            default = "none" if name == "priority" else name
            parser.add_argument(
                f"--{option}-column", metavar="COLUMN", help=f"column with the {what} (default {default})"
            )


def _columns(arguments: argparse.Namespace, kind: Any = PricingColumns) -> Any:
    """Return the names of columns that were given."""
    names = {name: f"{name}_column" for name in kind.__annotations__ if name != "date_format"}
    given = {name: getattr(arguments, names.get(name, name)) for name in kind.__annotations__}
    return {name: value for name, value in given.items() if value is not None}


def _encoding_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--encoding", default="utf-8", help="encoding of CSV files, such as gb18030 (default utf-8)")


def _frame_option(parser: argparse.ArgumentParser, name: str, text: str, *, required: bool = False) -> None:
    parser.add_argument(f"--{name}", type=Path, required=required, metavar="FILE", help=f"Parquet or CSV: {text}")


def _threads_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=int, help="threads (default: all cores); no result depends on it")


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a date; write it as 2026-09-01") from None


def _demo(arguments: argparse.Namespace) -> None:
    run_demo(
        arguments.orders,
        seed=arguments.seed,
        out=arguments.out,
        threads=arguments.threads,
        then=lambda: arguments.placed.append(arguments.out),
    )


def _fit(arguments: argparse.Namespace) -> None:
    plan = read_plan(arguments.config)
    if arguments.date_format is not None:
        plan = replace(plan, columns=replace(plan.columns, date_format=arguments.date_format))
    paths = {name: getattr(arguments, name) or getattr(plan.data, name) for name in ("orders", "claims", "merchants")}
    for name in ("orders", "claims"):
        if paths[name] is None:
            raise InputError(
                f"no {name} were given; name the file with --{name}, or as data.{name} in the configuration."
            )
    as_of = arguments.as_of or plan.as_of
    if as_of is None and max(plan.frequency.min_age_days, plan.severity.min_age_days):
        raise InputError("min_age_days needs a valuation date; give --as-of, or as_of in the configuration.")
    asked = (arguments.out, arguments.relativities, arguments.frequency, arguments.severity)
    outputs = [path for path in asked if path is not None]
    check_outputs(outputs, inputs=[arguments.config, *paths.values()])
    threads = _check.threads(arguments.threads)
    encoding = arguments.encoding
    frames = {name: None if path is None else source_of(path, name, encoding=encoding) for name, path in paths.items()}
    book = book_of(plan, frames["orders"], frames["claims"], frames["merchants"], as_of)
    fitted = fit_models(plan, book, threads)
    show([*_text.fit_lines(plan, book, fitted), ""])
    show(_text.relativity_lines(fitted.frequency, fitted.severity))
    private = [arguments.out] if fitted.tariff.dither_key else []
    with staged(outputs, private=private, then=lambda: arguments.placed.extend(outputs)) as parts:
        place = dict(zip(outputs, parts, strict=True))
        place[arguments.out].write_bytes(document_of(fitted.tariff))
        if arguments.relativities is not None:
            write_report(fitted.relativities, place[arguments.relativities], name=arguments.relativities)
        for path, model in ((arguments.frequency, fitted.frequency), (arguments.severity, fitted.severity)):
            if path is not None:
                place[path].write_bytes(model_document.document_of(model))
    show_at_the_end(["", f"wrote {' and '.join(map(str, outputs))}"])


def _price(arguments: argparse.Namespace) -> None:
    is_url = arguments.ledger is None or "://" in arguments.ledger
    inputs = [arguments.tariff, arguments.orders, arguments.merchants, None if is_url else Path(arguments.ledger)]
    check_outputs([arguments.out], inputs=inputs)
    if arguments.out.suffix.lower() not in (".parquet", ".csv"):
        raise InputError(f"--out is '{arguments.out}'; give the name of a .parquet or .csv file.")
    threads = _check.threads(arguments.threads)
    if (arguments.ledger is None) != (arguments.batch is None):
        raise InputError("--ledger and --batch need each other; give the ledger, and an id for these orders in it.")
    tariff = load_priced(arguments.tariff)
    columns, encoding = _columns(arguments), arguments.encoding
    orders = source_of(arguments.orders, "orders", encoding=encoding)
    merchants = arguments.merchants
    merchants = None if merchants is None else source_of(merchants, "merchants", encoding=encoding)
    keep = arguments.keep or [columns.get("order_id", "order_id")]
    argument = "orders (--keep)" if arguments.keep else "orders (--order-id-column)"
    found = kept_columns(orders, keep, argument=argument)
    refuse_clash(keep, quote_columns(tariff), of="the quotes", inside="orders")
    told: dict[str, Any] = {"merchants": merchants, "threads": threads, **columns}
    with (
        in_ledger(tariff, orders, told, arguments) as quotes,
        staged([arguments.out], then=lambda: arguments.placed.append(arguments.out)) as parts,
    ):
        write_table(arrow_table(found | quotes), parts[0], name=arguments.out)
    notes = [NEW_BUDGETS, ""] if tariff.in_sequence and arguments.ledger is None else []
    lines = [*_text.title_lines(tariff), *_text.quote_lines(tariff, quotes)]
    show_at_the_end([*lines, "", *notes, f"wrote {arguments.out}"])


def _settle(arguments: argparse.Namespace) -> None:
    totals_file = arguments.totals
    outputs = [arguments.out, *([] if totals_file is None else [totals_file])]
    check_outputs(
        outputs, inputs=[arguments.tariff, arguments.claims, arguments.orders, arguments.merchants, arguments.payers]
    )
    if arguments.out.suffix.lower() not in (".parquet", ".csv"):
        raise InputError(f"--out is '{arguments.out}'; give the name of a .parquet or .csv file.")
    tariff: Any = load_priced(arguments.tariff)  # settle refuses versions
    columns, encoding = _columns(arguments, ClaimColumns), arguments.encoding
    aggregate, before = _aggregate(arguments), state_of(totals_file)
    claims = source_of(arguments.claims, "claims", encoding=encoding)
    orders, merchants = (
        None if path is None else source_of(path, name, encoding=encoding)
        for name, path in (("orders", arguments.orders), ("merchants", arguments.merchants))
    )
    settled = settle(
        tariff, claims, orders=orders, merchants=merchants, aggregate=aggregate,
        payers=None if arguments.payers is None else load_payers(arguments.payers),
        totals=None if totals_file is None or before is None else ClaimTotals.load(totals_file), **columns,
    )  # fmt: skip
    present = read(claims, [], argument="claims").names
    ids = [columns.get(name, name) for name in ("order_id", "claim_id")]
    keep = arguments.keep or [name for name in ids if name in present]
    money = {name: settled.claims[name].to_numpy() for name in settled_names(settled)}
    found = kept_columns(claims, keep, argument="claims (--keep)")
    refuse_clash(keep, money, of="the settled claims", inside="claims")
    placed = staged(outputs, then=lambda: arguments.placed.extend(outputs))
    with replaced_once(totals_file, before), placed as parts:
        write_table(arrow_table(found | money), parts[0], name=arguments.out)
        if totals_file is not None:
            parts[1].write_bytes(totals_document(settled.totals))
    terms = [cover.cover for one in programmes_of(tariff) for cover in covers_of(one)]
    limited = aggregate is not None or any(one.aggregate is not None or one.max_claims is not None for one in terms)
    is_lost = totals_file is None and limited
    notes = [NEW_TOTALS, ""] if is_lost else []
    lines = [*_text.title_lines(tariff), *settled_lines(settled)]
    show_at_the_end([*lines, "", *notes, f"wrote {' and '.join(map(str, outputs))}"])


def _aggregate(arguments: argparse.Namespace) -> AggregateLimit | None:
    """Return the aggregate limit of the options; refuses a holder or a period without an amount."""
    by, period = arguments.by, arguments.period
    if arguments.aggregate is not None:
        period = {None: "month", "all": None}.get(period, period)
        return AggregateLimit(arguments.aggregate, by=by or "merchant", period=period)
    if by or period:
        raise InputError("--by and --period need --aggregate; give the limit in yuan, such as --aggregate 300.")
    return None


def _ledger(arguments: argparse.Namespace) -> None:
    where = arguments.ledger
    # A text that looks like an address may hold a password. It goes to `Ledger`, whose refusal does not repeat it.
    is_address = "://" in where or looks_like_an_address(where)
    if not is_address and not _check.path(where, argument="the ledger").is_file():
        raise InputError(f"there is no ledger '{where}'; freightrisk price --ledger makes one.")
    with opened(where) as ledger:
        if arguments.confirm is not None:
            ledger.confirm(arguments.confirm)
        if arguments.release is not None:
            ledger.release(arguments.release)
        if arguments.reverse is not None:
            reversed_ = ledger.reverse(arguments.reverse)
            orders = counted(reversed_["order_id"].nunique(), "order")
            show([f"given back {reversed_['fen'].sum():,} fen of {orders}", ""])
        batches, spending, funds = ledger.batches(), ledger.spending(), ledger.funds()
    number = f"{len(batches):,} {'batch' if len(batches) == 1 else 'batches'}"
    show([number + (", the last ones:" if len(batches) > BATCHES_SHOWN else "")])
    if len(batches):
        show(batches.tail(BATCHES_SHOWN).to_string().splitlines())
    show(["", counted(len(spending), "campaign")])
    if len(spending):
        show(spending.astype(object).where(spending.notna(), "").to_string().splitlines())
    if len(funds):
        show(["", counted(len(funds), "fund"), *funds.astype(object).where(funds.notna(), "").to_string().splitlines()])


def _explain(arguments: argparse.Namespace) -> None:
    if arguments.order_id is not None and arguments.orders is None:
        raise InputError("--order-id was given without --orders; name the file that holds the order.")
    tariff, columns, encoding = load_priced(arguments.tariff), _columns(arguments), arguments.encoding
    needed = [*map(ColumnNames.of(columns).of_role, tariff.columns_read)]
    if arguments.json is not None:
        order = _json_order(arguments.json)
    else:
        source = source_of(arguments.orders, "orders", encoding=encoding)
        key = columns.get("order_id", "order_id")
        order = row_with_id(source, key, arguments.order_id, argument="orders", needed=needed)
    merchants = arguments.merchants
    merchants = None if merchants is None else source_of(merchants, "merchants", encoding=encoding)
    if tariff.in_sequence:
        show(["The order is priced as the first of all: budgets and caps are full, and remainders are zero.", ""])
    tariff.explain(order, merchants=merchants, **columns)


def _json_order(text: str) -> dict[str, Any]:
    try:
        order: dict[str, Any] = json_document(text.encode(), dict[str, str | int | float | bool | None])
        return order
    except (msgspec.DecodeError, InputError) as error:
        raise InputError(
            f"--json is not one order: {error}; give an object of column and value such as "
            '\'{"channel": "search", "price": 59.9}\'.'
        ) from None
