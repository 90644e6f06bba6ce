"""The output of the command line as lines of text: aligned tables of fits, relativities, quotes and checks."""

import io
import os
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from freightrisk._config import FitPlan, Fitted
from freightrisk._shown import shown
from freightrisk.book.book import OrderBook
from freightrisk.book.factors import OTHER
from freightrisk.models.fitted import FittedModel
from freightrisk.programme.fee import MERCHANT
from freightrisk.programme.priced import PricedBy, TariffOrProgramme, covers_of, fees_of, payers_of, programmes_of
from freightrisk.programme.programme import Programme
from freightrisk.programme.settled import SettledClaims
from freightrisk.programme.version_pricing import ENROLLED, VERSION
from freightrisk.programme.versions import Versions
from freightrisk.tariff.tariff import Tariff

if TYPE_CHECKING:
    import pandas as pd

WIDTH = 100
LABEL_WIDTH = 30
LEFT_OUT = {
    "not_shipped": "orders not shipped",
    "shipped_after_as_of": "orders shipped later",
    "claims_after_as_of": "claims reported later",
}
SHOWN_LEVELS = 12
LONG_FACTOR_LEVELS = 6

Lines = list[str]
Quotes = Mapping[str, NDArray[Any]]


def show(lines: Iterable[str]) -> None:
    """Print and flush lines, with control characters as escapes, so that no name breaks its line."""
    sys.stdout.write("\n".join(map(shown, lines)) + "\n")
    sys.stdout.flush()


def show_at_the_end(lines: Iterable[str]) -> None:
    """Print the last lines of a finished run; a closed output is no error, because the files are in place."""
    try:
        show(lines)
    except OSError:
        silence()


