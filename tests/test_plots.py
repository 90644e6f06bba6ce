import doctest
import sys

import numpy as np
import pandas as pd
import pytest

from freightrisk import Band, Factor, FrequencyModel, InputError, OrderBook, SeverityModel, actual_vs_expected

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

from matplotlib import pyplot as plt  # noqa: E402

from freightrisk import plots  # noqa: E402


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def book():
    cells = pd.DataFrame(
        {
            "channel": ["shelf", "live", "deal", "shelf", "live", "deal"],
            "price": [10.0, 10.0, 10.0, 80.0, 80.0, np.nan],
            "orders": [5000.0, 900.0, 700.0, 6000.0, 800.0, 300.0],
            "claims": [200, 90, 21, 300, 100, 12],
            "freight": [1600.0, 730.0, 160.0, 2500.0, 820.0, 95.0],
        }
    )
    factors = [Factor("channel"), Band("price", [20.0, 50.0], missing="level")]
    return OrderBook.from_counts(cells, claims="claims", amount="freight", exposure="orders", factors=factors)


@pytest.fixture(scope="module")
def frequency(book):
    return FrequencyModel().fit(book)


def bars_behind(ax):
    (behind,) = (other for other in ax.figure.axes if other is not ax and other.bbox.bounds == ax.bbox.bounds)
    return behind, [bar.get_height() for bar in behind.patches]


def interval_ends(ax):
    (container,) = ax.containers
    (lines,) = container[2]
    return np.array([path.vertices[:, 1] for path in lines.get_paths()])


def point_heights(ax):
    return np.asarray(ax.containers[0][0].get_ydata())


def labels_below(ax):
    return [label.get_text() for label in ax.get_xticklabels()]


def test_relativities_of_levels_stand_from_the_lowest_with_their_intervals_and_exposure(frequency):
    ax = plots.plot_relativities(frequency, "channel")
    rows = frequency.relativities.query("factor == 'channel'").sort_values("relativity")
    assert labels_below(ax) == rows["level"].tolist()
    np.testing.assert_array_equal(point_heights(ax), rows["relativity"])
    np.testing.assert_allclose(interval_ends(ax), rows[["lower", "upper"]], rtol=1e-14)
    assert bars_behind(ax)[1] == rows["exposure"].tolist() == [1000.0, 11000.0, 1700.0]
    assert bars_behind(ax)[0].get_ylabel() == "exposure (orders)"
    assert ax.get_yscale() == "log"


def test_bands_keep_their_order_and_read_without_brackets(frequency):
    ax = plots.plot_relativities(frequency, "price")
    rows = frequency.relativities.query("factor == 'price'")
    assert rows["level"].tolist() == ["(-inf, 20]", "(20, inf)", "(missing)"]
    assert labels_below(ax) == ["≤ 20", "> 20", "(missing)"]
    np.testing.assert_array_equal(point_heights(ax), rows["relativity"])


def test_inner_bands_name_both_edges():
    cells = pd.DataFrame({"price": [10.0, 30.0, 70.0], "claims": [3, 4, 5]})
    book = OrderBook.from_counts(cells, claims="claims", factors=[Band("price", [20, 50.5])])
    assert labels_below(plots.plot_relativities(FrequencyModel().fit(book), "price")) == ["≤ 20", "20–50.5", "> 50.5"]


def test_the_reference_level_is_hollow_and_stands_at_one(frequency):
    ax = plots.plot_relativities(frequency, "channel")
    (hollow,) = (line for line in ax.lines if line.get_markerfacecolor() == "white")
    assert labels_below(ax)[int(hollow.get_xdata()[0])] == "shelf"
    assert hollow.get_ydata().tolist() == [1.0]


def test_exposure_of_a_severity_is_claims(book):
    severity = SeverityModel(["channel"]).fit(book)
    behind, heights = bars_behind(plots.plot_relativities(severity, "channel"))
    assert behind.get_ylabel() == "exposure (claims)"
    assert sorted(heights) == [33.0, 190.0, 500.0]


def test_a_level_without_rows_has_no_interval(book):
    fitted = FrequencyModel(["channel"]).fit(book.select(book.codes["channel"] != 0))
    ax = plots.plot_relativities(fitted, "channel")
    ends = dict(zip(labels_below(ax), interval_ends(ax), strict=True))
    assert np.isnan(ends["deal"]).all()
    assert np.isfinite([ends["live"], ends["shelf"]]).all()


