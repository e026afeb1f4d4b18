"""Which slice products are executed, on which operators, and how many cycles each processing element takes.

Panacea (sourced: dynamic operators take the sparse work of high-order slices, static operators the dense low-order
work; recollected: 4 and 8 of them) skips on both sides. Sibia (sourced: it monitors the sparsity of inputs and weights;
read as: it skips one side, the sparser one, per layer) has operators that take any product. Ours: operators of a kind
share one list at a time (products of a vector of x, one of w and a kind of slices), whose sums an adder tree adds.
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
        [groups, pieces, row blocks, vectors of w]: of the processing element that has this vector.
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
    high_high, x_rows = slicing.w_high * blocks.both, blocks.x_vectors[:, None]
    low_high = slicing.w_low * slicing.x_high * blocks.x_kept[..., None]
    high_low = slicing.w_high * slicing.x_low * x_rows * blocks.w_kept[:, :, None, :]
    low_low = slicing.w_low * slicing.x_low * blocks.pairs[..., None]
    x_steps = blocks.of_blocks(-(-blocks.x_vectors_kept // dynamic))[..., None]
    on_dynamic = slicing.w_high * blocks.both_steps + slicing.w_low * slicing.x_high * x_steps
    k_steps = x_rows * -(-blocks.k_sizes // static)[:, None, None]
    on_static = np.broadcast_to(slicing.w_low * slicing.x_low * k_steps, high_high.shape)
    on_either = dynamic if high_low_is_dynamic else static
    w_steps = slicing.w_high * slicing.x_low * x_rows * -(-blocks.w_kept // on_either)[:, :, None, :]
    if high_low_is_dynamic:
        on_dynamic = on_dynamic + w_steps
    else:
        on_static = on_static + w_steps
    w_vectors = blocks.both.shape[3]
    return Products(
        high_high=int(high_high.sum()),
        low_high=w_vectors * int(low_high.sum()),
        high_low=int(high_low.sum()),
        low_low=w_vectors * len(blocks.both) * int(low_low.sum()),
        pea_cycles=np.maximum(on_dynamic, on_static),
        skipping="both",
    )


def better_side(blocks: Blocks, slicing: Slicing, *, operators: int) -> Products:
    """Skipping vectors of x or of w, whichever leaves fewer products; equal: of x."""
    x_products, w_products = _skipping_x(blocks, slicing, 1), _skipping_w(blocks, slicing, 1)
    totals = [sum(int(part.sum()) for part in parts) for parts in (x_products, w_products)]
    skipping, chosen = ("x", x_products) if totals[0] <= totals[1] else ("w", w_products)
    steps = (_skipping_x if skipping == "x" else _skipping_w)(blocks, slicing, operators)
    counts = [int(part.sum()) for part in chosen]
    return Products(
        high_high=counts[0],
        low_high=counts[1],
        high_low=counts[2],
        low_low=counts[3],
        pea_cycles=np.add.reduce(steps),
        skipping=skipping,
    )


def _skipping_x(blocks: Blocks, slicing: Slicing, operators: int) -> list[IntArray]:
    """Steps of so many operators by order of w's slice, then of x's; of one: products."""
    shape = blocks.both.shape
    kept = np.broadcast_to(blocks.of_blocks(-(-blocks.x_vectors_kept // operators))[..., None], shape)
    dense = _dense(blocks, operators)
    return [
        slicing.w_high * slicing.x_high * kept,
        slicing.w_low * slicing.x_high * kept,
        slicing.w_high * slicing.x_low * dense,
        slicing.w_low * slicing.x_low * dense,
    ]


def _skipping_w(blocks: Blocks, slicing: Slicing, operators: int) -> list[IntArray]:
    kept = blocks.x_vectors[:, None] * -(-blocks.w_kept // operators)[:, :, None, :]
    dense = _dense(blocks, operators)
    return [
        slicing.w_high * slicing.x_high * kept,
        slicing.w_low * slicing.x_high * dense,
        slicing.w_high * slicing.x_low * kept,
        slicing.w_low * slicing.x_low * dense,
    ]


def _dense(blocks: Blocks, operators: int) -> IntArray:
    steps = blocks.x_vectors[:, None] * -(-blocks.k_sizes // operators)[:, None, None]
    return np.broadcast_to(steps, blocks.both.shape)
