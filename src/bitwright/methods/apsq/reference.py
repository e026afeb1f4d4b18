"""Quantized partial sums one product at a time, in Python's integers: the slow twin of what networks run."""

from collections.abc import Sequence

from bitwright.formats import Rounding, Saturation
from bitwright.methods.apsq.rule import Kind, PartialSums

Ints = Sequence[int]


def reference_sums(
    x: Sequence[Ints], w: Sequence[Ints], rule: PartialSums, offsets: Ints | None = None
) -> list[list[int]]:
    """Sums [M][N] of products of x [M][K], codes less their zero point, and w [N][K], added as `rule` says.

    `offsets` [K] are what x is centred on beyond its zero point while it is added.
    """
    if offsets is not None:
        moved = [[a - d for a, d in zip(row, offsets, strict=True)] for row in x]
        constant = [sum(d * b for d, b in zip(offsets, column, strict=True)) for column in w]
        return [[v + c for v, c in zip(row, constant, strict=True)] for row in reference_sums(moved, w, rule)]
    if rule.kind is Kind.BLOCK:
        return [_dynamic(row, w, rule) for row in x]
    return [[_sum(row, column, rule) for column in w] for row in x]


def _sum(x: Ints, w: Ints, rule: PartialSums) -> int:
    parts = _tiles(x, w, rule.tile)
    additive, scales = rule.additive(len(parts)), rule.scales(len(parts))
    stored: list[tuple[int, int]] = []
    for i, part in enumerate(parts):
        shift = int(scales[i]).bit_length() - 1
        if additive[i]:
            part += sum(q << s for q, s in stored)  # noqa: PLW2901 (T_i becomes the running sum)
            stored = []
        stored.append((quantize(part, shift, rule), shift))
    return sum(q << s for q, s in stored)


def _dynamic(x: Ints, w: Sequence[Ints], rule: PartialSums) -> list[int]:
    """One row; blocks of its outputs share the smallest scale that fits the largest of them."""
    totals = [0] * len(w)
    for i in range(rule.tiles(len(x))):
        part = slice(i * rule.tile, (i + 1) * rule.tile)
        totals = [
            total + sum(a * b for a, b in zip(x[part], w[n][part], strict=True)) for n, total in enumerate(totals)
        ]
        for start in range(0, len(totals), rule.block):
            block = totals[start : start + rule.block]
            shift = next(s for s in range(64) if max(map(abs, block)) <= rule.high << s)
            totals[start : start + rule.block] = [quantize(v, shift, rule) << shift for v in block]
    return totals


def quantize(value: int, shift: int, rule: PartialSums) -> int:
    """Q(value; 2^shift): an arithmetic shift with the rule's rounding, then saturation."""
    if rule.rounding is Rounding.HALF_UP and shift:
        value += 1 << (shift - 1)
    value >>= shift
    if rule.saturation is Saturation.WRAP:
        return (value - rule.low) % (1 << rule.bits) + rule.low
    return min(max(value, rule.low), rule.high)


def _tiles(x: Ints, w: Ints, tile: int) -> list[int]:
    products = [a * b for a, b in zip(x, w, strict=True)]
    return [sum(products[i : i + tile]) for i in range(0, len(products), tile)]
