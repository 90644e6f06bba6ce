"""Plots of a fit and of its calibration. They need matplotlib, the extra ``plots``."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check
from freightrisk._shown import repr_of
from freightrisk.book.codings import Coding
from freightrisk.book.factors import MISSING, Band, edge_text
from freightrisk.errors import InputError
from freightrisk.models.fitted import FittedModel
from freightrisk.models.fitted_effect import NORMAL_975

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["plot_actual_vs_expected", "plot_lift", "plot_relativities"]

MOST_LABELS = 45  # more labels than this do not fit on the axis
POINTS_A_CHARACTER = 5.5  # mean width of a character at matplotlib's default font size
TABLE_COLUMNS = ("group", "exposure", "actual", "expected", "ratio", "std_error")


def __dir__() -> list[str]:
    """Return the public names, so that completion shows nothing else."""
    return __all__


def plot_relativities(fitted: FittedModel, factor: str, ax: "Axes | None" = None) -> "Axes":
    """Return axes with the relativities of a factor, their 95 % intervals, and the exposure behind them.

    Bands keep their order. Levels of other factors are sorted by relativity, lowest first. The reference level is drawn
    hollow. The scale is logarithmic, so equal distances are equal percentages.

    Parameters
    ----------
    fitted : FittedModel
    factor : str
        Name of one of the model's factors.
    ax : matplotlib Axes, optional
        Axes to draw on; a new figure by default.

    Returns
    -------
    matplotlib Axes
        The axes of the relativities. The axes of the exposure bars lie behind them.

    Raises
    ------
    InputError
        If the model has no such factor.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import pandas as pd
    >>> from freightrisk import Factor, FrequencyModel, OrderBook
    >>> from freightrisk.plots import plot_relativities
    >>> cells = pd.DataFrame({"channel": ["shelf", "live"], "orders": [1000.0, 500.0], "claims": [20, 40]})
    >>> book = OrderBook.from_counts(cells, claims="claims", exposure="orders", factors=[Factor("channel")])
    >>> frequency = FrequencyModel().fit(book)
    >>> ax = plot_relativities(frequency, "channel")  # doctest: +SKIP
    """
    if factor not in fitted.codings:
        raise InputError(
            f"factor is {repr_of(factor)}; the model has {', '.join(fitted.codings) or 'no factors'}; name one of them."
        )
    ax = _axes(ax)
    coding = fitted.codings[factor]
    table = fitted.relativities.query("factor == @factor")
    labels = table["level"].to_numpy()
    if isinstance(coding, Coding):
        labels = np.array([_short_label(coding, code) for code in range(len(table))])
    banded = isinstance(coding, Coding) and isinstance(coding.declared, Band)
    by_size = np.arange(len(table)) if banded else np.argsort(table["relativity"].to_numpy(), kind="stable")
    table, labels = table.iloc[by_size], labels[by_size]
    unit = "claims" if fitted.kind == "severity" else "orders"
    _exposure_bars(ax, table["exposure"].to_numpy(), f"exposure ({unit})")
    relativity, known = table["relativity"].to_numpy(), np.isfinite(table["std_error"].to_numpy())
    bounds = [relativity - table["lower"].to_numpy(), table["upper"].to_numpy() - relativity]
    _points(ax, relativity, np.where(known, bounds, np.nan), hollow=by_size == fitted.references.get(factor, -1))
    ax.set_yscale("log")
    _plain_log_ticks(ax)
    _group_labels(ax, labels, factor)
    ax.set_ylabel("relativity, 95 % interval")
    ax.set_title(f"{fitted.kind} by {factor}")
    return ax


def plot_actual_vs_expected(table: "pd.DataFrame", ax: "Axes | None" = None) -> "Axes":
    """Return axes with actual over expected by group, its 95 % interval, and the exposure behind it.

    Parameters
    ----------
    table : DataFrame
        Result of `freightrisk.actual_vs_expected`. Its `std_error` assumes Poisson counts; for amounts, replace it by
        your own.
    ax : matplotlib Axes, optional
        Axes to draw on; a new figure by default.

    Returns
    -------
    matplotlib Axes
        The axes of the ratios. The axes of the exposure bars lie behind them.

    Raises
    ------
    InputError
        If a column of the table is missing.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> from freightrisk import actual_vs_expected
    >>> from freightrisk.plots import plot_actual_vs_expected
    >>> table = actual_vs_expected([3.0, 9.0, 14.0, 21.0], [4.0, 8.0, 15.0, 20.0], n_groups=2)
    >>> ax = plot_actual_vs_expected(table)  # doctest: +SKIP
    """
    _check_table(table)
    ax = _axes(ax)
    _exposure_bars(ax, table["exposure"].to_numpy(), "exposure")
    reach = NORMAL_975 * table["std_error"].to_numpy()
    _points(ax, table["ratio"].to_numpy(), np.stack([reach, reach]))
    _group_labels(ax, table["group"].astype(str).to_numpy(), "group")
    ax.set_ylabel("actual / expected, 95 % interval")
    ax.set_title("Actual over expected")
    return ax


def plot_lift(table: "pd.DataFrame", ax: "Axes | None" = None) -> "Axes":
    """Return axes with actual and expected per unit of exposure by group, which show how well the model ranks risks.

    Parameters
    ----------
    table : DataFrame
        Result of `freightrisk.actual_vs_expected`, with groups in order of rising expectation.
    ax : matplotlib Axes, optional
        Axes to draw on; a new figure by default.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InputError
        If a column of the table is missing.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> from freightrisk import actual_vs_expected
    >>> from freightrisk.plots import plot_lift
    >>> ax = plot_lift(actual_vs_expected([3.0, 9.0], [4.0, 8.0], n_groups=2))  # doctest: +SKIP
    """
    _check_table(table)
    ax = _axes(ax)
    exposure, place = table["exposure"].to_numpy(), np.arange(len(table))
    ax.plot(place, table["expected"].to_numpy() / exposure, "--", color="0.4", label="expected")
    ax.plot(place, table["actual"].to_numpy() / exposure, "o-", color="C0", label="actual")
    ax.set_ylim(bottom=0.0)
    _group_labels(ax, table["group"].astype(str).to_numpy(), "group")
    ax.set_ylabel("mean per unit of exposure")
    ax.set_title("Lift")
    ax.legend(loc="upper left")
    return ax


def _check_table(table: "pd.DataFrame") -> None:
    if not hasattr(table, "columns"):
        raise InputError(f"table is a {type(table).__name__}; give the result of actual_vs_expected(actual, expected).")
    _check.columns_present(TABLE_COLUMNS, list(table.columns), argument="table")


def _axes(ax: "Axes | None") -> "Axes":
    """Return the given axes, or the axes of a new figure."""
    try:
        from matplotlib import pyplot as plt
    except ImportError as error:
        raise ImportError(
            "plots need matplotlib, which is not installed; install it with: pip install 'freightrisk[plots]'"
        ) from error
    return plt.subplots(figsize=(8, 4.5), layout="constrained")[1] if ax is None else ax


def _exposure_bars(ax: "Axes", exposure: NDArray[np.float64], label: str) -> None:
    """Draw exposure as grey bars in the background, in the lower third of the plot."""
    behind = ax.twinx()
    behind.bar(np.arange(len(exposure)), exposure, color="0.88", width=0.8)
    behind.set_ylim(0.0, 3.0 * float(exposure.max(initial=0.0)) or 1.0)
    behind.set_ylabel(label, color="0.45")
    behind.tick_params(axis="y", colors="0.45")
    behind.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    # A twin axes is drawn on top by default; the points must be above the bars.
    ax.set_zorder(behind.get_zorder() + 1)
    ax.patch.set_visible(False)


def _points(
    ax: "Axes",
    values: NDArray[np.float64],
    reach: NDArray[np.float64],
    *,
    hollow: NDArray[np.bool_] | None = None,
) -> None:
    """Draw a point and its interval for each group, and a horizontal line at 1."""
    place, size = np.arange(len(values)), 5.0 if len(values) <= MOST_LABELS else 2.5
    ax.axhline(1.0, color="0.4", linewidth=1.0)
    ax.errorbar(place, values, yerr=reach, fmt="o", color="C0", markersize=size, elinewidth=size / 4)
    if hollow is not None:
        ax.plot(place[hollow], values[hollow], "o", color="C0", mfc="white", markersize=size + 1, zorder=5)


def _group_labels(ax: "Axes", labels: Sequence[str] | NDArray[np.str_], what: str) -> None:
    """Label the groups below the axis: rotated if labels are too long, no labels if there are too many groups."""
    if len(labels) > MOST_LABELS:
        ax.set_xticks([])
        ax.set_xlabel(f"{what}: {len(labels)} levels, lowest first")
        return
    # Width of the axes in points, 72 to the inch.
    width = ax.get_window_extent().width * 72.0 / ax.get_figure(root=True).dpi  # type: ignore[union-attr]
    longest = max((len(label) for label in labels), default=0) + 1
    crowded = longest * len(labels) * POINTS_A_CHARACTER > width
    ax.set_xticks(np.arange(len(labels)), list(labels), rotation=90 if crowded else 0)
    ax.set_xlabel(what)


def _short_label(coding: Coding, code: int) -> str:
    """Return the label of a slot; a band is labelled without brackets."""
    if not isinstance(coding.declared, Band) or code >= coding.n_levels or coding.paths[code] == (MISSING,):
        return coding.slot_label(code)
    edges = coding.edges
    if not edges:
        return "all"
    if code == 0:
        return f"≤ {edge_text(edges[0])}"
    low = edge_text(edges[code - 1])
    return f"{low}–{edge_text(edges[code])}" if code < len(edges) else f"> {low}"


def _plain_log_ticks(ax: "Axes") -> None:
    """Label a logarithmic axis of relativities with plain numbers, whether it spans 10 % or three decades."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    low, high = ax.get_ylim()
    ax.yaxis.set_major_locator(MaxNLocator(7, steps=(1, 2, 5, 10)) if high / low < 5.0 else LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
