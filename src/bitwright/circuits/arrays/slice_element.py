"""A processing element of `SliceArray`: two kinds of operators, a compensator, mergers and accumulators.

A list is all products of one vector of x, the element's vector of w and one kind of slices. Masks say which k are in:
where high-order slices are multiplied, those whose vectors are kept. Operators of a kind take up to as many k of a list
per clock as there are of them, the lowest first, and go on to the next list that is not empty in the next clock. The
sums of a list that has ended are merged while the next one begins; those of w's lowest slice by x's high one together
with what the compensator says, which has the same significance.
"""

import dataclasses
import types
from collections.abc import Sequence
from typing import Any

from bitwright.circuits.circuit import place
from bitwright.circuits.compensator import Compensator
from bitwright.circuits.slice_merger import SliceMerger
from bitwright.circuits.slice_operator import SliceOperator

VECTOR = 4
SUM_BITS = 32
PART_BITS = 28
"""Of a list's sum with its compensation."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """A vector of x in the block, and the orders of the slices that are multiplied."""

    vector: int
    x_order: int
    w_order: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Masks:
    """What is known of a block in a clock, as Amaranth's values.

    Attributes
    ----------
    x, w : list
        Kept k of each vector of x, and of the element's vector of w.
    rows : list
        k of the tile where there is such a vector of x, 0 where there is none.
    here : value
        There is a vector of w.
    """

    x: Sequence[Any]
    w: Any
    rows: Sequence[Any]
    here: Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Team:
    """Operators of a kind as the control knows them: `picks` are (valid, k), `at` is the list's number.

    `begins` and `ends` are a list's first and last clock, `done` says that nothing is left after this clock.
    """

    kinds: Sequence[Kind]
    active: Any
    at: Any
    picks: Sequence[tuple[Any, Any]]
    begins: Any
    ends: Any
    done: Any


def kinds(vectors: int, w_slices: int, *, dynamic: bool) -> list[Kind]:
    """Lists of dynamic operators, which have a high-order slice, or of static ones, in order; w of one slice is low."""
    high = w_slices - 1 if w_slices > 1 else None
    return [
        Kind(vector=vector, x_order=x_order, w_order=w_order)
        for vector in range(vectors)
        for x_order in (1, 0)
        for w_order in reversed(range(w_slices))
        if dynamic == (x_order == 1 or w_order == high)
    ]


def team(m: Any, name: str, lists: Sequence[Kind], masks: Masks, *, size: int, w_slices: int, fresh: Any) -> Team:
    """The control of operators of a kind; in the `fresh` clock of a piece it begins with the first list."""
    from amaranth.hdl import Array, Cat, Mux, Signal

    length = len(masks.w)
    members = []
    for number, each in enumerate(lists):
        mask = Signal(length, name=f"{name}_list{number}")
        kept = masks.rows[each.vector] & masks.here.replicate(length)
        if each.x_order == 1:
            kept = kept & masks.x[each.vector]
        if w_slices > 1 and each.w_order == w_slices - 1:
            kept = kept & masks.w
        m.d.comb += mask.eq(kept)
        members.append(mask)
    filled = Signal(len(members), name=f"{name}_filled")
    m.d.comb += filled.eq(Cat(mask.any() for mask in members))

    held, taken = Signal(range(max(2, len(members))), name=f"{name}_held"), Signal(length, name=f"{name}_taken")
    working = Signal(name=f"{name}_working")
    at, before = Signal(range(max(2, len(members))), name=f"{name}_at"), Signal(length, name=f"{name}_before")
    active, left = Signal(name=f"{name}_active"), Signal(length, name=f"{name}_left")
    m.d.comb += [
        at.eq(Mux(fresh, _lowest(filled), held)),
        before.eq(Mux(fresh, 0, taken)),
        active.eq(Mux(fresh, filled.any(), working)),
        left.eq(Array(members)[at] & ~before),
    ]
    picks, rest = [], left
    for number in range(size):
        pick, after = (
            Signal(range(max(2, length)), name=f"{name}_k{number}"),
            Signal(length, name=f"{name}_rest{number}"),
        )
        m.d.comb += [pick.eq(_lowest(rest)), after.eq(rest & (rest - 1)[:length])]
        picks.append((active & rest.any(), pick))
        rest = Mux(rest.any(), after, 0)
    ends, later = Signal(name=f"{name}_ends"), Signal(len(members), name=f"{name}_later")
    m.d.comb += [
        ends.eq(active & ~rest.any()),
        later.eq(filled & ~((2 << at) - 1)[: len(members)]),
    ]
    m.d.sync += [
        taken.eq(Mux(ends, 0, before | (left & ~rest))),
        held.eq(Mux(ends, _lowest(later), at)),
        working.eq(active & (~ends | later.any())),
    ]
    done = ~active | (ends & ~later.any())
    return Team(kinds=lists, active=active, at=at, picks=picks, begins=active & (before == 0), ends=ends, done=done)


def element(
    m: Any, name: str, teams: Sequence[Team], *, w_slices: int, fresh: Any, begins: Any, bank: Any, banks: int, r: Any
) -> types.SimpleNamespace:
    """Operators, compensator, mergers, accumulators: ports of the operators, and `sums` [bank][vector][16].

    A piece is `fresh` in its first clock, and the first one of a block `begins` it: its sums start anew.
    """
    from amaranth.hdl import Array, Cat, Signal, signed

    dynamic = teams[0]
    operators = []
    for number, each in enumerate(teams):
        size = len(each.picks)
        unit = place(m, _operator(size), f"{name}_operator{number}")
        m.d.comb += [unit.take.eq(Cat(valid for valid, _ in each.picks)), unit.clear.eq(each.begins)]
        operators.append(unit)
    part = _compensation(m, name, dynamic, operators[0], w_slices=w_slices, fresh=fresh, r=r)

    vectors = 1 + max(each.vector for each in dynamic.kinds)
    sums = [
        [[Signal(signed(SUM_BITS), name=f"{name}_sum{b}_{v}_{at}") for at in range(VECTOR**2)] for v in range(vectors)]
        for b in range(banks)
    ]
    begun = [Signal(vectors, name=f"{name}_begun{b}") for b in range(banks)]
    merging_bank = Signal.like(bank, name=f"{name}_merging_bank")
    m.d.sync += merging_bank.eq(bank)
    merges = [
        _merge(m, f"{name}_merge{number}", each, unit, part if number == 0 else None, w_slices)
        for number, (each, unit) in enumerate(zip(teams, operators, strict=True))
    ]
    first, second = merges
    same = Signal(name=f"{name}_same")
    m.d.comb += same.eq(first.valid & (first.vector == second.vector))
    for b in range(banks):
        with m.If(begins & (bank == b)):
            m.d.sync += begun[b].eq(0)
        with m.If(merging_bank == b):
            for merge in merges:
                with m.If(merge.valid):
                    m.d.sync += begun[b].bit_select(merge.vector, 1).eq(1)
                    for v in range(vectors):
                        with m.If(merge.vector == v):
                            totals = [lane.sum for lane in merge.lanes]
                            m.d.sync += [each.eq(total) for each, total in zip(sums[b][v], totals, strict=True)]
    marks = Array(begun)[merging_bank]
    for at in range(VECTOR**2):
        stored = Array(Array(sums[b][v][at] for v in range(vectors)) for b in range(banks))[merging_bank]
        one, other = first.lanes[at], second.lanes[at]
        chained = Signal(signed(SUM_BITS), name=f"{name}_chained{at}")
        with m.If(same):
            m.d.comb += chained.eq(one.sum)
        with m.Else():
            m.d.comb += chained.eq(stored[second.vector])
        m.d.comb += [
            one.stored.eq(stored[first.vector]),
            one.first.eq(~marks.bit_select(first.vector, 1)),
            other.stored.eq(chained),
            other.first.eq(~marks.bit_select(second.vector, 1) & ~same),
        ]
    return types.SimpleNamespace(operators=operators, sums=sums)


def _operator(size: int) -> SliceOperator:
    return SliceOperator(vector=VECTOR, products=size, sum_bits=20 + (size - 1).bit_length())


def _compensation(m: Any, name: str, dynamic: Team, operator: Any, *, w_slices: int, fresh: Any, r: Any) -> list[Any]:
    """A clock after the last list of a vector with x's high slice: what is to be added to each column."""
    from amaranth.hdl import Array, Cat, Mux, Signal

    size = len(dynamic.picks)
    unit = place(m, Compensator(operators=1, products=size, w_slices=w_slices), f"{name}_compensator")
    high = Array(each.x_order for each in dynamic.kinds)[dynamic.at]
    vector = Array(each.vector for each in dynamic.kinds)[dynamic.at]
    known, last = Signal(name=f"{name}_compensates"), Signal.like(vector, name=f"{name}_compensated")
    m.d.comb += [
        *[port.eq(w) for port, w in zip(unit.w, operator.w, strict=True)],
        unit.take.eq(Mux(high, Cat(valid for valid, _ in dynamic.picks), 0)),
        unit.clear.eq(dynamic.begins & high & (fresh | ~known | (last != vector))),
        unit.r.eq(r),
    ]
    if w_slices > 1:
        m.d.comb += unit.order[0].eq(Array(each.w_order for each in dynamic.kinds)[dynamic.at])
    with m.If(dynamic.active & high):
        m.d.sync += [known.eq(1), last.eq(vector)]
    with m.Elif(fresh):
        m.d.sync += known.eq(0)
    part: list[Any] = unit.part
    return part


