"""A layer's codes at the ports of circuits that take several of them at once, or in slices."""

from __future__ import annotations

import numpy as np

from bitwright.circuits.circuit import Integers, Words
from bitwright.errors import InputError
from bitwright.formats import Integer, SlicedUnsigned, signed_slices, unsigned_slices
from bitwright.formats.slices import SLICED_WIDTHS
from bitwright.later import torch


def neighbours(codes: Integers, begins: Integers, count: int) -> Integers:
    """Codes [clocks, 1] of one sum after the other, as lanes [clocks, 1, count]: of a sum and of those after it.

    Examples
    --------
    >>> neighbours(np.array([[1], [2], [3], [4]]), np.array([[1], [0], [1], [0]]), 2)[:, 0].tolist()
    [[1, 3], [2, 4], [3, 1], [4, 2]]
    """
    return np.stack([np.roll(codes, -at * length(begins), axis=0) for at in range(count)], -1)


def length(begins: Integers) -> int:
    """Products of a sum, of flags [clocks, 1] that say where one begins.

    Examples
    --------
    >>> length(np.array([[1], [0], [0], [1]]))
    3
    """
    starts = np.flatnonzero(begins[:, 0])
    return int(starts[1]) if len(starts) > 1 else len(begins)


def numbers(begins: Integers) -> Integers:
    """Which sum each product is of, from 0.

    Examples
    --------
    >>> numbers(np.array([[1], [0], [1]])).ravel().tolist()
    [0, 0, 1]
    """
    found: Integers = np.cumsum(begins, axis=0) - 1
    return found


def slices_of(words: Words, circuit: str) -> list[Integers]:
    """Slices of integers, lowest order first: unsigned ones as they are cut, signed ones with borrows.

    Raises
    ------
    InputError
        What has no slices.
    """
    fmt, codes = words.format, torch.from_numpy(words.codes)
    if isinstance(fmt, SlicedUnsigned):
        high, low = unsigned_slices(codes, fmt.split)
        return [low.numpy().astype(np.int64), high.numpy().astype(np.int64)]
    if isinstance(fmt, Integer) and fmt.signed and fmt.bits in SLICED_WIDTHS:
        return [each.numpy().astype(np.int64) for each in signed_slices(codes, fmt.bits)]
    raise InputError(
        f"operands of the layer are {fmt.name}, and {circuit} takes 4-bit slices of signed integers of 4, 7, 10 or 13 "
        "bits, or of unsigned ones that are cut; choose --method aqs or sibia"
    )


def centred(words: Words, circuit: str) -> Integers:
    """Integers of at most 8 bits less their zero point.

    Raises
    ------
    InputError
        Anything else.
    """
    fmt = words.format
    if not isinstance(fmt, Integer) or fmt.bits > 8:
        raise InputError(
            f"codes of the layer are {fmt.name}, and {circuit} takes those of integers of 8 bits; choose --method int8"
        )
    return words.codes - words.zero_point
