"""The book with every actor: buyers, rings, shifts, enrolment, lines and the funnel around the orders of a book."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from freightrisk import _check
from freightrisk.errors import InputError
from freightrisk.simulation.buyers import choose_buyers, draw_buyers
from freightrisk.simulation.catalogue import MERCHANT_TIERS
from freightrisk.simulation.draws import Draws
from freightrisk.simulation.enrolment import draw_enrolment
from freightrisk.simulation.funnel import Orders, claims_of, pack, run_funnel
from freightrisk.simulation.lines import draw_returns, line_table, line_values, lines_of
from freightrisk.simulation.orders import Codes, Floats, chosen, labelled
from freightrisk.simulation.parts import BuyerTruth, FunnelTruth, LineTruth, OptInTruth, RingTruth, ShiftTruth
from freightrisk.simulation.regions import REGIONS, buyer_regions, merchant_regions, region_labels
from freightrisk.simulation.rings import plant_rings
from freightrisk.simulation.shifts import plant_shifts
from freightrisk.simulation.signs import add_signs
from freightrisk.simulation.truth import ActorTruth, BookTruth


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The parts that a book is simulated with; None leaves a part out."""

    lines: LineTruth | None
    buyers: BuyerTruth | None
    rings: RingTruth | None
    shifts: ShiftTruth | None
    funnel: FunnelTruth | None
    opt_in: OptInTruth | None

    def __post_init__(self) -> None:
        kinds = (LineTruth, BuyerTruth, RingTruth, ShiftTruth, FunnelTruth, OptInTruth)
        for name, kind in zip(vars(self), kinds, strict=True):
            if getattr(self, name) is not None:
                _check.instance(getattr(self, name), kind, argument=name)
                if self.lines is None:
                    raise InputError(f"{name} is given without lines; give lines=LineTruth() too.")
        if self.rings is not None and self.buyers is None:
            raise InputError("rings is given without buyers; give buyers=BuyerTruth() too.")

    @property
    def given(self) -> tuple[object, ...]:
        """The parts that are not left out."""
        return tuple(part for part in vars(self).values() if part is not None)


def add_actors(
    parts: Parts, truth: BookTruth, orders: pd.DataFrame, merchants: pd.DataFrame, *, seed: int, n_days: int
) -> dict[str, Any]:
    """Return the tables and the truth of a book of lines, as fields of a SimulatedBook."""
    n = len(orders)
    merchant_id = merchants["merchant_id"].to_numpy()
    place = merchant_regions(Draws(seed, "merchants"), merchant_id)
    tier = chosen(Draws(seed, "merchants").uniform("tier", merchant_id), list(MERCHANT_TIERS.values()))
    merchants = merchants.assign(merchant_tier=labelled(tier, MERCHANT_TIERS), region=region_labels(place))
    seller = orders["merchant_id"].to_numpy() - 1
    address = buyer_regions(Draws(seed, "orders"), place[seller], orders["zone"].cat.codes.to_numpy().astype(np.int64))
    region = address.codes.astype(np.int64)
    truth = _with_effects(parts, truth, region, tier[seller])
    columns: dict[str, Any] = {"region": address}
    planted: dict[str, Any] = {}
    facts: dict[str, Any] = {"order_id": orders["order_id"].to_numpy()}
    ring_id, buyer_factor, buyers = _add_buyers(parts, orders, region, columns, planted, seed=seed, n_days=n_days)
    covered = orders["ship_date"].notna().to_numpy()
    enrolments = None
    if parts.opt_in is not None:
        covered, enrolments, planted["merchants"] = draw_enrolment(
            Draws(seed, "opt_in"), parts.opt_in, truth.merchant_deviation, orders, n_days=n_days
        )
        columns["covered"] = covered
    factor = np.ones(n)
    if parts.shifts is not None:
        factor, planted["jumps"], planted["spikes"] = plant_shifts(
            Draws(seed, "shifts"), parts.shifts, orders, region, n_days=n_days
        )
    probability = -np.expm1(-truth.claim_intensity * buyer_factor * factor)
    if parts.rings is not None:
        probability = np.where(ring_id > 0, parts.rings.claim_probability, probability)
    facts |= {"line_probability": probability, "buyer_factor": buyer_factor, "shift_factor": factor}
    facts |= {"ring_id": ring_id, "covered": covered}
    tables = _add_lines(parts, truth, orders, columns, facts, planted, seed=seed)
    actors = ActorTruth(parts=parts.given, orders=pd.DataFrame(facts), **planted)
    intensity = probability * orders["n_lines"].to_numpy() * covered
    return {
        "orders": orders.assign(**columns),
        "merchants": merchants,
        "truth": replace(truth, claim_intensity=intensity, actors=actors),
        "buyers": buyers,
        "enrolments": enrolments,
        **tables,
    }


