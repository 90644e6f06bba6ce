"""What is reported of a solution: tables with fallbacks, standard errors, variances, and the nodes of a tree."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freightrisk._types import Array
from freightrisk.book.codings import Coding
from freightrisk.errors import InputError
from freightrisk.models.design import Layout, Term
from freightrisk.models.effects import Effect
from freightrisk.models.families import FAMILIES, expected_response, tweedie_log_likelihood
from freightrisk.models.fitted import FittedModel
from freightrisk.models.fitted_effect import FitStatistics, FittedEffect, Nodes
from freightrisk.models.information import dispersion_value, means, tables_of
from freightrisk.models.joint import known_ancestor, posterior_of
from freightrisk.models.likelihood import fit_statistics, likelihood_dispersion, log_lift, response_of
from freightrisk.models.passes import Problem
from freightrisk.models.posterior import Posterior
from freightrisk.models.products import combination, forms
from freightrisk.models.quadratic import Reduced
from freightrisk.models.rows import total
from freightrisk.models.strengths import LARGEST_STRENGTH, NO_VARIANCE
from freightrisk.models.table_model import Solution
from freightrisk.models.terms import AnyCoding, LevelSums, bands_of, tree_of


@dataclass(eq=False)
class Report:
    """What is reported of a solution: tables with fallbacks, their errors, variances and nodes."""

    kind: str
    problem: Problem
    layout: Layout
    solution: Solution
    effects: Mapping[str, Effect]
    codings: Mapping[str, AnyCoding]
    sums: Mapping[str, LevelSums]
    given: Mapping[str, Array]
    clustered: Array | None = None
    censored_log_likelihood: float | None = None

    def model(self, null: Solution, engine: str) -> FittedModel:
        """Return the fitted model."""
        solution, layout = self.solution, self.layout
        base, flat = tables_of(layout, solution.state)
        tables = {
            term.name: flat[at : at + term.n_slots].copy()
            for term, at in zip(layout.terms, layout.offsets.tolist(), strict=True)
        }
        shifts = {term.name: self._centre(term, tables[term.name]) for term in layout.terms if term.centred}
        errors, covariance, parameters = self._errors(tables, self.dispersion)
        nodes = {
            term.name: self._nodes(term, tables[term.name], base + sum(shifts.values()) - shifts[term.name] + self.lift)
            for term in layout.terms
            if term.kind == "credibility"
        }
        for name in tables:
            tables[name] -= shifts.get(name, 0.0)
        intercept = base + sum(shifts.values()) + self.lift
        reported = {
            term.name: self._filled(term, tables[term.name], nodes.get(term.name), intercept) for term in layout.terms
        } | dict(self.given)
        return FittedModel(
            kind=self.kind, family=self.problem.family, intercept=intercept,
            intercept_std_error=float(np.sqrt(covariance[0, 0])), covariance=covariance, parameters=parameters,
            fitted_effects=self._fitted_effects(reported, errors, {name: found for name, (found, _) in nodes.items()}),
            statistics=self._statistics(null), steps=solution.steps, engine=engine, joint=self._posterior(),
            family_parameter=self.problem.family_parameter,
        )  # fmt: skip

    def _posterior(self) -> Callable[[], Posterior]:
        """Return a function that computes the joint covariance of intercept and levels."""
        scaled = self.solution.covariance * self.dispersion
        return partial(
            posterior_of, self.layout, self.solution.reduced, scaled if self.clustered is None else self.clustered,
            codings=self.codings, variances=self._variances(), dispersion=self.dispersion,
        )  # fmt: skip

    def _fitted_effects(
        self, tables: Mapping[str, Array], errors: Mapping[str, Array], nodes: Mapping[str, Nodes]
    ) -> dict[str, FittedEffect]:
        """Return what is reported of each effect, in the order in which the effects were given."""
        layout, variances = self.layout, self._variances()
        counted = dict(zip(layout.names, self.solution.edf[1:].tolist(), strict=True))
        references = {term.name: term.reference for term in layout.terms if term.kind == "free"}
        return {
            name: FittedEffect(
                coding=self.codings[name], kind=type(effect).__name__.lower(), table=tables[name],
                std_errors=errors.get(name, np.zeros(self.codings[name].n_slots)), exposure=self.sums[name].exposure,
                claims=self.sums[name].claims, amount=self.sums[name].amount,
                effective_parameters=counted.get(name, 0.0), variances=variances.get(name, ()),
                reference=references.get(name), nodes=nodes.get(name), monotone=getattr(effect, "monotone", None),
            )
            for name, effect in self.effects.items()
        }  # fmt: skip

    def _statistics(self, null: Solution) -> FitStatistics:
        """Return how well the solution describes the rows, beside that of a base alone."""
        solution, layout, problem = self.solution, self.layout, self.problem
        penalised = bool(layout.groups) or any(term.direction for term in layout.terms)
        df_residual = problem.n_rows - (float(solution.edf.sum()) if penalised else layout.n_params)
        deviance, log_likelihood = fit_statistics(problem, solution.objective)
        if self.censored_log_likelihood is not None:  # pseudo-amounts have no deviance
            deviance, log_likelihood = float("nan"), self.censored_log_likelihood
        if problem.family == "tweedie":
            log_likelihood = self._tweedie_log_likelihood(solution.dispersion)
        return FitStatistics(
            deviance=deviance,
            null_deviance=fit_statistics(problem, null.objective)[0] if np.isfinite(deviance) else float("nan"),
            log_likelihood=log_likelihood,
            dispersion=problem.dispersion or dispersion_value(solution.pearson, df_residual),
            df_residual=float(df_residual),
            n_rows=problem.n_rows,
            null_base=float(null.state.dense[0]),
            likelihood_dispersion=likelihood_dispersion(problem, deviance, solution.dispersion, log_likelihood),
        )

    @property
    def dispersion(self) -> float:
        """Return the dispersion by which covariances are scaled: 1 for counts."""
        return self.solution.dispersion if FAMILIES[self.problem.family].has_dispersion else 1.0

    @cached_property
    def lift(self) -> float:
        """Return the log of mean over median of a lognormal; 0 for other families."""
        weight = self.problem.weight
        # Behind a limit, a weight repeats its row.
        plain = self.censored_log_likelihood is not None or not len(weight)
        share = 1.0 if plain else self.problem.n_rows / total(weight, self.problem.n_rows)
        return log_lift(self.problem.family, self.solution.dispersion, share)

    def _centre(self, term: Term, table: Array) -> float:
        """Return the log of the exposure-weighted mean relativity."""
        weight = np.where(term.estimated, self.sums[term.name].exposure, 0.0)
        return float(np.log(np.average(np.exp(table), weights=weight)))

    def _pull(self, term: Term, table: Array) -> Array:
        """Return the derivative of that log mean by each slot's log relativity."""
        weight = np.where(term.estimated, self.sums[term.name].exposure * np.exp(table), 0.0)
        return np.asarray(weight / weight.sum())

    def _variances(self) -> dict[str, tuple[float, ...]]:
        found: dict[str, tuple[float, ...]] = {}
        for group, strength in zip(self.layout.groups, self.solution.strengths.tolist(), strict=True):
            value = group.variance if group.variance is not None else self.dispersion / strength
            value = 0.0 if group.variance is None and strength >= NO_VARIANCE * LARGEST_STRENGTH else value
            found[group.term] = (*found.get(group.term, ()), float(value))
        return found

    def _errors(self, tables: Mapping[str, Array], dispersion: float) -> tuple[dict[str, Array], Array, Any]:
        """Return standard errors by slot, and the covariance of intercept and dense levels.

        Each reported number is linear in the parameters: a slot less the weighted mean of a centred table, and the
        intercept plus those means.
        """
        layout = self.layout
        covariance = self.solution.covariance * dispersion if self.clustered is None else self.clustered
        rows, parameters = [np.zeros((1, layout.n_params))], []
        rows[0][0, 0] = 1.0
        errors: dict[str, Array] = {}
        extra = 0.0
        if layout.tree is not None and self.solution.reduced is not None:
            term = layout.terms[0]
            pull = self._pull(term, tables[term.name])[layout.tree.slots] if term.centred else None
            errors[term.name] = np.full(term.n_slots, np.inf)
            found, mean_row, mean_variance = tree_errors(self.solution.reduced, self.solution.covariance, pull)
            errors[term.name][layout.tree.slots] = np.sqrt(np.maximum(found * dispersion, 0.0))
            rows[0] -= mean_row
            extra = mean_variance * dispersion
        for term, start in zip(layout.dense, layout.starts.tolist(), strict=False):
            slots = np.flatnonzero(term.estimated)
            own = np.zeros((len(slots), layout.n_params))
            own[:, start : start + term.n_params] = term.design[slots].toarray()
            if term.centred:
                mean = self._pull(term, tables[term.name])[slots] @ own
                own -= mean
                rows[0][0] += mean
            kept = slots != term.reference if not term.centred else slots >= 0
            rows.append(own[kept])
            parameters += [(term.name, code) for code in slots[kept].tolist()]
            errors[term.name] = np.full(term.n_slots, np.inf)
            errors[term.name][slots] = np.sqrt(np.maximum(((own @ covariance) * own).sum(axis=1), 0.0))
        stacked = np.concatenate(rows)
        joint = covariance if _is_identity(stacked) else stacked @ covariance @ stacked.T
        joint = joint.copy()
        joint[0, 0] += extra
        return errors, joint, tuple(parameters)

    def _nodes(self, term: Term, table: Array, base: float) -> tuple[Nodes, dict[Any, float]]:
        """Return the nodes of a credibility effect, and the log rate of each inner one."""
        coding = self.codings[term.name]
        if term.tree is None or not isinstance(coding, Coding) or self.solution.information is None:
            raise InputError(f"factor '{term.name}' has no nodes.")
        sums = self.sums[term.name]
        tree, names = tree_of(coding, sums.exposure > 0)
        at = int(self.layout.offsets[self.layout.names.index(term.name)])
        expected, ratio = self._own(term, table, tree.slots)
        paths, above = tree.down(self._effects(term)), tree.ancestors()
        exposure, claims = sums.exposure[tree.slots], sums.claims[tree.slots]
        groups = [g for g, group in enumerate(self.layout.groups) if group.term == term.name]
        information = self.solution.information[at + tree.slots]
        z = credibility_by_depth(tree, information, self.solution.strengths[groups])
        top = _mean_above(exposure, paths[-1], np.zeros(len(exposure)))
        log_rates: dict[Any, float] = {(): base + top}
        labels, rates = [[coding.slot_label(coding.n_levels)]], [np.array([top])]
        columns: list[tuple[NDArray[Any], ...]] = []
        for depth, nodes in enumerate(names):
            n, mine = len(nodes), above[depth]
            rates.append(paths[depth] + _mean_above(exposure, paths[-1], paths[depth][mine]))
            last = depth == len(names) - 1
            labels.append([coding.slot_label(k) for k in tree.slots.tolist()] if last else _node_labels(nodes))
            own = np.bincount(mine, expected * ratio, n) / np.bincount(mine, expected, n)
            columns.append((
                np.full(n, depth + 1), np.bincount(mine, exposure, n), np.bincount(mine, claims, n),
                np.exp(base) * own, np.exp(base + rates[depth][tree.parents[depth]]), z[depth],
                np.exp(base + rates[-1]),
            ))  # fmt: skip
            if not last:
                log_rates |= {node: base + float(rate) for node, rate in zip(nodes, rates[-1], strict=True)}
        parents = tuple(labels[depth][parent] for depth, found in enumerate(tree.parents) for parent in found.tolist())
        named = tuple(label for part in labels[1:] for label in part)
        return Nodes(named, parents, *map(np.concatenate, zip(*columns, strict=True))), log_rates

    def _effects(self, term: Term) -> list[Array]:
        """Return the effects of a term's nodes by depth."""
        if term is self.layout.terms[0]:
            return list(self.solution.state.nodes)
        start = int(self.layout.starts[self.layout.dense.index(term)])
        mine = self.solution.state.dense[start : start + term.n_params]
        return np.split(mine, np.cumsum(term.tree.sizes)[:-1]) if term.tree is not None else []

    def _own(self, term: Term, table: Array, slots: NDArray[np.int64]) -> tuple[Array, Array]:
        """Return the claims (or weight) expected of each leaf at relativity 1, and its own relativity."""
        relativity, family, size = np.exp(table[slots]), self.problem.family, self.problem.sizes[term.name]
        if family == "poisson":  # at the maximum a leaf has as many claims above the expected as its penalty holds back
            seen = np.zeros(size)
            for part in self.problem.parts():
                weighted = part.y * part.weight if len(part.weight) else part.y
                seen += np.bincount(part.codes[term.name], weighted, size)
            group = max(g for g, group in enumerate(self.layout.groups) if group.term == term.name)
            expected = seen[slots] - self.solution.strengths[group] * self._effects(term)[-1]
            return expected / relativity, relativity * seen[slots] / expected
        amounts = not FAMILIES[family].counts and family != "tweedie"
        below, above = np.zeros(size), np.zeros(size)
        for part in self.problem.parts():
            mean = means(part, self.layout, self.solution.state) * np.exp(self.lift)
            weight = part.weight if len(part.weight) else np.ones(part.n_rows)
            expected = np.ones(part.n_rows) if amounts else expected_response(family, mean, part.trials)
            below += np.bincount(part.codes[term.name], weight * expected, size)
            above += np.bincount(part.codes[term.name], weight * (part.y / mean if amounts else part.y), size)
        own = relativity * above[slots] / below[slots]
        return (below[slots], own) if amounts else (below[slots] / relativity, own)

    def _tweedie_log_likelihood(self, dispersion: float) -> float:
        problem = self.problem
        mean = means(problem, self.layout, self.solution.state)
        return tweedie_log_likelihood(response_of(problem), mean, problem.family_parameter, dispersion)

    def _filled(self, term: Term, table: Array, nodes: Any, intercept: float) -> Array:
        """Return a table with slots that no row determined at the rate of their parent."""
        coding = self.codings[term.name]
        if not isinstance(coding, Coding):
            return table
        if nodes is not None:
            return _at_parent(table, term.estimated, coding, nodes[1], intercept)
        estimated, bands = term.estimated, bands_of(coding)
        if len(bands) and (term.direction or term.kind == "smooth"):
            known = bands[estimated[bands]]
            table = table.copy()
            table[bands] = np.interp(bands, known, table[known])
            if term.direction:  # rounding may turn an equal pair round
                table[bands] = term.direction * np.maximum.accumulate(term.direction * table[bands])
            estimated = estimated | np.isin(np.arange(len(table)), bands)
        return filled(table, estimated, coding, self.sums[term.name].exposure)


