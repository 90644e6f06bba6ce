"""What a fit warns of: variances that did not settle, thin leaves, an off-balance factor, a parameter at its bound."""

from collections.abc import Mapping

import numpy as np

from freightrisk import _check
from freightrisk._shown import named
from freightrisk.models.design import Layout
from freightrisk.models.effects import Credibility, Effect, Interaction
from freightrisk.models.families import FAMILIES
from freightrisk.models.fitted import FittedModel

SETTLED_CHANGE = 1e-3  # of a log variance, far below its standard error: no doubt worth a warning
THIN = 5.0  # claims a leaf below which an estimated variance is too small by more than a tenth (docs/method.md)


def unsettled_effects(layout: Layout, changes: tuple[float, ...]) -> tuple[str, ...]:
    """Return the effects whose variances are held although the restricted likelihood asks for a change, and warn."""
    asked: dict[str, float] = {}
    for group, change in zip(layout.groups, map(abs, changes), strict=False):
        if change > SETTLED_CHANGE:
            asked[group.term] = max(asked.get(group.term, 0.0), change)
    if asked:
        # The strength of a given variance changes with the dispersion alone.
        estimated = [name for name in asked if any(g.term == name and g.variance is None for g in layout.groups)]
        what = f"the variances of {named(map(repr, estimated), '')}" if estimated else "the dispersion"
        _check.warn(
            f"{what} did not settle: the fit holds them where the restricted likelihood asks for the smallest change, "
            f"a factor of {np.exp(max(asked.values())):.4g}. A few amounts or counts far above the others cause this, "
            "and the held values may depend on the order of rows. Check the amounts, give "
            "solver=Solver(max_iterations=...) with a larger number, or give the effects their variance=."
        )
    return tuple(asked)


def thin_effects(fitted: FittedModel, effects: Mapping[str, Effect]) -> tuple[str, ...]:
    """Return the effects of leaves whose variance was estimated from few claims each."""
    return tuple(
        name
        for name, effect in effects.items()
        if isinstance(effect, Credibility | Interaction) and effect.variance is None
        and fitted.claims[name].sum() < THIN * fitted.fitted_effects[name].n_exposed
    )  # fmt: skip


def warn_of_balance(kind: str, family: str, balance: float) -> None:
    """Warn of an off-balance factor far from 1."""
    what = "claims" if kind == "frequency" else "amounts"
    _check.warn(
        f"the {what} of the fitted rows are {balance:.4g} times those that the {family} likelihood expects, and every "
        f"rate is multiplied by this off-balance factor. A few {what} far above the others, or another distribution "
        "than the family's, cause this; check them, or choose another family. dataclasses.replace(fitted, "
        "off_balance=1.0) is the model without the factor."
    )


def warn_of_upper_bound(fitted: FittedModel, simple: str) -> None:
    """Warn that a family's parameter is at its upper bound; `simple` is the family without it."""
    found = "nearly all claims belong to a few orders. Look for claims of many orders that were booked on one"
    if FAMILIES[fitted.family].lines:
        found = "nearly every order has all of its lines returned, or none. Count returned orders instead of lines"
    _check.warn(
        f"the {FAMILIES[fitted.family].parameter} of the {fitted.family} fit is at its upper bound "
        f"{fitted.family_parameter:g}, where the likelihood still rises, so it is no estimate: {found}, or use "
        f"family='{simple}' with cluster=."
    )