def _with_effects(parts: Parts, truth: BookTruth, region: Codes, tier: Codes) -> BookTruth:
    """Return the truth with the tables of regions and merchant tiers, and with their product in the intensity."""
    if parts.lines is None:
        return truth
    frequency, intensity = dict(truth.frequency), truth.claim_intensity
    for name, given, levels, codes in (
        ("region", parts.lines.region_factors, REGIONS, region),
        ("merchant_tier", parts.lines.merchant_tier_factors, MERCHANT_TIERS, tier),
    ):
        if given:
            frequency[name] = pd.Series({level: given.get(level, 1.0) for level in levels})
            intensity = intensity * frequency[name].to_numpy()[codes]
    return replace(truth, frequency=frequency, claim_intensity=intensity)


def _add_buyers(
    parts: Parts,
    orders: pd.DataFrame,
    region: Codes,
    columns: dict[str, Any],
    planted: dict[str, Any],
    *,
    seed: int,
    n_days: int,
) -> tuple[Codes, Floats, pd.DataFrame | None]:
    """Add the buyers to `columns`, and their truth to `planted`; return ring and claim factor by order, and buyers."""
    ring_id: Codes = np.zeros(len(orders), dtype=np.int64)
    factor = np.ones(len(orders))
    if parts.buyers is None:
        return ring_id, factor, None
    draws = Draws(seed, "buyers")
    buyers, known = draw_buyers(draws, parts.buyers, region)
    home = buyers["region"].cat.codes.to_numpy()
    buyer_id = 1 + choose_buyers(draws, region, home, known["activity"].to_numpy())
    if parts.rings is not None:
        planted_rings = plant_rings(
            Draws(seed, "rings"),
            parts.rings,
            orders,
            region,
            n_days=n_days,
            buyer_id=buyer_id,
            first_id=len(buyers) + 1,
        )
        ring_id, buyer_id = planted_rings.ring_id, planted_rings.buyer_id
        buyers = pd.concat([buyers, planted_rings.buyers], ignore_index=True)
        known = pd.concat([known, planted_rings.buyer_truth], ignore_index=True)
        planted["rings"] = planted_rings.table
    planted["buyers"] = known
    columns |= {"buyer_id": buyer_id, "buyer_tier": buyers["buyer_tier"].array.take(buyer_id - 1)}
    return ring_id, known["claim_factor"].to_numpy()[buyer_id - 1], buyers


def _add_lines(
    parts: Parts,
    truth: BookTruth,
    orders: pd.DataFrame,
    columns: dict[str, Any],
    facts: dict[str, Any],
    planted: dict[str, Any],
    *,
    seed: int,
) -> dict[str, pd.DataFrame]:
    """Return the lines and what came of them; add to the columns and the facts of the orders, and to the tables."""
    if parts.lines is None:
        return {}
    draws, lines = Draws(seed, "lines"), lines_of(orders["n_lines"].to_numpy())
    order_id, probability = facts["order_id"], facts["line_probability"]
    value = line_values(draws, lines, orders["price"].to_numpy())
    columns["order_value"] = np.round(np.bincount(lines.row, value, minlength=len(orders)), 2)
    back = draw_returns(draws, lines, probability, correlation=parts.lines.correlation)
    detected = parts.rings.detected_share if parts.rings is not None else 0.0
    known = Orders(
        order_id=order_id,
        ship_date=orders["ship_date"].to_numpy(),
        mean_freight=truth.mean_freight,
        covered=facts["covered"],
        detected=detected * (facts["ring_id"] > 0),
    )
    if parts.funnel is not None:
        chance = np.minimum(probability / parts.funnel.claim_share, 1.0)
        facts["request_probability"] = chance
        extra = np.where(probability < 1.0, (chance - probability) / np.maximum(1.0 - probability, 1e-300), 0.0)
        funnel = Draws(seed, "funnel")
        requests, parcels, claims = run_funnel(
            funnel, parts.funnel, lines, back, known, extra=extra, exchanges=parts.lines
        )
        columns["delivered_date"], parcels, planted["parcels"] = add_signs(
            Draws(seed, "signs"), (parts.funnel, parts.rings), orders, requests, parcels,
            region=columns["region"], ring_id=facts["ring_id"],
        )  # fmt: skip
        tables = {"requests": requests, "parcels": parcels}
    else:
        claimed = lines.some(back & known.covered[lines.row])
        packed = pack(draws, claimed, np.ones(len(claimed.row), dtype=bool), known, merge_share=0.0)
        claims, tables = claims_of(draws, claimed, packed, known, exchanges=parts.lines), {}
    return {"lines": line_table(lines, order_id, value), "claims": claims.drop(columns="place"), **tables}
