"""The best numpy route to the same quotes: blocks that stay in cache, reused buffers, no temporaries, two threads."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from freightrisk.models.shapes import limited_expected_value
from freightrisk.tariff.plan import RateTables
from freightrisk.tariff.tariff import Tariff

BLOCK = 2**14  # rows whose buffers stay in the L2 cache
NODES = 2**14  # of the interpolated limited expected value
Columns = dict[str, NDArray[np.unsignedinteger]]


def rates_of(tariff: Tariff) -> tuple[RateTables, RateTables]:
    """Return the tables of both models by the column that they read; merchants' modifications count as frequency."""
    merchants = {} if tariff.experience is None else {"merchant_id": tariff.experience.tables["experience"]}
    return RateTables(tariff.frequency.base, {**tariff.frequency.tables, **merchants}), tariff.severity


class NumpyRoute:
    """A tariff as numpy tables and one function that prices a block of rows.

    The claim count is exact (expm1); the limited expected value is interpolated linearly on a grid fine enough for a
    relative error below 1e-7, which is cheaper in numpy than four gathers of cubic coefficients.
    """

    def __init__(self, tariff: Tariff, dispersion: float):
        self.tariff = tariff
        self.payers = tariff.payers
        grid = np.arange(NODES + 1) / NODES
        self.nodes = np.ones(NODES + 1)
        inner = grid[1:-1]  # mean / (mean + limit)
        payout = limited_expected_value(inner, 1.0 - inner, dispersion=dispersion)
        self.nodes[1:-1] = payout / (inner * (1.0 - inner))
        self.steps = np.append(np.diff(self.nodes), 0.0)
        self.frequency, self.severity = rates_of(tariff)
        self.masks = {gate.column: self._eligible(gate) for gate in tariff._gates}

    def _eligible(self, gate: object) -> NDArray[np.bool_]:
        """Return a table of rules (rows) and codes of the gate's column: True if the code passes."""
        size = self.tariff.codings[gate.column].n_slots
        code = np.array([gate._level_code(level) for level in range(size)])
        masks = gate.masks["subsidies"][code]
        return np.array([(masks >> np.uint64(rule)) & np.uint64(1) for rule in range(3)]).astype(bool)

    def buffers(self, n: int) -> dict[str, NDArray]:
        """Return arrays for the quotes of n orders."""
        out = {name: np.empty(n) for name in ("intensity", "claims", "payout", "pure", "technical")}
        out |= {f"{name}_fen": np.empty(n, np.int32) for name in ("list", *self.payers, "merchant")}
        return out | {"floor_bound": np.empty(n, bool)}

    def price(
        self, codes: Columns, n: int, *, threads: int, out: dict[str, NDArray] | None = None
    ) -> dict[str, NDArray]:
        """Return the quotes of n orders, in `out` if it is given."""
        out = self.buffers(n) if out is None else out
        cuts = [(start, min(start + BLOCK, n)) for start in range(0, n, BLOCK)]
        lanes = [cuts[lane::threads] for lane in range(threads)]

        def run(lane: list[tuple[int, int]]) -> None:
            buffers = [np.empty(BLOCK) for _ in range(3)] + [np.empty(BLOCK, np.int32) for _ in range(3)]
            for start, stop in lane:
                self._block(codes, slice(start, stop), stop - start, out, buffers)

        if threads == 1:
            run(lanes[0])
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(run, lanes))
        return out

    def _block(self, codes: Columns, rows: slice, n: int, out: dict[str, NDArray], buffers: list[NDArray]) -> None:
        real, other, third = (buffer[:n] for buffer in buffers[:3])
        offer, rest, room = (buffer[:n] for buffer in buffers[3:])
        tariff, loads = self.tariff, self.tariff.loadings
        intensity, claims, payout = out["intensity"][rows], out["claims"][rows], out["payout"][rows]
        pure, technical = out["pure"][rows], out["technical"][rows]
        self._product(codes, rows, self.frequency, intensity, real)
        self._product(codes, rows, self.severity, payout, real)
        # Expected claims, docs/method.md, equation 23 with K = 1.
        np.negative(intensity, out=claims)
        np.expm1(claims, out=claims)
        np.negative(claims, out=claims)
        # Expected payout: interpolated at mean / (mean + limit).
        np.add(payout, tariff.cover.flat_limit, out=real)
        np.divide(payout, real, out=real)
        np.subtract(1.0, real, out=other)
        np.multiply(payout, other, out=payout)
        np.multiply(real, NODES, out=real)
        np.floor(real, out=other)
        np.subtract(real, other, out=real)
        place = other.astype(np.int32)
        np.take(self.steps, place, out=third, mode="clip")
        np.multiply(third, real, out=third)
        np.take(self.nodes, place, out=other, mode="clip")
        np.add(third, other, out=third)
        np.multiply(payout, third, out=payout)
        np.multiply(claims, payout, out=pure)
        # Technical premium, equation 22, then micro-yuan and half-even fen.
        np.multiply(pure, 1.0 + loads.fraud_load, out=technical)
        np.multiply(claims, loads.claim_handling, out=real)
        np.add(technical, real, out=technical)
        np.add(technical, loads.policy_cost, out=technical)
        np.divide(technical, loads.retained, out=technical)
        np.multiply(technical, loads.filed_factor * 1e6, out=real)
        np.rint(real, out=real)
        np.clip(real, loads.filed_min_micro, loads.filed_max_micro, out=real)
        np.divide(real, 10_000.0, out=real)
        np.rint(real, out=real)
        list_fen = out["list_fen"][rows]
        np.copyto(list_fen, real, casting="unsafe")
        np.less(list_fen, tariff.floor_fen, out=out["floor_bound"][rows])
        np.maximum(list_fen, tariff.floor_fen, out=list_fen)
        np.copyto(rest, list_fen)
        for rule, subsidy in enumerate(tariff.subsidies):
            paid = out[f"{subsidy.payer}_fen"][rows]
            if subsidy.kind == "price_to_fen":
                np.subtract(rest, subsidy.amount, out=offer)
            else:
                np.multiply(
                    list_fen if subsidy.kind == "percent_of_list" else rest, subsidy.amount / 10_000.0, out=real
                )
                np.rint(real, out=real)
                np.copyto(offer, real, casting="unsafe")
            if subsidy.cap_fen is not None:
                np.minimum(offer, subsidy.cap_fen, out=offer)
            np.subtract(rest, tariff.floor_fen, out=room)
            np.minimum(offer, room, out=offer)
            np.maximum(offer, 0, out=offer)
            (column,) = subsidy.where
            np.multiply(offer, self.masks[column][rule][codes[column][rows]], out=paid)
            np.subtract(rest, paid, out=rest)
        np.copyto(out["merchant_fen"][rows], rest)

    @staticmethod
    def _product(codes: Columns, rows: slice, rates: RateTables, out: NDArray, buffer: NDArray) -> None:
        out.fill(rates.base)
        for name, table in rates.tables.items():
            np.take(table, codes[name][rows], out=buffer, mode="clip")
            np.multiply(out, buffer, out=out)


