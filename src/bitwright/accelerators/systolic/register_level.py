"""Dense arrays register by register, cycle by cycle: the slow twin of the closed forms in `dataflow`.

Every cycle each register of a systolic array takes its neighbour's value, as in hardware; SIMD lanes hear a broadcast.
x [m, k] and w [k, n] are integers; the result is their product and the cycles it took. Folds follow one another without
overlap (our choice, as in SCALE-Sim).
"""

import dataclasses

import numpy as np

from bitwright.memory import IntArray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Simulated:
    """The product [m, n] that left the array, and the cycles until its last element did."""

    product: IntArray
    cycles: int


def weight_stationary(*, x: IntArray, w: IntArray, rows: int, cols: int) -> Simulated:
    """Folds of w rest in the array; x enters skewed from the left; partial sums leave at the bottom."""
    (m, k), n = x.shape, w.shape[1]
    product = np.zeros((m, n), dtype=np.int64)
    cycles = 0
    for col in range(0, n, cols):
        for row in range(0, k, rows):
            weights = _padded(w[row : row + rows, col : col + cols], rows, cols)
            inputs = _padded(x[:, row : row + rows], m, rows)
            sums, fold_cycles = _weight_fold(inputs, weights)
            product[:, col : col + cols] += sums[:, : min(cols, n - col)]
            cycles += fold_cycles
    return Simulated(product=product, cycles=cycles)


def output_stationary(*, x: IntArray, w: IntArray, rows: int, cols: int) -> Simulated:
    """Folds of the output rest in the array; x enters from the left and w from the top; sums leave at the bottom."""
    (m, k), n = x.shape, w.shape[1]
    product = np.zeros((m, n), dtype=np.int64)
    cycles = 0
    for col in range(0, n, cols):
        for row in range(0, m, rows):
            inputs = _padded(x[row : row + rows], rows, k)
            weights = _padded(w[:, col : col + cols], k, cols)
            sums, fold_cycles = _output_fold(inputs, weights)
            product[row : row + rows, col : col + cols] = sums[: min(rows, m - row), : min(cols, n - col)]
            cycles += fold_cycles
    return Simulated(product=product, cycles=cycles)


def simd(*, x: IntArray, w: IntArray, rows: int, cols: int) -> Simulated:
    """Folds of the output rest in the lanes; a column of x and a row of w are broadcast; sums leave at the bottom."""
    (m, k), n = x.shape, w.shape[1]
    product = np.zeros((m, n), dtype=np.int64)
    cycles = 0
    for col in range(0, n, cols):
        for row in range(0, m, rows):
            inputs = _padded(x[row : row + rows], rows, k)
            weights = _padded(w[:, col : col + cols], k, cols)
            sums, fold_cycles = _broadcast_fold(inputs, weights)
            product[row : row + rows, col : col + cols] = sums[: min(rows, m - row), : min(cols, n - col)]
            cycles += fold_cycles
    return Simulated(product=product, cycles=cycles)


def _weight_fold(inputs: IntArray, weights: IntArray) -> tuple[IntArray, int]:
    (m, rows), cols = inputs.shape, weights.shape[1]
    weight, x, psum = (np.zeros((rows, cols), dtype=np.int64) for _ in range(3))
    cycles = 0
    for row in reversed(range(rows)):  # the bottom row's weights enter first and move down
        weight = _down(weight, weights[row])
        cycles += 1
    sums = np.zeros((m, cols), dtype=np.int64)
    left = np.zeros(cols, dtype=np.int64)  # sums that have left each column
    while (left < m).any():
        time = cycles - rows
        x = _right(x, np.array([inputs[time - row, row] if 0 <= time - row < m else 0 for row in range(rows)]))
        psum = _down(psum, np.zeros(cols, dtype=np.int64)) + x * weight
        cycles += 1
        for col in range(cols):
            if 0 <= time - (rows - 1) - col < m:
                sums[left[col], col] = psum[-1, col]
                left[col] += 1
    return sums, cycles


def _output_fold(inputs: IntArray, weights: IntArray) -> tuple[IntArray, int]:
    (rows, k), cols = inputs.shape, weights.shape[1]
    x, w, sums = (np.zeros((rows, cols), dtype=np.int64) for _ in range(3))
    met = np.zeros((rows, cols), dtype=np.int64)  # operand pairs that each element has seen
    skew = np.add.outer(np.arange(rows), np.arange(cols))
    cycles = 0
    while (met < k).any():
        x = _right(x, np.array([inputs[row, cycles - row] if 0 <= cycles - row < k else 0 for row in range(rows)]))
        w = _down(w, np.array([weights[cycles - col, col] if 0 <= cycles - col < k else 0 for col in range(cols)]))
        sums = sums + x * w
        met += (skew <= cycles) & (cycles < skew + k)
        cycles += 1
    product, drain_cycles = _drained(sums)
    return product, cycles + drain_cycles


def _broadcast_fold(inputs: IntArray, weights: IntArray) -> tuple[IntArray, int]:
    (rows, k), cols = inputs.shape, weights.shape[1]
    sums = np.zeros((rows, cols), dtype=np.int64)
    cycles = 0
    while cycles < k:
        for row in range(rows):
            for col in range(cols):
                sums[row, col] += inputs[row, cycles] * weights[cycles, col]
        cycles += 1
    product, drain_cycles = _drained(sums)
    return product, cycles + drain_cycles


def _drained(sums: IntArray) -> tuple[IntArray, int]:
    """The sums as they leave at the bottom, a row per cycle, and the cycles that takes."""
    rows, cols = sums.shape
    product = np.zeros((rows, cols), dtype=np.int64)
    cycles = 0
    for row in reversed(range(rows)):  # the bottom row leaves first
        product[row] = sums[-1]
        sums = _down(sums, np.zeros(cols, dtype=np.int64))
        cycles += 1
    return product, cycles


def _right(registers: IntArray, entering: IntArray) -> IntArray:
    return np.concatenate([entering[:, None], registers[:, :-1]], axis=1)


def _down(registers: IntArray, entering: IntArray) -> IntArray:
    return np.concatenate([entering[None, :], registers[:-1]], axis=0)


def _padded(block: IntArray, rows: int, cols: int) -> IntArray:
    padded = np.zeros((rows, cols), dtype=np.int64)
    padded[: block.shape[0], : block.shape[1]] = block
    return padded