def test_many_levels_are_counted_not_named():
    n = plots.MOST_LABELS + 1
    cells = pd.DataFrame({"leaf": [f"leaf {k}" for k in range(n)], "claims": np.arange(1, n + 1)})
    fitted = FrequencyModel().fit(OrderBook.from_counts(cells, claims="claims", factors=[Factor("leaf")]))
    ax = plots.plot_relativities(fitted, "leaf")
    assert labels_below(ax) == []
    assert ax.get_xlabel() == f"leaf: {n} levels, lowest first"
    assert np.all(np.diff(point_heights(ax)) > 0)


def test_long_labels_stand_upright():
    cells = pd.DataFrame({"goods": [f"{'word ' * 6}{k}" for k in range(8)], "claims": 5})
    fitted = FrequencyModel().fit(OrderBook.from_counts(cells, claims="claims", factors=[Factor("goods")]))
    assert {label.get_rotation() for label in plots.plot_relativities(fitted, "goods").get_xticklabels()} == {90.0}


@pytest.fixture
def table():
    actual = np.array([1.0, 0.0, 2.0, 1.0, 3.0, 1.0])
    expected = np.array([0.5, 0.5, 1.0, 2.0, 2.0, 2.5])
    return actual_vs_expected(actual, expected, weight=[2, 1, 1, 1, 1, 1], by=["a", "a", "b", "b", "c", "c"])


def test_actual_vs_expected_draws_the_ratios_their_intervals_and_the_exposure(table):
    ax = plots.plot_actual_vs_expected(table)
    assert labels_below(ax) == ["a", "b", "c"]
    np.testing.assert_array_equal(point_heights(ax), [1.0, 1.0, 4.0 / 4.5])
    reach = 1.959963984540054 / np.sqrt([1.0, 3.0, 4.5])
    ratio = table["ratio"].to_numpy()
    np.testing.assert_allclose(interval_ends(ax), np.stack([ratio - reach, ratio + reach], axis=1), rtol=1e-14)
    assert bars_behind(ax)[1] == [3.0, 2.0, 2.0]


def test_lift_draws_means_per_exposure(table):
    ax = plots.plot_lift(table)
    heights = {line.get_label(): line.get_ydata().tolist() for line in ax.lines}
    assert heights == {"expected": [1 / 3, 1.5, 2.25], "actual": [1 / 3, 1.5, 2.0]}
    assert ax.get_ylim()[0] == 0.0


@pytest.mark.parametrize("draw", [plots.plot_actual_vs_expected, plots.plot_lift])
def test_plots_draw_on_the_axes_they_are_given(draw, table, frequency):
    _, (left, right) = plt.subplots(1, 2)
    assert draw(table, left) is left
    assert plots.plot_relativities(frequency, "price", right) is right
    assert plt.get_fignums() == [1]


def test_the_bars_lie_behind_the_points(frequency):
    ax = plots.plot_relativities(frequency, "price")
    behind, heights = bars_behind(ax)
    assert behind.get_zorder() < ax.get_zorder()
    assert not ax.patch.get_visible()
    assert max(heights) * 3.0 == pytest.approx(behind.get_ylim()[1], rel=1e-15)


def test_unknown_factor_is_refused_with_those_there_are(frequency):
    with pytest.raises(InputError, match="'colour'; the model has channel, price; name one of them"):
        plots.plot_relativities(frequency, "colour")


@pytest.mark.parametrize("draw", [plots.plot_actual_vs_expected, plots.plot_lift])
def test_a_table_without_its_columns_is_refused(draw, table):
    with pytest.raises(InputError, match="missing columns 'ratio', 'std_error'"):
        draw(table.drop(columns=["ratio", "std_error"]))


def test_without_matplotlib_the_error_names_the_extra(monkeypatch, frequency):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'freightrisk\[plots\]'"):
        plots.plot_relativities(frequency, "price")


@pytest.mark.parametrize("name", plots.__all__)
def test_the_examples_run(name):
    found = doctest.DocTestParser().get_doctest(getattr(plots, name).__doc__, {}, name, None, 0)
    assert found.examples
    for example in found.examples:
        example.options.pop(doctest.SKIP, None)
    assert doctest.DocTestRunner(verbose=False).run(found).failed == 0
