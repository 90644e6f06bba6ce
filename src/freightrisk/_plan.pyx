"""A tariff as flat arrays: tables, curves, loads and rules. Their lengths are checked when they are put together.

`tariff.plan` makes these objects from a tariff.
"""

cimport cython
import numpy as np

from libc.stdint cimport int32_t, int64_t, uint64_t

from freightrisk._blocks cimport MAX_COLUMNS, CodeColumns, need

RULE_KINDS = {
    "percent_of_list": PERCENT_OF_LIST, "percent_of_rest": PERCENT_OF_REST,
    "fixed_fen": FIXED, "price_to_fen": PRICE_TO,
}
ROUNDING_MODES = {
    "half_even": HALF_EVEN, "half_up": HALF_UP, "ceiling": CEILING, "down": DOWN, "dither": DITHER, "carry": CARRY,
}


@cython.auto_pickle(False)
cdef class TableSet:
    """Tables of one kind: relativities of a model, shares left by limits, or limits by level.

    base : factor that an order's entries are multiplied with; for limits, the flat limit, which entries may lower
    columns : (T,) the code column of each table
    offsets : (T,) where each table starts in `entries`
    """

    def __init__(self, double base, columns not None, offsets not None, entries not None):
        self.base, self.columns, self.offsets, self.entries = base, columns, offsets, entries
        self.count = <int>self.columns.shape[0]


cdef object halves_of(masks):
    """Return the bits of rules 0 to 31 and of rules 32 to 63 apart; loops vectorise better with 32-bit masks."""
    return masks.astype("<u8").view("<u4").reshape(-1, 2).T.astype("u4", order="C")


@cython.auto_pickle(False)
cdef class MaskSet:
    """Tables of masks: bit j of a uint64 entry is 1 if the level allows rule j.

    Columns and offsets are as in `TableSet`.
    """

    def __init__(self, columns not None, offsets not None, entries not None):
        self.columns, self.offsets = columns, offsets
        self.halves = halves_of(entries)
        self.count = <int>self.columns.shape[0]


@cython.auto_pickle(False)
cdef class FusedColumns:
    """Columns of pairs of codes, first * width + second, that follow the columns of the orders.

    A table over such a column holds the products of two tables.
    """

    def __init__(self, first not None, second not None, width not None):
        self.first, self.second, self.width = first, second, width
        self.count = <int>self.first.shape[0]
        need(self.first.shape[0] == self.second.shape[0] == self.width.shape[0] <= MAX_COLUMNS,
             "fused columns of the wrong length")


