"""A packed array register by register, cycle by cycle: the slow twin of the closed forms in `modes`.

Every cycle each register of a unit takes its neighbour's value, as in hardware: the words of x that a unit meets move
right, its partial sums move down. Products are made of digits: an integer of so many bits is a signed leading digit and
unsigned others, and digit products are shifted and added, as BitFusion's bricks do it. Integers stand in for what LPA,
ANT and AdaptivFloat multiply: when and where operands meet does not depend on what they stand for.
"""

import dataclasses

import numpy as np

from bitwright.accelerators.precision_scalable.modes import Mode
from bitwright.memory import IntArray

Weights = list[list[int]]
"""Of a unit: by k, then by n; empty beyond the edge."""


@dataclasses.dataclass(kw_only=True)
class Simulated:
    """The product [m, n] that left the array, and what that took.

    Attributes
    ----------
    product : IntArray
        x @ w.
    cycles : int
        Until the last element left.
    pe_cycles : int
        Cycles of PEs with anything to multiply.
    x_enters, w_enters : int
        Words that entered: up to `deep` neighbours of x along k, up to `wide` neighbours of w along n.
    digit_products : int
        Most digit products of a unit in a cycle.
    """

    product: IntArray
    cycles: int = 0
    pe_cycles: int = 0
    x_enters: int = 0
    w_enters: int = 0
    digit_products: int = 0


def simulate(*, x: IntArray, w: IntArray, mode: Mode, digit_bits: int) -> Simulated:
    """Folds of w rest in the units; x enters skewed from the left; partial sums leave at the bottom.

    Parameters
    ----------
    x, w : IntArray
        [m, k] and [k, n], signed integers of at most the mode's widths.
    mode : Mode
        How the array works.
    digit_bits : int
        Width of a digit of either operand.
    """
    (m, k), n = x.shape, w.shape[1]
    found = Simulated(product=np.zeros((m, n), dtype=np.int64))
    for col in range(0, n, mode.cols * mode.wide):
        for row in range(0, k, mode.rows * mode.deep):
            inputs, weights = x[:, row : row + mode.rows * mode.deep], w[row : row + mode.rows * mode.deep]
            weights = weights[:, col : col + mode.cols * mode.wide]
            found.product[:, col : col + weights.shape[1]] += _fold(inputs, weights, mode, digit_bits, found)
    return found


def digits(value: int, *, bits: int, digit_bits: int) -> list[int]:
    """Digits of a signed integer, lowest first: all unsigned but the last.

    Examples
    --------
    >>> digits(-3, bits=4, digit_bits=2)  # -3 = 1 - 4
    [1, -1]
    """
    count = max(1, bits // digit_bits)
    base = 1 << digit_bits
    low = [value >> (digit_bits * i) & (base - 1) for i in range(count - 1)]
    return [*low, value >> (digit_bits * (count - 1))]


def product_of_digits(x: int, w: int, *, mode: Mode, digit_bits: int) -> tuple[int, int]:
    """x times w from products of digits, shifted and added; and how many products that took."""
    of_x = digits(x, bits=mode.x_bits, digit_bits=digit_bits)
    of_w = digits(w, bits=mode.w_bits, digit_bits=digit_bits)
    total = 0
    for i, x_digit in enumerate(of_x):
        for j, w_digit in enumerate(of_w):
            total += x_digit * w_digit << (digit_bits * (i + j))
    return total, len(of_x) * len(of_w)


def _fold(inputs: IntArray, weights: IntArray, mode: Mode, digit_bits: int, found: Simulated) -> IntArray:
    """Sums [m, columns of the fold]; `inputs` [m, k of the fold], `weights` [k of the fold, columns]."""
    m, columns = len(inputs), weights.shape[1]
    held: list[list[Weights]] = [[[] for _ in range(mode.cols)] for _ in range(mode.rows)]
    for units in reversed(_units(weights, mode)):  # the bottom row's weights enter first and move down
        held = [units, *held[:-1]]
        found.w_enters += sum(len(unit) for unit in units)
        found.cycles += 1
    x: list[list[list[int]]] = [[[] for _ in range(mode.cols)] for _ in range(mode.rows)]
    psum = np.zeros((mode.rows, mode.cols, mode.wide), dtype=np.int64)
    sums = np.zeros((m, mode.cols * mode.wide), dtype=np.int64)
    left, time = [0] * mode.cols, 0  # sums that have left each column
    while min(left) < m:
        entering = [_entering(inputs, time - row, row, mode) for row in range(mode.rows)]
        found.x_enters += sum(bool(each) for each in entering)
        x = [[entering[row], *x[row][:-1]] for row in range(mode.rows)]
        psum = np.concatenate([np.zeros_like(psum[:1]), psum[:-1]])
        for row in range(mode.rows):
            for col in range(mode.cols):
                psum[row, col] += _unit(x[row][col], held[row][col], mode, digit_bits, found)
        for col in range(mode.cols):
            if 0 <= time - (mode.rows - 1) - col < m:
                sums[left[col], col * mode.wide : (col + 1) * mode.wide] = psum[-1, col]
                left[col] += 1
        time += 1
    found.cycles += time
    return sums[:, :columns]


def _units(weights: IntArray, mode: Mode) -> list[list[Weights]]:
    """What rests in each unit [row][col]."""
    return [
        [
            [each for each in block.tolist() if each]
            for col in range(mode.cols)
            for block in [weights[row * mode.deep : (row + 1) * mode.deep, col * mode.wide : (col + 1) * mode.wide]]
        ]
        for row in range(mode.rows)
    ]


def _entering(inputs: IntArray, index: int, row: int, mode: Mode) -> list[int]:
    """The words of x that enter a row of units: `deep` of them, fewer at the edge."""
    if not 0 <= index < len(inputs):
        return []
    words: list[int] = inputs[index, row * mode.deep : (row + 1) * mode.deep].tolist()
    return words


def _unit(x: list[int], w: Weights, mode: Mode, digit_bits: int, found: Simulated) -> IntArray:
    """Products that a unit adds to its `wide` sums in this cycle."""
    sums = np.zeros(mode.wide, dtype=np.int64)
    if not x or not w:
        return sums
    found.pe_cycles += mode.fused
    spent = 0
    for element, row in zip(x, w, strict=True):
        for column, weight in enumerate(row):
            product, count = product_of_digits(element, weight, mode=mode, digit_bits=digit_bits)
            sums[column] += product
            spent += count
    found.digit_products = max(found.digit_products, spent)
    return sums
