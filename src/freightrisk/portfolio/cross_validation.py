"""Cross-validation: a model fitted to some of a book's orders and checked on the others, fold by fold."""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from freightrisk import _check
from freightrisk._progress import progress_bar
from freightrisk._shown import counted, repr_of
from freightrisk.book.book import OrderBook, check_book
from freightrisk.errors import FreightRiskError, InputError
from freightrisk.models.fitted import FittedModel
from freightrisk.models.frequency import FrequencyModel
from freightrisk.models.pure_premium import PurePremiumModel
from freightrisk.models.severity import SeverityModel
from freightrisk.models.solver import DEFAULT, Solver

if TYPE_CHECKING:
    import pandas as pd

Model: TypeAlias = FrequencyModel | SeverityModel | PurePremiumModel
MODELS = (FrequencyModel, SeverityModel, PurePremiumModel)
NAMES = dict(zip(("frequency", "severity", "pure premium"), (model.__name__ for model in MODELS), strict=True))
SHIP_MONTH = "ship_month"
MOST_FOLDS = 10_000
SEED = 0  # of random folds without a generator, so that the same call always has the same folds


class Fold(NamedTuple):
    """One fold: its name, and whether each order is fitted or tested; an order may be neither."""

    name: Any
    train: NDArray[np.bool_]
    test: NDArray[np.bool_]


def cross_validate(
    model: Model,
    book: OrderBook,
    *,
    by: Any = 5,
    train: str | None = None,
    rng: np.random.Generator | None = None,
    offset: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    solver: Solver = DEFAULT,
    progress: bool = False,
) -> "pd.DataFrame":
    """Return how well a model describes orders that were held out of its fit, a row for each fold.

    Parameters
    ----------
    model : FrequencyModel, SeverityModel or PurePremiumModel
    book : OrderBook
    by : int, "ship_month" or array, shape (n_orders,)
        The folds: a number of random folds of equal size, the months of shipment, or a group for each order, such as
        its merchant (`OrderBook.align` takes a column of the orders). Groups have the order of their values, and those
        of an ordered categorical the order of its categories.
    train : {"earlier", "others"}, optional
        The orders to which the model of a fold is fitted: those of earlier groups only, or those of all other groups.
        With "earlier" the first group is never tested. By default "earlier" for months, and otherwise "others".
    rng : numpy.random.Generator, optional
        Draws random folds; by default, a generator with seed 0.
    offset, weight : array, optional
        As for the model's fit, for the whole book.
    solver : Solver
        As for the model's fit. The result does not depend on the number of threads.
    progress : bool
        Show a progress bar.

    Returns
    -------
    pandas.DataFrame
        fold (its number, month or group); train_rows and test_rows (orders, or records of claims for a severity);
        mean_deviance of the tested rows, and mean_null_deviance of the mean of the fitted rows; explained, one less
        their ratio; log_likelihood of the tested rows; actual, expected and ratio (claims, or yuan). A beta-binomial
        has no deviance, so these columns are nan.

    Raises
    ------
    InputError
        If the folds are fewer than two, a group is missing, or a fold has nothing to test.
    FitError
        If the fit of a fold fails. The message begins with the name of the fold.

    Notes
    -----
    Levels are those of the book. A level that only tested orders have takes the fallback of its factor: the rate of its
    parent. Claims are those that the book knows on its valuation date, also for the months that are fitted. If the last
    months are young, leave them out (`OrderBook.mature`), or give the offset of a `ReportLag`.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from freightrisk import Factor, FrequencyModel, OrderBook, cross_validate
    >>> cells = pd.DataFrame({"channel": ["shelf", "live"] * 50, "claims": [1, 2, 0, 3] * 25})
    >>> book = OrderBook.from_counts(cells, claims="claims", factors=[Factor("channel")])
    >>> folds = cross_validate(FrequencyModel(), book, by=np.arange(100) // 50)
    >>> folds[["fold", "train_rows", "test_rows", "actual", "ratio"]].round(2).values.tolist()
    [[0.0, 50.0, 50.0, 75.0, 1.0], [1.0, 50.0, 50.0, 75.0, 1.0]]
    """
    import pandas as pd

    check_book(book)
    if isinstance(model, FittedModel):
        raise InputError(
            f"model is a fitted {model.kind} model, but every fold needs a fit of its own; give the model "
            f"before its fit, such as {NAMES[model.kind]}(...)."
        )
    if not isinstance(model, MODELS):
        raise InputError(f"model is {repr_of(model)}; give a FrequencyModel, a SeverityModel or a PurePremiumModel.")
    _check.instance(solver, Solver, argument="solver")
    progress = _check.flag(progress, argument="progress")
    columns = {"offset": offset, "weight": weight}
    n_rows = len(book.claim_row) if isinstance(model, SeverityModel) else book.n_orders
    known = {
        name: _check.real_array(values, argument=name, length=n_rows)
        for name, values in columns.items()
        if values is not None
    }
    folds = [*_folds(book, by, train, rng)]
    rows = []
    with progress_bar(sum(int(fold.test.sum()) for fold in folds), "checking") if progress else nullcontext() as bar:
        for fold in folds:
            rows.append(_checked(model, book, fold, known, solver))
            if bar is not None:
                bar.update(int(fold.test.sum()))
    return pd.DataFrame(rows)


