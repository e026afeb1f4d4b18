"""A bit group: four multipliers of 4 by 4 bits that make one, two or four products per cycle.

Our reconstruction of Drift's processing element (DAC 2024, whose own is not public). An 8-bit integer is
16 * high + low, high signed if the integer is, low unsigned; a 4-bit one is a single digit. So every digit is one of
5-bit signed integers, -16 .. 15, and a product takes one multiplier per pair of digits: four at 8 by 8 bits, two at 8
by 4 and 4 by 8, one at 4 by 4. This module is the slow, plain reference; the widths of ports and registers follow.
"""

from collections.abc import Sequence

DIGIT_BITS = 4
MULTIPLIERS = 4
PORT_BITS = 8
"""Of x and of w, per cycle, in every mode: one wide element or two narrow ones."""
LOWEST_OPERAND, HIGHEST_OPERAND = -16, 15
"""What a multiplier takes: 5-bit signed integers."""


def per_port(bits: int) -> int:
    """Elements of so many bits, 4 or 8, that share an 8-bit port.

    Examples
    --------
    >>> per_port(4), per_port(8)
    (2, 1)
    """
    return PORT_BITS // bits


def macs_per_cycle(x_bits: int, w_bits: int) -> int:
    """Multiply-accumulates of a bit group per cycle.

    Examples
    --------
    >>> [macs_per_cycle(*bits) for bits in ((8, 8), (8, 4), (4, 8), (4, 4))]
    [1, 2, 2, 4]
    """
    return per_port(x_bits) * per_port(w_bits)


def digits(value: int, bits: int) -> list[int]:
    """Digits of an integer of 4 or 8 bits, signed or not, lowest first.

    Examples
    --------
    >>> digits(-3, 8), digits(-3, 4), digits(253, 8)
    ([13, -1], [-3], [13, 15])
    """
    return [value] if bits == DIGIT_BITS else [value & 15, value >> DIGIT_BITS]


def product(x: int, w: int, *, x_bits: int, w_bits: int) -> tuple[int, int]:
    """x times w from products of digits, shifted and added; and how many multipliers that takes.

    Raises
    ------
    ValueError
        If a digit is not an operand of a multiplier: the integer has more bits than stated.
    """
    total, used = 0, 0
    for i, of_x in enumerate(digits(x, x_bits)):
        for j, of_w in enumerate(digits(w, w_bits)):
            for digit in (of_x, of_w):
                if not LOWEST_OPERAND <= digit <= HIGHEST_OPERAND:
                    raise ValueError(f"{digit} is no 5-bit signed integer: {x} or {w} is wider than stated")
            total += of_x * of_w << (DIGIT_BITS * (i + j))
            used += 1
    return total, used


def cycle(x: Sequence[int], w: Sequence[Sequence[int]], *, x_bits: int, w_bits: int) -> tuple[list[int], int]:
    """What a weight-stationary bit group adds to its sums in a cycle, one per column of w; and multipliers used.

    Parameters
    ----------
    x : sequence of int
        Neighbours along k that share the port; fewer at the edge.
    w : sequence of sequence of int
        The weights that rest, by k, then by n.
    x_bits, w_bits : int
        The mode.
    """
    sums, used = [0] * (len(w[0]) if w else 0), 0
    for element, row in zip(x, w, strict=True):
        for column, weight in enumerate(row):
            value, multipliers = product(element, weight, x_bits=x_bits, w_bits=w_bits)
            sums[column] += value
            used += multipliers
    return sums, used
