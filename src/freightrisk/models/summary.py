"""A fit as text: a header on one screen, and a table of its coefficients."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from freightrisk._shown import counted, shown
from freightrisk.models.families import FAMILIES
from freightrisk.models.fit_record import FitRecord
from freightrisk.models.fitted_effect import NORMAL_975

if TYPE_CHECKING:
    import pandas as pd

LONGEST = 20  # levels of a factor that the text shows
SHOWN = 12  # levels that it shows of a longer one
LABEL_WIDTH = 40
BASE = "(base)"


@dataclass(frozen=True, eq=False, repr=False)
class ModelSummary:
    """The summary of a fit: its text, its header and the table of its coefficients; `FittedModel.summary` makes it.

    Parameters
    ----------
    header : dict of str to str
        What was fitted, and how well, as the text shows it.
    coefficients : pandas.DataFrame
        A row for the base and for each level. Columns: factor, level, log_relativity (of the base: the log of the
        base), std_error, z (log relativity over its standard error), p_value (two-sided, by the normal distribution),
        relativity (of the base: the base), lower and upper (its 95 % bounds). z and p_value are nan for a reference, a
        given table, and a level without data.
    """

    header: Mapping[str, str]
    coefficients: "pd.DataFrame"

    def __str__(self) -> str:
        width = max(map(len, self.header))
        lines = [f"{name.ljust(width)}  {value}" for name, value in self.header.items()]
        return "\n".join([*map(shown, lines), "", *_table_lines(self.coefficients)])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"


def summary_of(record: FitRecord) -> ModelSummary:
    """Return the summary of a fit."""
    return ModelSummary(_header(record), _coefficients(record))


def _header(record: FitRecord) -> dict[str, str]:
    family, how = FAMILIES[record.family], record.statistics
    parameters, df_residual = map(_at_most_two_decimals, (record.n_rows - record.df_residual, record.df_residual))
    found = {
        "model": f"{record.kind}, {record.family}, {family.link} link, engine {record.engine}",
        "rows": f"{record.n_rows:,}",
        "exposure": _at_most_two_decimals(how.exposure),
        "claims": _at_most_two_decimals(how.claims),
        "parameters": parameters,
        "residual df": df_residual,
        "deviance": _number(record.deviance),
        "null deviance": _number(record.null_deviance),
        "dispersion": f"{record.dispersion:.6g}",
        "log likelihood": _number(record.log_likelihood),
        "AIC": _number(record.aic),
        "BIC": _number(record.bic),
        "iterations": f"{len(record.steps):,}, last move {record.steps[-1].largest_move:.1e}",
    }
    if np.isnan(record.deviance):
        found["deviance"] = found["null deviance"] = _no_deviance(record)
    if record.kind == "severity":  # its exposure is the number of claims
        del found["exposure"]
    parameter = parameter_text(record)
    return found | {
        name: text
        for name, text in {
            "family parameter": parameter,
            "optional columns": " and ".join(how.options),
            "clusters": f"{how.n_clusters:,}" if how.n_clusters else "",
            "amounts at the limit": f"{how.n_censored:,}" if how.n_censored else "",
            "off-balance": f"{record.off_balance:.6g}" if record.off_balance != 1.0 else "",
            "unsettled variances": ", ".join(record.unsettled),
            "variances from thin leaves": ", ".join(record.thin),
        }.items()
        if text
    }


def parameter_text(record: FitRecord) -> str:
    """Return what the parameter of the family is found to be, and whether that is a bound of its range."""
    text = FAMILIES[record.family].parameter_text(record.family_parameter)
    if record.parameter_bound is None:
        return text
    return f"{text} (the estimate is at its {record.parameter_bound} bound {record.family_parameter:g})"


def _coefficients(record: FitRecord) -> "pd.DataFrame":
    import pandas as pd
    from scipy.special import erfc

    columns = ["factor", "level", "relativity", "log_relativity", "std_error", "lower", "upper"]
    error = record.intercept_std_error
    with np.errstate(over="ignore"):  # the bound of a base of which the rows say next to nothing
        bounds = np.exp(record.intercept + np.array([-1.0, 1.0]) * NORMAL_975 * error)
    base = pd.DataFrame([[BASE, "", record.base, record.intercept, error, *bounds]], columns=columns)
    effects = [effect.relativities(name, with_amount=False)[columns] for name, effect in record.fitted_effects.items()]
    table = pd.concat([base, *effects], ignore_index=True)
    known = (table["std_error"] > 0.0) & np.isfinite(table["std_error"])
    table["z"] = (table["log_relativity"] / table["std_error"].where(known)).to_numpy(float)
    table["p_value"] = erfc(np.abs(table["z"].to_numpy()) / np.sqrt(2.0))
    order = ["factor", "level", "log_relativity", "std_error", "z", "p_value", "relativity", "lower", "upper"]
    return table[order]


def _table_lines(table: "pd.DataFrame") -> Iterator[str]:
    """Yield the lines of the table of coefficients, with only some levels of long factors."""
    titles = ["", "log relativity", "std error", "z", "p", "relativity", "2.5 %", "97.5 %"]
    rows: list[list[str]] = [titles]
    for factor, part in table.groupby("factor", sort=False):
        if factor != BASE:
            rows.append([str(factor)])
        rest = len(part) - SHOWN if len(part) > LONGEST else 0
        for row in (part.head(SHOWN) if rest else part).itertuples(index=False):
            label = BASE if factor == BASE else f"  {row.level}"
            rows.append([label, *_cells(row)])
        if rest:
            rows.append([f"  ... and {counted(rest, 'more level')}; see relativities"])
    rows = [[_cut(row[0]), *row[1:]] if len(row) > 1 else row for row in rows]
    first = max(len(row[0]) for row in rows if len(row) > 1)
    widths = [max(map(len, column)) for column in zip(*(row[1:] for row in rows if len(row) > 1), strict=True)]
    for label, *cells in rows:
        numbers = "".join(f"  {cell.rjust(width)}" for cell, width in zip(cells, widths, strict=False))
        yield (label.ljust(first) + numbers).rstrip()


def _cells(row: Any) -> list[str]:
    """Return the numbers of a coefficient; z and p stay empty if they are not defined."""
    found = [getattr(row, name) for name in ("log_relativity", "std_error", "z", "p_value", "relativity")]
    texts = [f"{value:.4f}" for value in found[:2]]
    texts += ["" if np.isnan(found[2]) else f"{found[2]:.3f}", "" if np.isnan(found[3]) else f"{found[3]:.3f}"]
    return [*texts, *(f"{value:.4g}" for value in (found[4], row.lower, row.upper))]


def _cut(label: str) -> str:
    label = shown(label)
    return label if len(label) <= LABEL_WIDTH else label[: LABEL_WIDTH - 3] + "..."


def short_text(record: FitRecord) -> str:
    """Return the fit on one screen: what was fitted, how well, and how it converged."""
    factors = ", ".join(effect.size_text(name) for name, effect in record.fitted_effects.items()) or "none"
    family, how = FAMILIES[record.family], record.statistics
    options = f", with {' and '.join(how.options)}" if how.options else ""
    parameter = parameter_text(record)
    parameters, df_residual = map(_at_most_two_decimals, (record.n_rows - record.df_residual, record.df_residual))
    by = "fitted by statsmodels" if record.engine == "statsmodels" else "converged"
    deviance = f"deviance {record.deviance:,.2f} (null {record.null_deviance:,.2f})"
    deviance = _no_deviance(record) if np.isnan(record.deviance) else deviance
    lines = [
        f"{record.kind} model, {record.family}, {family.link} link, engine {record.engine}{options}",
        f"rows {record.n_rows:,}; parameters {parameters}; residual df {df_residual}",
        f"factors: {factors}",
        f"base {record.base:.6g} (intercept {record.intercept:.6f}, std error {record.intercept_std_error:.6f})",
        f"{deviance}; dispersion {record.dispersion:.4f}{parameter and '; '}{parameter}",
        f"log likelihood {record.log_likelihood:,.2f}; AIC {record.aic:,.2f}; BIC {record.bic:,.2f}"
        if np.isfinite(record.log_likelihood)
        else "no log likelihood, because the amounts equal their fitted means",
        f"{by} in {counted(len(record.steps), 'step')}, last move {record.steps[-1].largest_move:.1e}",
    ]
    if how.n_clusters:
        lines.insert(4, f"standard errors allow for dependence within {counted(how.n_clusters, 'cluster')}")
    if record.off_balance != 1.0:
        lines.append(f"off-balance {record.off_balance:.6g}, in rates, predictions and tariffs")
    if record.unsettled:
        lines.append(f"unsettled variances: {', '.join(record.unsettled)}")
    if record.thin:
        lines.append(f"variances from thin leaves, too small: {', '.join(record.thin)}")
    return "\n".join(map(shown, lines))


def _no_deviance(record: FitRecord) -> str:
    """Return why a fit has no deviance."""
    if record.statistics.n_censored:
        return f"no deviance, because {counted(record.statistics.n_censored, 'amount')} reached the limit"
    return "no deviance for this family"


def _number(value: float) -> str:
    return f"{value:,.2f}"


def _at_most_two_decimals(value: float) -> str:
    """Return a number with at most two decimals; a whole number has none."""
    return f"{value:,.2f}".rstrip("0").removesuffix(".")