def _is_identity(matrix: Array) -> bool:
    return matrix.shape[0] == matrix.shape[1] and bool(np.array_equal(matrix, np.eye(len(matrix))))


def _node_labels(paths: list[Any]) -> list[str]:
    return [" > ".join(str(part) for part in path) for path in paths]


def _mean_above(weight: Array, leaves: Array, nodes: Array) -> float:
    """Return the log of the weighted mean of leaves over the weighted mean of the nodes above them.

    A node's rate is what its leaves have on average: more than the middle of their logs where the leaves are known
    well, and the same where they are thin.
    """
    return float(np.log((weight * np.exp(leaves)).sum() / (weight * np.exp(nodes)).sum()))


def credibility_by_depth(tree: Any, information: Array, strengths: Array) -> list[Array]:
    """Return Z = w / (w + k) of each node by depth; w is the information that reaches it through its children."""
    found = []
    for depth in reversed(range(len(tree.sizes))):
        z = information / (information + strengths[depth])
        found.append(z)
        if depth:
            information = tree.sums[depth] @ (information * (1.0 - z))
    return found[::-1]


def tree_errors(reduced: Reduced, covariance: Array, pull: Array | None) -> tuple[Array, Array, float]:
    """Return the variance of each leaf less the mean that `pull` weighs, and that mean's row and variance of noise."""
    rows, scale, noise = reduced.paths()
    threads = reduced.quadratic.threads
    if pull is None:
        return forms(rows, covariance, threads, scale=scale) + noise, np.zeros(rows.shape[1]), 0.0
    tree, pulls = reduced.tree, [pull]
    if tree is None:
        raise InputError("there is no tree.")
    for depth in range(len(tree.sizes) - 1, 0, -1):
        pulls.append(tree.sums[depth] @ (pulls[-1] * (1.0 - reduced.pivots[depth].credibility)))
    total, shared = 0.0, np.zeros(1)
    for pivot, weight, parent in zip(reduced.pivots, pulls[::-1], tree.parents, strict=True):
        total += float((weight * weight / pivot.pivot).sum())
        shared = weight / pivot.pivot + (1.0 - pivot.credibility) * shared[parent]
    mean = combination(pull if scale is None else pull * scale, rows, threads)
    return forms(rows, covariance, threads, scale=scale, shift=mean) + noise - 2.0 * shared + total, mean, total


def _at_parent(
    table: Array, estimated: NDArray[np.bool_], coding: Coding, log_rates: Mapping[Any, float], intercept: float
) -> Array:
    table = table.copy()
    for code in np.flatnonzero(~estimated).tolist():
        table[code] = log_rates[known_ancestor(coding, code, log_rates)] - intercept
    return table


def filled(table: Array, estimated: NDArray[np.bool_], coding: Coding, exposure: Array) -> Array:
    """Give levels without rows, and the fallbacks, the exposure-weighted mean of the nearest ancestor's levels."""
    table = table.copy()
    means: dict[tuple[Any, ...], float] = {}
    for node, members in zip(coding.nodes, coding.members, strict=True):
        known = members[estimated[members]]
        if len(known) and exposure[known].any():
            means[node] = float(np.log(np.average(np.exp(table[known]), weights=exposure[known])))
        else:
            means[node] = means[node[:-1]] if node else 0.0
    for code in np.flatnonzero(~estimated).tolist():
        node = coding.nodes[code - coding.n_levels] if code >= coding.n_levels else coding.paths[code][:-1]
        table[code] = means[node]
    return table