def _checked(
    model: Model, book: OrderBook, fold: Fold, known: dict[str, NDArray[np.float64]], solver: Solver
) -> dict[str, Any]:
    """Return the row of one fold."""
    of_claims = isinstance(model, SeverityModel)

    def part(rows: NDArray[np.bool_]) -> dict[str, NDArray[np.float64]]:
        mine = rows[book.claim_row] if of_claims else rows
        return {name: values[mine] for name, values in known.items()}

    try:
        fitted = model.fit(book.select(fold.train), solver=solver, **part(fold.train))
        found = fitted.evaluate(book.select(fold.test), threads=solver.n_threads, **part(fold.test))
    except FreightRiskError as error:
        raise type(error)(f"fold {fold.name} (fitted to {counted(int(fold.train.sum()), 'order')}): {error}") from error
    return {
        "fold": fold.name,
        "train_rows": fitted.n_rows,
        "test_rows": found.rows,
        "mean_deviance": found.mean_deviance,
        "mean_null_deviance": found.mean_null_deviance,
        "explained": found.explained,
        "log_likelihood": found.log_likelihood,
        "actual": found.actual,
        "expected": found.expected,
        "ratio": found.ratio,
    }


def _folds(book: OrderBook, by: Any, train: str | None, rng: np.random.Generator | None) -> Iterator[Fold]:
    """Yield the folds in the order of their groups."""
    by_month = isinstance(by, str) and by == SHIP_MONTH
    if train is not None:
        _check.one_of(train, ("earlier", "others"), argument="train")
    is_random = isinstance(by, (int, np.integer)) and not isinstance(by, bool)
    if rng is not None:
        _check.instance(rng, np.random.Generator, argument="rng")
        if not is_random:
            raise InputError("rng is given, but by names the groups; leave rng out, or give by= a number of folds.")
    if is_random and train == "earlier":
        raise InputError("train is 'earlier', but random folds have no order; give by='ship_month' or groups.")
    group, names = _random_groups(book, by, rng) if is_random else _groups(book, by)
    if len(names) < 2:
        raise InputError(f"by has {counted(len(names), 'group')}; cross-validation needs two or more.")
    earlier = by_month if train is None else train == "earlier"
    for k in range(int(earlier), len(names)):
        yield Fold(names[k], group < k if earlier else group != k, group == k)


def _random_groups(book: OrderBook, by: Any, rng: np.random.Generator | None) -> tuple[NDArray[np.int64], list[Any]]:
    count = _check.whole(by, argument="by", low=2, high=min(MOST_FOLDS, max(book.n_orders, 2)))
    group = np.empty(book.n_orders, dtype=np.int64)
    draws = np.random.default_rng(SEED) if rng is None else rng
    group[draws.permutation(book.n_orders)] = np.arange(book.n_orders) % count
    return group, [*range(1, count + 1)]


def _groups(book: OrderBook, by: Any) -> tuple[NDArray[np.int64], list[Any]]:
    """Return the number of each order's group, and the names of the groups in ascending order."""
    import pandas as pd

    if isinstance(by, str):
        if by != SHIP_MONTH:
            raise InputError(f"by is {repr_of(by)}; give a number of folds, 'ship_month', or a group for each order.")
        if book.ship_day is None:
            raise InputError("by is 'ship_month', but the book has no days of shipment; build it with ship_date=.")
        values: Any = book.ship_day.astype("datetime64[M]").astype(str)
    else:
        values = _check.groups(by, argument="by", length=book.n_orders)
        if values.shape != (book.n_orders,):
            shown = repr_of(by) if values.ndim == 0 else f"an array of shape {values.shape}"
            raise InputError(
                f"by is {shown}; give a number of folds, 'ship_month', or one group for each of {book.n_orders:,} "
                "orders."
            )
        values = _ordered(by, values)
    try:
        group, names = pd.factorize(values, sort=True)
    except TypeError:
        raise InputError("by has groups that cannot be ordered; give numbers, texts or days.") from None
    _check.refuse_rows(np.asarray(group) < 0, "by is missing in {rows}; give every order its group.")
    if len(names) > MOST_FOLDS:
        raise InputError(f"by has {len(names):,} groups; give at most {MOST_FOLDS:,}.")
    return np.asarray(group, dtype=np.int64), pd.Index(names).tolist()


def _ordered(by: Any, values: NDArray[Any]) -> Any:
    """Return groups with the order that an ordered categorical gives them, if they are one."""
    import pandas as pd

    dtype = getattr(by, "dtype", None)
    if not isinstance(dtype, pd.CategoricalDtype) or not dtype.ordered:
        return values
    return pd.Categorical(by).remove_unused_categories()