def silence() -> None:
    """Send standard output nowhere, because flushing its buffer at exit would fail again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, sys.stdout.fileno())
    except (OSError, ValueError):  # standard output is not a file, or is closed
        sys.stdout = io.StringIO()
    finally:
        os.close(nowhere)


def open_streams() -> None:
    """Escape characters that the terminal cannot encode; give a process without streams empty ones."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # a process without a console, such as pythonw
            setattr(sys, name, io.StringIO())
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def aligned(rows: Sequence[Sequence[str]], *, indent: int = 2, gap: int = 3) -> Lines:
    """Return rows of cells as lines, the first column flush left and the others flush right."""
    rows = [[shown(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *rest in rows:
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        lines.append((" " * indent + (" " * gap).join(cells)).rstrip())
    return lines


def heading(title: str) -> Lines:
    """Return an empty line, the title, and a rule."""
    return ["", title, "-" * len(title)]


def wrapped(text: str) -> Lines:
    """Return a text broken at the page width, with its continuation lines indented."""
    return textwrap.wrap(shown(text), WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def percent(share: float) -> str:
    """Return a share as "12.3 %"."""
    return f"{100.0 * share:.1f} %"


def yuan(fen: float) -> str:
    """Return fen as yuan with two decimals."""
    return f"{fen / 100:,.2f}"


def book_lines(book: OrderBook) -> Lines:
    """Return the numbers of orders and claims in the book, and the numbers left out."""
    left_out = ", ".join(f"{count:,} {LEFT_OUT.get(reason, reason)}" for reason, count in book.left_out.items())
    valued = "" if book.as_of is None else f", as of {book.as_of}"
    return [
        *wrapped(f"book: {book.n_orders:,} orders in force, {book.n_claims:,} claims{valued}"),
        *(wrapped(f"left out: {left_out}") if left_out else []),
    ]


def summary_lines(model: FittedModel, *, rows: str) -> Lines:
    """Return the summary of a fit, broken at the page width."""
    first, *rest = repr(model).splitlines()
    return [f"{first}, on {rows}", *(line for text in rest for line in wrapped("  " + text))]


def fit_lines(plan: FitPlan, book: OrderBook, fitted: Fitted) -> Lines:
    """Return the summaries of both models and of the rows behind them."""

    def rows(age_days: int) -> str:
        return f"orders {age_days} days old or more" if age_days else "all orders"

    return [
        *book_lines(book),
        "",
        *summary_lines(fitted.frequency, rows=rows(plan.frequency.min_age_days)),
        *summary_lines(fitted.severity, rows="the claims of " + rows(plan.severity.min_age_days)),
    ]


def relativity_lines(frequency: FittedModel, severity: FittedModel) -> Lines:
    """Return the relativities of both models; of a long factor, only the levels with the most exposure."""
    head = ["factor / level", "orders", "claims", "frequency", "95 % interval", "severity", "95 % interval"]
    rows: list[list[str]] = [head]
    for name in dict.fromkeys([*frequency.tables, *severity.tables]):
        rows += _factor_rows(name, frequency, severity)
    return [
        f"base {frequency.base:.4g} claims an order, {severity.base:.2f} yuan a claim, where every relativity is 1",
        "",
        *aligned(rows, gap=2),
    ]


def _factor_rows(name: str, frequency: FittedModel, severity: FittedModel) -> list[list[str]]:
    home = frequency if name in frequency.tables else severity
    pairs = home.kinds[name] == "interaction"  # most pairs of levels may have no orders
    exposure = home.exposure[name][: home.codings[name].n_levels]
    chosen = np.flatnonzero(exposure > 0) if pairs else np.arange(len(exposure))
    n_levels = len(chosen)
    title = name
    if n_levels > SHOWN_LEVELS:
        chosen = np.argsort(-exposure, kind="stable")[:LONG_FACTOR_LEVELS]
        title = f"{name}: {LONG_FACTOR_LEVELS} largest of {n_levels}"
    rows = [[title, *[""] * 6]]
    for code in chosen.tolist():
        orders = f"{exposure[code]:,.0f}" if home is frequency else ""
        claims = f"{home.claims[name][code]:,.0f}"
        cells = [*_relativity(frequency, name, code), *_relativity(severity, name, code)]
        rows.append(["  " + _short(home.codings[name].slot_label(code)), orders, claims, *cells])
    return rows


def _relativity(model: FittedModel, name: str, code: int) -> list[str]:
    if name not in model.tables:
        return ["", ""]
    value, error = float(model.tables[name][code]), float(model.std_errors[name][code])
    if code == model.references.get(name):
        return ["1.000", "reference"]
    if not np.isfinite(error):
        return [f"{np.exp(value):.3f}", "no rows"]
    # The 95 % interval of docs/method.md after equation 7.
    low, high = np.exp(value - 1.96 * error), np.exp(value + 1.96 * error)
    return [f"{np.exp(value):.3f}", f"{low:.3f} to {high:.3f}"]


def _short(label: str) -> str:
    """Return a label that fits its column: the leaf of a path, or "(other)" with its parent."""
    parts = shown(label).split(" > ")
    short = " > ".join(parts[-2 if parts[-1] == OTHER else -1 :])
    return short if len(short) <= LABEL_WIDTH else ".." + short[-LABEL_WIDTH + 2 :]


def title_lines(tariff: PricedBy) -> Lines:
    """Return what a programme or versions consist of; a tariff has no title."""
    return [] if isinstance(tariff, Tariff) else [*wrapped(repr(tariff)), ""]


def quote_lines(tariff: PricedBy, quotes: Quotes) -> Lines:
    """Return the share of each payer in the list price, covers or versions, fees, and the distribution of prices."""
    if isinstance(tariff, Versions):
        enrolled = np.asarray(quotes[ENROLLED]).astype(np.bool_)
        more = _version_lines(tariff, quotes)
        quotes = {name: np.asarray(values)[enrolled] for name, values in quotes.items()}
    else:
        more = _cover_lines(tariff, quotes)
    totals = {name: _total(quotes[f"{name}_fen"]) for name in ("merchant", *payers_of(tariff))}
    n_orders, list_total = len(quotes["list_fen"]), _total(quotes["list_fen"])
    rows = [["who pays", "yuan", "share", "orders"]]
    for name, total in totals.items():
        paying = int((quotes[f"{name}_fen"] > 0).sum())
        rows.append([name, yuan(total), percent(total / max(list_total, 1)), f"{paying:,}"])
    paid = sum(totals.values())
    rows.append(["sum of payers", yuan(paid), percent(paid / max(list_total, 1)), ""])
    rows.append(["list total", yuan(list_total), "", f"{n_orders:,}"])
    lines = [*aligned(rows), f"  sum of payers less list total: {paid - list_total} fen", ""]
    return [*lines, *more, *_fee_lines(tariff, quotes), *_price_lines(quotes)]


def _total(fen: NDArray[Any]) -> int:
    return int(fen.sum(dtype=np.int64))


def _version_lines(versions: Versions, quotes: Quotes) -> Lines:
    """Return the orders and the money of each version, and the number of orders that were not priced."""
    rows = [["version", "orders", "list", "merchant"]]
    for one in versions.programmes:
        mine = np.asarray(quotes[VERSION] == one.version)
        listed, paid = (_total(quotes[name][mine]) for name in ("list_fen", "merchant_fen"))
        rows.append([one.name, f"{mine.sum():,}", yuan(listed), yuan(paid)])
    outside = int((~np.asarray(quotes[ENROLLED]).astype(np.bool_)).sum())
    return [*aligned([*rows, ["not enrolled", f"{outside:,}", "", ""]]), ""]


def _cover_lines(tariff: TariffOrProgramme, quotes: Quotes) -> Lines:
    """Return the expected claims and the premiums of each of several covers."""
    covers = covers_of(tariff)
    if len(covers) < 2:
        return []
    rows = [["cover", "expected claims", "pure premium", "technical premium"]]
    for cover in covers:
        claims, pure, technical = (
            float(quotes[f"{cover.name}: {name}"].sum())
            for name in ("expected_claims", "pure_premium", "technical_premium")
        )
        rows.append([cover.name, f"{claims:,.1f}", f"{pure:,.2f}", f"{technical:,.2f}"])
    sums = (float(quotes[name].sum()) for name in ("pure_premium", "technical_premium"))
    return [*aligned([*rows, ["all covers", "", *(f"{one:,.2f}" for one in sums)]]), ""]


def _fee_lines(tariff: PricedBy, quotes: Quotes) -> Lines:
    """Return the sum of each fee, and what merchants pay in total."""
    fees = _fees_owed(tariff, quotes)
    if not fees:
        return []
    rows = [["fee", "from", "to", "yuan", "orders"]]
    rows += [[*parties, yuan(fen), f"{orders:,}"] for parties, (fen, orders) in fees.items()]
    premium = _total(quotes["merchant_fen"])
    owed = sum(fen for (_, payer, _), (fen, _) in fees.items() if payer == MERCHANT)
    said = [["merchants pay", "yuan"], ["premium", yuan(premium)], ["fees", yuan(owed)]]
    said.append(["in total", yuan(premium + owed)])
    return [*aligned(rows), "", *aligned(said), ""]


def _fees_owed(tariff: PricedBy, quotes: Quotes) -> dict[tuple[str, str, str], tuple[int, int]]:
    """Return the fen and the number of orders of each fee, payer and payee; those of a fee may change by version."""
    owed: dict[tuple[str, str, str], tuple[int, int]] = {}
    for one in programmes_of(tariff):
        mine: Any = slice(None)
        if isinstance(tariff, Versions) and isinstance(one, Programme):
            mine = np.asarray(quotes[VERSION] == one.version)
        for fee in fees_of(one):
            fen, parties = quotes[f"fee: {fee.name}"][mine], (fee.name, fee.payer, fee.payee)
            was = owed.get(parties, (0, 0))
            owed[parties] = was[0] + _total(fen), was[1] + int((fen > 0).sum())
    return owed


def settled_lines(settled: SettledClaims) -> Lines:
    """Return the share of each payer and of the buyer in the freight, and the claims and money by reason."""
    payers = settled.by_payer()
    freight = int(settled.by_reason()["freight_fen"].sum())
    rows = [["who pays", "yuan", "share", "claims"]]
    for row in payers.itertuples():
        rows.append([row.payer, yuan(row.fen), percent(row.fen / max(freight, 1)), f"{row.claims:,}"])
    total = int(payers["fen"].sum())
    rows.append(["freight of all claims", yuan(freight), "", ""])
    said = [["decision", "reason", "claims", "freight", "paid"]]
    for row in settled.by_reason().itertuples():
        said.append([row.decision, row.reason, f"{row.claims:,}", yuan(row.freight_fen), yuan(row.paid_fen)])
    lines = [*aligned(rows), f"  sum of payers less freight: {total - freight} fen", "", *aligned(said)]
    return [*lines, "", *_by_cover(settled), *aligned(_flagged(settled))]


def _by_cover(settled: SettledClaims) -> Lines:
    """Return the claims and the money of each of several covers."""
    rows = [
        [row.cover, f"{row.claims:,}", yuan(row.freight_fen), yuan(row.paid_fen)]
        for row in settled.by_cover().itertuples()
    ]
    return [*aligned([["cover", "claims", "freight", "paid"], *rows]), ""] if rows else []


def _flagged(settled: SettledClaims) -> list[list[str]]:
    """Return the number of claims with each flag, and their share."""
    said = {
        "the limit reduced the payment": "limit_bound",
        "the aggregate limit reduced the payment": "aggregate_bound",
        "limits of the deciding priority differ": "limit_conflict",
    }
    hits = {what: np.asarray(settled.claims[name].to_numpy()) for what, name in said.items()}
    rows = [[what, f"{hit.sum():,}", percent(hit.sum() / max(len(hit), 1))] for what, hit in hits.items()]
    return [["claims where", "claims", "share"], *rows]


def _price_lines(quotes: Quotes) -> Lines:
    n_orders = max(len(quotes["list_fen"]), 1)
    rows = [["yuan an order", "mean", "least", "median", "most"]]
    said = {"list price": "list_fen", "merchant pays": "merchant_fen", "with fees": "merchant_total_fen"}
    for what, name in said.items():
        fen = quotes.get(name)
        if fen is not None and len(fen):
            rows.append([what, *(yuan(value) for value in (fen.mean(), fen.min(), np.median(fen), fen.max()))])
    counts = {
        "the merchant pays 0.01 yuan": quotes["merchant_fen"] == 1,
        "the list price is 0.01 yuan": quotes["list_fen"] == 1,
        "the floor raised the list price or was reached by subsidies": quotes["floor_bound"],
        "limits or terms of the cover take over 1 % off the payout": quotes["limit_bound"],
        "a level was not in the book of the fit": quotes["unseen_level"],
    }
    if "limit_conflict" in quotes:
        counts["limits of the deciding priority differ"] = quotes["limit_conflict"]
    shares = [["orders where", "orders", "share"]]
    shares += [[what, f"{hit.sum():,}", percent(hit.sum() / n_orders)] for what, hit in counts.items()]
    return [*aligned(rows), "", *aligned(shares)]


def calibration_lines(table: "pd.DataFrame", total_error: float) -> Lines:
    """Return actual over expected claims by decile of the expected, and in total."""
    head = ["decile", "orders", "claims", "expected", "A/E", "std error", "by merchant", "claims an order", "expected"]
    total = table[["exposure", "actual", "expected"]].sum()
    # A Poisson count with mean E has standard deviation sqrt(E), so A/E has standard error 1 / sqrt(E).
    total["ratio"], total["std_error"] = total.actual / total.expected, total.expected**-0.5
    total["std_error_by_merchant"] = total_error
    rows = [(f"{row.group}", row) for row in table.itertuples()] + [("all", total)]
    return aligned([head, *(_calibration_row(name, row) for name, row in rows)])


def _calibration_row(name: str, row: Any) -> list[str]:
    return [
        name,
        f"{row.exposure:,.0f}",
        f"{row.actual:,.0f}",
        f"{row.expected:,.1f}",
        f"{row.ratio:.3f}",
        f"{row.std_error:.3f}",
        f"{row.std_error_by_merchant:.3f}",
        f"{row.actual / row.exposure:.4f}",
        f"{row.expected / row.exposure:.4f}",
    ]
