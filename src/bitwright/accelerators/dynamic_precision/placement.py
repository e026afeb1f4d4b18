"""Where the four classes of each block of a product run, for how long, and what they move.

A block of the reduction is a product of four classes (`bitwright.methods.classes`). Ours: blocks run one after another;
sums of all of them meet in the output SRAM. Everything here is an array over [groups, blocks], or of the four classes
[4, groups, blocks] in the order of `methods.classes.PAIRS`.
"""

import dataclasses

import numpy as np

from bitwright.accelerators.dynamic_precision.bit_group import per_port
from bitwright.accelerators.dynamic_precision.latency import ONE, Dataflow
from bitwright.memory import IntArray
from bitwright.methods.classes import PAIRS, Classes

PORTS: IntArray = np.array([[per_port(bits) for bits in pair] for pair in PAIRS], dtype=np.int64)
"""Elements of x and of w at a port [4, 2]."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Placement:
    """How the blocks of a product run.

    Attributes
    ----------
    classes : Classes
        What runs: narrow rows and columns may have been taken as wide.
    rows, cols : IntArray
        Bit groups that each class gets [4, groups, blocks].
    cycles : IntArray
        Of each class [4, groups, blocks].
    spent : IntArray
        Cycles of the array for each block [groups, blocks], draining where the cuts move included.
    evaluations : IntArray
        Cuts that the scheduler tried for each block, all visits [groups, blocks].
    exposed : IntArray
        Cycles that the array waits for each block's schedules [groups, blocks].
    side_by_side : bool
        Whether the classes run at once, or one after another.
    ports : IntArray
        Elements of x and of w that a row and a column of `rows` and `cols` take at once [4, 2].
    together : bool
        Whether rows of all classes go through the same folds, one after another, past the same resting weights.
    """

    classes: Classes
    rows: IntArray
    cols: IntArray
    cycles: IntArray
    spent: IntArray
    evaluations: IntArray
    exposed: IntArray
    side_by_side: bool
    ports: IntArray = dataclasses.field(default_factory=lambda: PORTS)
    together: bool = False

    @property
    def compute_cycles(self) -> int:
        """Of the array, all blocks and the schedules that it waits for."""
        return int((self.spent + self.exposed).sum())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counts:
    """What a placed product does, by class [4], over all groups and blocks.

    Attributes
    ----------
    bit_group_cycles : IntArray
        Cycles of bit groups with anything to multiply.
    x_read, w_read : IntArray
        Elements that the array reads from SRAM, weights once for all rows; those that classes share are the first's.
    psum_write : IntArray
        Partial sums that leave the array.
    folds : float
        Folds times the places that they lie on, as often as tiles cut the stream of their block.
    """

    bit_group_cycles: IntArray
    x_read: IntArray
    w_read: IntArray
    psum_write: IntArray
    folds: float


def class_sizes(classes: Classes) -> tuple[IntArray, IntArray]:
    """Rows and columns of the four classes [4, groups, blocks]."""
    parts = list(classes.parts)
    return np.stack([rows for _, rows, _ in parts]), np.stack([columns for _, _, columns in parts])


def count(placed: Placement, dataflow: Dataflow, runs: IntArray = ONE) -> Counts:
    """Work and words of a placed product.

    Weight-stationary: a word of x enters once per fold of columns, sums leave once per fold of the reduction; a class
    without columns streams nothing. Output-stationary: words of w enter once per fold of rows too, sums leave once per
    run of each block. What rests is exchanged once per fold and run.
    """
    m, n = class_sizes(placed.classes)
    k = placed.classes.k
    fx, fw = (each[:, None, None] for each in PORTS.T)
    x_port, w_port = (each[:, None, None] for each in placed.ports.T)
    rows = np.maximum(placed.rows, 1) * x_port  # an empty class may have none
    cols = np.maximum(placed.cols, 1) * w_port
    n_folds = -(-n // cols)
    rows_met, columns_met = _of_folds(placed)
    if dataflow == "os":
        busy, psums = -(-m // fx) * -(-n // fw) * k, m * n * runs
        resting, w_read = rows_met, k * columns_met * -(-rows_met // rows)
    else:
        busy, psums = m * -(-k // fx) * -(-n // fw), m * n * -(-k // rows)
        resting, w_read = k * (rows_met > 0), k * columns_met * (rows_met > 0)
    folds = -(-resting // rows) * -(-columns_met // cols) * (placed.rows * placed.cols) * runs
    each = [values.sum(axis=(1, 2)) for values in (busy, m * k * n_folds, w_read, psums)]
    return Counts(
        bit_group_cycles=each[0], x_read=each[1], w_read=each[2], psum_write=each[3], folds=float(folds.sum())
    )


def _of_folds(placed: Placement) -> tuple[IntArray, IntArray]:
    """Rows and columns that meet in folds [4, groups, blocks]; of classes that go together all in the first's."""
    m, n = class_sizes(placed.classes)
    if not placed.together:
        return m, n
    all_rows, all_columns = np.zeros_like(m), np.zeros_like(n)
    all_rows[0], all_columns[0] = placed.classes.m, placed.classes.n
    return all_rows, all_columns