def _merge(
    m: Any, name: str, of: Team, operator: Any, compensation: list[Any] | None, w_slices: int
) -> types.SimpleNamespace:
    """Mergers of a list that ended in the clock before, without what is stored."""
    from amaranth.hdl import Array, Mux, Signal

    valid = Signal(name=f"{name}_valid")
    vector = Signal(range(max(2, 1 + max(each.vector for each in of.kinds))), name=f"{name}_vector")
    orders = {side: Signal(range(w_slices if side == "w" else 2), name=f"{name}_{side}_order") for side in "xw"}
    m.d.sync += [
        valid.eq(of.ends),
        vector.eq(Array(each.vector for each in of.kinds)[of.at]),
        orders["x"].eq(Array(each.x_order for each in of.kinds)[of.at]),
        orders["w"].eq(Array(each.w_order for each in of.kinds)[of.at]),
    ]
    lanes = []
    for at, total in enumerate(operator.sum):
        lane = place(m, SliceMerger(w_slices=w_slices, part_bits=PART_BITS, sum_bits=SUM_BITS), f"{name}_lane{at}")
        if compensation is None:
            m.d.comb += lane.part.eq(total)
        else:
            compensated = (orders["x"] == 1) & (orders["w"] == 0)
            m.d.comb += lane.part.eq(total + Mux(compensated, compensation[at % VECTOR], 0))
        m.d.comb += lane.x_order.eq(orders["x"])
        if w_slices > 1:
            m.d.comb += lane.w_order.eq(orders["w"])
        lanes.append(lane)
    return types.SimpleNamespace(valid=valid, vector=vector, lanes=lanes)


def _lowest(mask: Any) -> Any:
    """The place of the lowest bit that is set; 0 where there is none."""
    from amaranth.hdl import Mux

    found: Any = 0
    for place_ in reversed(range(len(mask))):
        found = Mux(mask[place_], place_, found)
    return found