def haute_plan(route: NumpyRoute) -> dict[str, object]:
    """Return the tariff of a route as haute's rating steps, with the numbers that the later steps need."""
    tariff = route.tariff
    steps = [
        {
            "tables": [
                {
                    "factors": [name],
                    "outputColumn": f"{name} of {what}",
                    "entries": [{name: code, "value": value} for code, value in enumerate(table.tolist())],
                    "defaultValue": 1.0,
                }
                for name, table in rates.tables.items()
            ],
            "combinedOutputs": [{"outputColumn": what, "operation": "multiply", "baseValue": rates.base}],
        }
        for what, rates in (("claim_intensity", route.frequency), ("mean", route.severity))
    ]
    loads = ("fraud_load", "claim_handling", "policy_cost", "retained", "filed_factor", "filed_min_micro")
    rules = [
        {
            "payer": rule.payer, "kind": rule.kind, "amount": int(rule.amount), "cap_fen": rule.cap_fen,
            "column": next(iter(rule.where)), "levels": [*next(iter(rule.where.values()))],
        }
        for rule in tariff.subsidies
    ]  # fmt: skip
    steps_of_premium = ("claim_intensity", "expected_claims", "expected_payout", "pure_premium", "technical_premium")
    return {
        "steps": steps, "nodes": route.nodes.tolist(), "limit": tariff.cover.flat_limit, "floor_fen": tariff.floor_fen,
        "loads": {name: float(getattr(tariff.loadings, name)) for name in (*loads, "filed_max_micro")}, "rules": rules,
        "columns": [
            *steps_of_premium, "list_fen", *(f"{payer}_fen" for payer in tariff.payers), "merchant_fen", "floor_bound",
        ],
    }  # fmt: skip


def price_whole_columns(tariff: Tariff, dispersion: float, codes: Columns) -> dict[str, NDArray]:
    """Return the same quotes by a first attempt in numpy: whole columns, and a temporary for every step."""
    loads = tariff.loadings

    def product(rates: RateTables) -> NDArray:
        value = np.full(len(codes["score"]), rates.base)
        for name, table in rates.tables.items():
            value = value * table[codes[name]]
        return value

    intensity, mean = (product(rates) for rates in rates_of(tariff))
    claims = -np.expm1(-intensity)
    place = mean / (mean + tariff.cover.flat_limit)
    grid = np.linspace(0.0, 1.0, NODES + 1)
    nodes = np.ones(NODES + 1)
    nodes[1:-1] = limited_expected_value(grid[1:-1], 1.0 - grid[1:-1], dispersion=dispersion)
    nodes[1:-1] /= grid[1:-1] * (1.0 - grid[1:-1])
    payout = mean * (1.0 - place) * np.interp(place, grid, nodes)
    pure = claims * payout
    technical = (pure * (1.0 + loads.fraud_load) + loads.claim_handling * claims + loads.policy_cost) / loads.retained
    micro = np.clip(np.rint(technical * loads.filed_factor * 1e6), loads.filed_min_micro, loads.filed_max_micro)
    rounded = np.rint(micro / 10_000.0).astype(np.int32)
    rest = list_fen = np.maximum(rounded, tariff.floor_fen)
    out = {"intensity": intensity, "claims": claims, "payout": payout, "pure": pure, "technical": technical}
    out |= {"list_fen": list_fen, "floor_bound": rounded < tariff.floor_fen}
    for subsidy in tariff.subsidies:
        if subsidy.kind == "price_to_fen":
            offer = rest - subsidy.amount
        else:
            offer = np.rint((list_fen if subsidy.kind == "percent_of_list" else rest) * (subsidy.amount / 10_000.0))
        if subsidy.cap_fen is not None:
            offer = np.minimum(offer, subsidy.cap_fen)
        ((column, levels),) = subsidy.where.items()
        offer = np.clip(offer, 0, rest - tariff.floor_fen) * np.isin(codes[column], levels)
        out[f"{subsidy.payer}_fen"] = offer.astype(np.int32)
        rest = rest - out[f"{subsidy.payer}_fen"]
    return out | {"merchant_fen": rest}
