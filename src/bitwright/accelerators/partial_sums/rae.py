"""The reconfigurable APSQ engine (RAE) of one lane, tile by tile, as drawn in the authors' architecture figure.

A tile's sum enters an adder, is shifted right to its exponent, rounded and saturated, and stored in one of four banks.
Banks are read through shifters of their own into a tree: A = bank 0 + bank 1, B = bank 2 + bank 3, C = A + (bank 2 or
B, by s1); s0 picks bank 0, A or C; s2 lets what was picked, or zero, into the input adder. A counter says when: s2 is 1
where it has reached the group's size less one, and then it starts again from 0.

Ours, where the figure leaves it open: rounding half up, saturation to all of -2^(b-1) .. 2^(b-1) - 1; banks that hold
nothing of this output yet read as zero (a valid flag each); the last tile adds whatever is stored; a counter that
starts at 0 is the figure's (`tail`), one that is loaded with the group's size less one makes the first tile of each
group the one that adds (`head`).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bitwright.accelerators.partial_sums.accumulation import BANKS, Phase

IntArray = npt.NDArray[np.int64]

S0 = {1: 0b00, 2: 0b01, 3: 0b10, 4: 0b10}
"""By group size: what the tree hands on, bank 0, A or C."""
S1 = {1: 0, 2: 0, 3: 0, 4: 1}
"""By group size: bank 2 alone, or B. It does not matter below 3."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """The engine's state in one step: the counter before it, s2, the bank written (None after the last), the code."""

    counter: int
    s2: int
    bank: int | None
    code: IntArray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Simulated:
    """The finished sums at full scale, and how they came about."""

    output: IntArray
    steps: tuple[Step, ...]


def simulate(
    tiles: npt.ArrayLike, exponents: Sequence[int], *, group_size: int, phase: Phase = "tail", bits: int = 8
) -> Simulated:
    """Run the engine over the tiles of one output, or of many side by side.

    Parameters
    ----------
    tiles : array of int
        [np] or [np, ...]: the exact sums of the tiles, in order.
    exponents : sequence of int
        [np]: the power of two that each tile's code counts in, at least 0.
    group_size : int
        1 .. 4 tiles between two additions of everything stored.
    phase : str
        `tail`, or `head` for a counter that is loaded beforehand.
    bits : int
        Of a stored code.

    Raises
    ------
    ValueError
        A group that the banks do not hold, another number of exponents than of tiles, or a negative exponent.

    Examples
    --------
    >>> int(simulate([100, 50, -20], [0, 1, 1], group_size=1).output)  # 100; 150 / 2 = 75; 130 / 2 = 65
    130
    """
    sums = np.asarray(tiles, dtype=np.int64)
    _check(sums, exponents, group_size)
    banks = [np.zeros_like(sums[0]) for _ in range(BANKS)]
    shifts, valid = [0] * BANKS, [False] * BANKS
    counter = group_size - 1 if phase == "head" else 0
    steps = []
    for i, (tile, exponent) in enumerate(zip(sums, exponents, strict=True)):
        last = i == len(sums) - 1
        s2 = int(counter == group_size - 1 or last)
        read = [np.where(valid[j], banks[j] << shifts[j], 0) for j in range(BANKS)]
        code = _quantized(tile + s2 * _tree(read, group_size), exponent, bits)
        if s2:
            valid = [False] * BANKS
        bank = None if last else valid.index(False)
        steps.append(Step(counter=counter, s2=s2, bank=bank, code=code))
        if bank is not None:
            banks[bank], shifts[bank], valid[bank] = code, exponent, True
        counter = 0 if s2 else counter + 1
    return Simulated(output=steps[-1].code << exponents[-1], steps=tuple(steps))


def _tree(read: Sequence[IntArray], group_size: int) -> IntArray:
    """What the multiplexer s0 hands on."""
    adder_a = read[0] + read[1]
    adder_b = read[2] + read[3]
    adder_c = adder_a + (adder_b if S1[group_size] else read[2])
    return (read[0], adder_a, adder_c)[S0[group_size]]


def _quantized(sums: IntArray, exponent: int, bits: int) -> IntArray:
    """`sums` in units of 2^exponent, rounded half up and saturated."""
    rounded = (sums + (1 << exponent >> 1)) >> exponent
    code: IntArray = np.clip(rounded, -(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    return code


def _check(sums: IntArray, exponents: Sequence[int], group_size: int) -> None:
    if not 1 <= group_size <= BANKS:
        raise ValueError(f"group_size is {group_size}, but the engine has {BANKS} banks: 1 to {BANKS} is expected")
    if sums.ndim == 0 or len(sums) != len(exponents) or not len(sums):
        raise ValueError(f"tiles of shape {sums.shape} and {len(exponents)} exponents, but each tile has one exponent")
    if min(exponents) < 0:
        raise ValueError(f"an exponent is {min(exponents)}, but the engine shifts right only: at least 0 is expected")
