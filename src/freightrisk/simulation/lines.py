"""Order lines: what each is worth, and which of them come back."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from freightrisk.simulation.catalogue import LINE_SHARES
from freightrisk.simulation.draws import Draws
from freightrisk.simulation.orders import Codes, Floats

LINES_AT_MOST = len(LINE_SHARES)
VALUE_SIGMA = 0.5  # of the log of a further line's value around the price of the order


@dataclass(frozen=True, eq=False)
class Lines:
    """The lines of all orders, flat: the row of each line's order, its number in the order, and its place for draws."""

    row: Codes
    number: Codes

    @property
    def place(self) -> Codes:
        """The place of each line in its sequence of draws, which does not depend on other orders' lines."""
        return self.row * LINES_AT_MOST + self.number

    def some(self, which: Codes | NDArray[np.bool_]) -> "Lines":
        """Return some of the lines."""
        return Lines(self.row[which], self.number[which])


def lines_of(n_lines: Codes) -> Lines:
    """Return the lines of orders with these numbers of lines."""
    row = np.repeat(np.arange(len(n_lines)), n_lines)
    start = np.cumsum(n_lines, dtype=np.int64) - n_lines
    return Lines(row, np.arange(len(row)) - start[row])


def line_values(draws: Draws, lines: Lines, price: Floats) -> Floats:
    """Return the value of each line, yuan: the first has the price of the order, the others are lognormal around it."""
    value = price[lines.row]
    more = np.flatnonzero(lines.number > 0)
    value[more] *= np.exp(VALUE_SIGMA * draws.normal("value", lines.place[more]))
    return np.maximum(np.round(value, 2), 0.01)


def draw_returns(draws: Draws, lines: Lines, probability: Floats, *, correlation: float) -> NDArray[np.bool_]:
    """Return which lines come back: the lines of an order are exchangeable, and their number is beta-binomial.

    A Polya urn draws them without a beta variate: if ``c`` of the ``k`` lines before it came back, a line comes back
    with probability ``(p (1 - r) + r c) / (1 - r + r k)`` (Johnson, Kemp and Kotz 2005, section 6.2.3).
    """
    back = np.zeros(len(lines.row), dtype=bool)
    before = np.zeros(len(probability))
    for k in range(LINES_AT_MOST):
        at = np.flatnonzero(lines.number == k)
        row = lines.row[at]
        chance = (probability[row] * (1.0 - correlation) + correlation * before[row]) / (
            1.0 - correlation + correlation * k
        )
        back[at] = draws.happens("returns", lines.place[at], np.where(probability[row] > 0.0, chance, 0.0))
        before[row] += back[at]
    return back


def line_table(lines: Lines, order_id: Codes, value: Floats) -> pd.DataFrame:
    """Return the table of lines, without what came of them."""
    return pd.DataFrame(
        {"order_id": order_id[lines.row], "line_no": (lines.number + 1).astype(np.int8), "line_value": value}
    )