@cython.auto_pickle(False)
cdef class CountPieces:
    """Curves from claim intensity to expected claims (docs/method.md, equation 24). Without pieces the two are equal.

    pieces : (curves * each, 4) coefficients of cubics, from the constant up
    column : the code column that selects the curve, -1 if all orders have one curve
    """

    def __init__(self, pieces not None, int curves, int column):
        need(curves > 0, "no curve of counts")
        self.pieces, self.curves, self.column = pieces.copy(), curves, column
        self.each = <int>(len(pieces) // curves)
        need(self.pieces.shape[0] == self.each * curves and (self.each == 0 or self.pieces.shape[1] == 4),
             "curves of counts of the wrong shape")


@cython.auto_pickle(False)
cdef class LimitPieces:
    """The curve from mean over limit to payout (docs/method.md, equation 27; see `LimitCurve.plan`).

    Without pieces there is no limit.
    """

    def __init__(self, pieces not None, int bits, int64_t first, double top):
        self.pieces, self.bits, self.first, self.top = pieces.copy(), bits, first, top
        self.count = <int>self.pieces.shape[0]
        need(self.count == 0 or self.pieces.shape[1] == 4, "a curve of limits of the wrong shape")


@cython.auto_pickle(False)
cdef class LimitRules:
    """Rules that limit the payment for a claim, by rank, the lowest first. Rules of one priority form a group.

    Of the rules of a group with the same amount for every order, the rule with the highest rank decides.

    amount : (R,) yuan
    share : (R,) the limit is at most this share of the order's measure; not read if the rule has no measure
    measure : (R,) the column of measures that the share is of, -1 for none
    rivals : (R,) uint64, a bit for each rule of the same group that has another amount
    ends : (G,) where each group ends
    choose : how the rules of a group decide: 0 by the largest amount, 1 by the smallest, 2 by the first rule
    masks : tables of masks; bit j of an entry is 1 if the level meets the conditions of rule j
    shares : tables of the paid share of the mean freight, with R + 1 entries for each code: for each rule the share
        under it, then the share without a rule. If there is one, it replaces the limits of the rules.
    """

    def __init__(self, amount not None, share not None, measure not None, rivals not None, ends not None, int choose,
                 MaskSet masks not None, TableSet shares not None):
        self.amount, self.share, self.measure, self.ends = amount, share, measure, ends
        # `choose_flat` reads masks of 30 bits as int32.
        self.flat = max(list(self.measure), default=-1) < 0 and len(rivals) <= 30
        self.tops = np.append(np.inf, amount)
        self.rivals = np.append(np.uint64(0), rivals if self.flat else 0 * rivals).astype(np.int32)
        self.conflicts = not self.flat or bool(np.any(rivals))
        self.choose, self.masks, self.shares = choose, masks, shares
        self.count, self.groups = <int>self.amount.shape[0], <int>self.ends.shape[0]
        self.every = <uint64_t>-1 if self.count >= 64 else (<uint64_t>1 << self.count) - 1
        need(self.count <= MAX_RULES and LARGEST_AMOUNT <= choose <= FIRST_AMOUNT, "too many limits, or no such choice")
        highest = np.asarray(masks.halves).max(axis=1, initial=0)
        need(highest[0] < 2.0 ** min(32, self.count) and highest[1] < 2.0 ** max(0, self.count - 32),
             "masks of limits with bits for more rules")
        need(self.amount.shape[0] == self.share.shape[0] == self.measure.shape[0]
             == len(rivals),
             "limits of unequal length")
        cuts = [0] + list(self.ends)
        need(cuts == sorted(set(cuts)) and max(cuts) == self.count, "groups of limits that do not follow each other")


@cython.auto_pickle(False)
cdef class PayoutTerms:
    """The parts of the payout that all orders share.

    kept : 1 less coinsurance
    deductible : yuan of a claim that are not paid
    measure : the column of measures that multiplies the mean of a claim, -1 for none
    """

    def __init__(self, double kept, double deductible, int measure):
        self.kept, self.deductible, self.measure = kept, deductible, measure


@cython.auto_pickle(False)
cdef class Loads:
    """Loadings of the technical premium (docs/method.md, equation 22), and bounds of the filed premium in micro-yuan.

    with_fraud : tables of 1 plus the fraud load; without tables, the base holds for all orders
    filed_factor : tables of the filed factor, likewise
    claim_handling, policy_cost : yuan
    retained : 1 less channel, levy and profit
    """

    def __init__(self, TableSet with_fraud not None, double claim_handling, double policy_cost, double retained,
                 TableSet filed_factor not None, double filed_min_micro, double filed_max_micro):
        self.with_fraud, self.filed_factor = with_fraud, filed_factor
        self.handling, self.policy, self.gross_up = claim_handling, policy_cost, 1.0 / retained
        self.filed_min_micro, self.filed_max_micro = filed_min_micro, filed_max_micro


@cython.auto_pickle(False)
cdef class Controls:
    """Controls of losses: factors on the claim intensity of the orders that meet their conditions.

    masks : tables of masks; bit j of an entry is 1 if the level meets the conditions of control j
    factors : (C,)
    """

    def __init__(self, MaskSet masks not None, factors not None):
        self.masks, self.factors = masks, factors
        self.count = <int>self.factors.shape[0]
        need(self.count <= MAX_RULES, "too many controls")


@cython.auto_pickle(False)
cdef class Rules:
    """Subsidy rules in the order in which they apply.

    kind : one of RULE_KINDS
    amount : basis points or fen
    cap : largest amount that the rule pays for one order, fen
    payer : index of the payer
    group : number of the rule's group; rules of a group are adjacent, and only the best of them pays
    limited : whether the rule has a budget or a cap by merchant
    """

    def __init__(self, kind not None, amount not None, cap not None, payer not None, group not None,
                 limited not None):
        self.kind, self.amount, self.cap, self.payer, self.group, self.limited = (
            kind, amount, cap, payer, group, limited)
        self.count = <int>self.kind.shape[0]
        self.payers = 1 + max([one for one in self.payer], default=-1)
        need(self.count <= MAX_RULES and self.payers <= MAX_RULES and min([one for one in self.payer], default=0) >= 0,
             "too many rules or payers")
        need(self.kind.shape[0] == self.amount.shape[0] == self.cap.shape[0] == self.payer.shape[0]
             == self.group.shape[0] == self.limited.shape[0], "rules of unequal length")


cdef int prove_tables(const int32_t[::1] columns, const int64_t[::1] offsets, Py_ssize_t length, list slots,
                      str what) except -1:
    """Raise unless each table lies in an array of `length`, with an entry for each slot of its column."""
    cdef Py_ssize_t f
    need(columns.shape[0] == offsets.shape[0], f"{what} tables with another number of places")
    for f in range(columns.shape[0]):
        need(0 <= columns[f] < len(slots) and 0 <= offsets[f] <= length - slots[columns[f]],
             f"{what} tables that are shorter than their columns")
    return 0


@cython.auto_pickle(False)
cdef class PricePlan:
    """A tariff as the kernels read it.

    sizes : (F,) int64, slots of each code column
    known : (F,) int64, number of known levels; a code at or above it is an unseen level
    pairs : tables of the first columns that both models have in common; each entry is a frequency relativity
        followed by a severity relativity
    rounding : one of ROUNDING_MODES
    """

    def __init__(self, sizes not None, known not None, TableSet frequency not None, TableSet severity not None,
                 TableSet shares not None, TableSet limits not None, MaskSet masks not None, TableSet pairs not None,
                 FusedColumns fused not None, CountPieces count_curve not None, LimitPieces limit_curve not None,
                 LimitRules limit_rules not None, Controls controls not None, PayoutTerms payout_terms not None,
                 Loads loads not None,
                 Rules rules not None, int rounding, int32_t floor_fen):
        self.sizes, self.known, self.fused = sizes, known, fused
        self.frequency, self.severity, self.shares, self.limits = frequency, severity, shares, limits
        self.masks, self.pairs = masks, pairs
        self.count_curve, self.limit_curve, self.loads, self.rules = count_curve, limit_curve, loads, rules
        self.limit_rules, self.controls, self.payout_terms = limit_rules, controls, payout_terms
        self.rounding, self.floor_fen = rounding, floor_fen
        self.measures = 1 + max([payout_terms.measure] + list(limit_rules.measure))
        self._prove()

    cdef int _prove(self) except -1:
        """Raise unless every table has an entry for each code of its column."""
        cdef list slots = list(self.sizes)
        cdef FusedColumns fused = self.fused
        cdef int64_t products
        cdef Py_ssize_t k
        need(len(slots) <= MAX_COLUMNS and len(slots) == self.known.shape[0], "too many columns of codes")
        for k in range(fused.count):
            need(0 <= fused.first[k] < len(slots) and 0 <= fused.second[k] < len(slots)
                 and fused.width[k] == slots[fused.second[k]], "fused columns that do not match the code columns")
            products = slots[fused.first[k]] * slots[fused.second[k]]
            # `fuse_bytes` holds twice a fused code in 16 bits.
            need(products < <int64_t>1 << 15, "fused columns of too many products")
            slots.append(products)
        for what, one in (("frequency", self.frequency), ("severity", self.severity), ("share", self.shares),
                          ("limit", self.limits), ("fraud load", self.loads.with_fraud),
                          ("filed factor", self.loads.filed_factor)):
            prove_set(one, slots, what)
        for masks in (self.masks, self.limit_rules.masks, self.controls.masks):
            prove_masks(masks, slots)
        prove_set(self.limit_rules.shares, [(self.limit_rules.count + 1) * size for size in slots], "share of limits")
        need(self.payout_terms.measure >= -1 and min(list(self.limit_rules.measure), default=0) >= -1,
             "measures below -1")
        need(self.pairs.count <= min(self.frequency.count, self.severity.count, MAX_COLUMNS),
             "more paired tables than both models have")
        for k in range(self.pairs.count):
            need(self.pairs.columns[k] == self.frequency.columns[k] == self.severity.columns[k],
                 "paired tables of columns that the models do not share")
        prove_set(self.pairs, [2 * size for size in slots], "paired")
        need(self.count_curve.column < self.sizes.shape[0], "curves of counts for a column that does not exist")
        need(self.count_curve.curves >= (1 if self.count_curve.column < 0 else slots[self.count_curve.column]),
             "fewer curves of counts than codes")
        return 0

    cdef int prove_columns(self, CodeColumns columns) except -1:
        """Raise unless the code columns have the sizes of this plan's tables."""
        cdef int f
        need(columns.count == self.sizes.shape[0], "codes of another plan")
        for f in range(columns.count):
            need(columns.size[f] == self.sizes[f], "codes of another plan")
        return 0


cdef int prove_masks(MaskSet masks, list slots) except -1:
    return prove_tables(masks.columns, masks.offsets, masks.halves.shape[1], slots, "mask")


cdef int prove_set(TableSet tables, list slots, str what) except -1:
    return prove_tables(tables.columns, tables.offsets, tables.entries.shape[0], slots, what)
