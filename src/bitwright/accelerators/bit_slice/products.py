"""Which slice products are executed, on which operators, and how long each processing element takes.

Panacea (sourced: dynamic operators take the sparse work of high-order slices, static operators the dense low-order
work; recollected: 4 and 8 of them) skips on both sides. Sibia (sourced: it monitors the sparsity of inputs and weights;
read as: it skips one side, the sparser one, per layer) has operators that take any product.
"""

import dataclasses

import numpy as np

from bitwright.accelerators.bit_slice.blocks import Blocks
from bitwright.accelerators.bit_slice.slicing import Slicing
from bitwright.memory import IntArray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Products:
    """Outer products of 4 x 4 that are executed.

    Attributes
    ----------
    high_high, low_high, high_low, low_low : int
        By order of w's slice, then of x's.
    pea_cycles : IntArray
        [groups, k tiles, row blocks, vectors of w]: of the processing element that has this vector.
    skipping : str
        Whose vectors are skipped: `both`, `x`, `w`.
    """

    high_high: int
    low_high: int
    high_low: int
    low_low: int
    pea_cycles: IntArray
    skipping: str

    @property
    def executed(self) -> int:
        """All of them."""
        return self.high_high + self.low_high + self.high_low + self.low_low

    @property
    def with_high_x(self) -> int:
        """Those whose slice of x is of high order: each adds its vector of w to the compensation."""
        return self.high_high + self.low_high


def dense_products(blocks: Blocks, slicing: Slicing) -> int:
    """Outer products without any skipping."""
    groups, _, _, w_vectors = blocks.both.shape
    return slicing.products * groups * w_vectors * int(blocks.pairs.sum())


def both_sides(blocks: Blocks, slicing: Slicing, *, dynamic: int, static: int, high_low_is_dynamic: bool) -> Products:
    """Skipping on both sides, products split between `dynamic` and `static` operators that work side by side."""
    high_high = slicing.w_high * blocks.both
    low_high = slicing.w_low * slicing.x_high * blocks.x_kept[..., None]
    high_low = slicing.w_high * slicing.x_low * blocks.x_vectors[:, None] * blocks.w_kept[:, :, None, :]
    low_low = slicing.w_low * slicing.x_low * blocks.pairs[..., None]
    on_dynamic, on_static = high_high + low_high, np.broadcast_to(low_low, high_high.shape)
    if high_low_is_dynamic:
        on_dynamic = on_dynamic + high_low
    else:
        on_static = on_static + high_low
    w_vectors = blocks.both.shape[3]
    return Products(
        high_high=int(high_high.sum()),
        low_high=w_vectors * int(low_high.sum()),
        high_low=int(high_low.sum()),
        low_low=w_vectors * len(blocks.both) * int(low_low.sum()),
        pea_cycles=np.maximum(-(-on_dynamic // dynamic), -(-on_static // static)),
        skipping="both",
    )


def better_side(blocks: Blocks, slicing: Slicing, *, operators: int) -> Products:
    """Skipping vectors of x or of w, whichever leaves fewer products; equal: of x."""
    x_products, w_products = _skipping_x(blocks, slicing), _skipping_w(blocks, slicing)
    totals = [sum(int(part.sum()) for part in parts) for parts in (x_products, w_products)]
    skipping, chosen = ("x", x_products) if totals[0] <= totals[1] else ("w", w_products)
    counts = [int(part.sum()) for part in chosen]
    return Products(
        high_high=counts[0],
        low_high=counts[1],
        high_low=counts[2],
        low_low=counts[3],
        pea_cycles=-(-np.add.reduce(chosen) // operators),
        skipping=skipping,
    )


def _skipping_x(blocks: Blocks, slicing: Slicing) -> list[IntArray]:
    shape = blocks.both.shape
    kept = np.broadcast_to(blocks.x_kept[..., None], shape)
    dense = np.broadcast_to(blocks.pairs[..., None], shape)
    return [
        slicing.w_high * slicing.x_high * kept,
        slicing.w_low * slicing.x_high * kept,
        slicing.w_high * slicing.x_low * dense,
        slicing.w_low * slicing.x_low * dense,
    ]


def _skipping_w(blocks: Blocks, slicing: Slicing) -> list[IntArray]:
    kept = blocks.x_vectors[:, None] * blocks.w_kept[:, :, None, :]
    dense = np.broadcast_to(blocks.pairs[..., None], blocks.both.shape)
    return [
        slicing.w_high * slicing.x_high * kept,
        slicing.w_low * slicing.x_high * dense,
        slicing.w_high * slicing.x_low * kept,
        slicing.w_low * slicing.x_low * dense,
    ]
