"""The scales of GGUF's blocks: what a file says of weights whose codes are integers.

A tensor is rows of blocks, and a block is codes with a float16 scale, in types 1 with a float16 minimum too. K-quants
have blocks of 256, whose sub-blocks of 16 or 32 have scales (and minima) of 4 to 8 bits, to be multiplied by the
block's float16. So real = scale * code + minimum with a float32 scale for each (sub-)block, exact: 11 bits of a float16
times at most 8. (The layouts are those of ggml, `ggml-common.h`; what codes stand for is read by the package gguf.)
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Parts = tuple[Floats, Floats | None]
WHOLE, SUPER = 32, 256
"""Elements of a block, and of a K-quant's; activations are rounded in as many by llama.cpp."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlockType:
    """A type of GGUF whose codes are integers.

    Attributes
    ----------
    bits : int
        Of a code.
    unsigned : bool
        Whether codes start at 0; otherwise they are in two's complement.
    block, size : int
        Elements that are stored together, and that share a scale.
    stored : int
        Bytes of a block.
    parts : callable
        Blocks' bytes [blocks, stored] -> their scales and minima [blocks, block / size].
    """

    bits: int
    unsigned: bool
    block: int
    size: int
    stored: int
    parts: Callable[[Bytes], Parts]

    @property
    def scale_bits(self) -> int:
        """Stored bits beside the codes of what shares a scale."""
        return (self.stored * 8 - self.bits * self.block) * self.size // self.block


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scales:
    """Of a weight [N, K]: one scale, and minimum where the type has some, for each `size` elements of a row.

    Attributes
    ----------
    kind : BlockType
        Of the tensor.
    scale, minimum : array
        float32 [N, K / size]; scales may be below 0.
    """

    kind: BlockType
    scale: Floats
    minimum: Floats | None


def scales_of(kind: BlockType, rows: Bytes) -> Scales:
    """The scales of rows [N, bytes] of blocks."""
    scale, minimum = kind.parts(np.ascontiguousarray(rows).reshape(-1, kind.stored))
    shape = (len(rows), -1)
    return Scales(kind=kind, scale=scale.reshape(shape), minimum=None if minimum is None else minimum.reshape(shape))


def _half(blocks: Bytes, place: int) -> Floats:
    """A float16 of every block [blocks, 1]."""
    return np.ascontiguousarray(blocks[:, place : place + 2]).view(np.float16).astype(np.float32)


def _scale(blocks: Bytes) -> Parts:
    return _half(blocks, 0), None


def _scale_and_minimum(blocks: Bytes) -> Parts:
    return _half(blocks, 0), _half(blocks, 2)


def _q2_k(blocks: Bytes) -> Parts:
    """Sixteen bytes of scales of 4 bits below minima of 4; the halves are last."""
    own = blocks[:, :16]
    return _half(blocks, 80) * (own & 15), -(_half(blocks, 82) * (own >> 4))


def _q3_k(blocks: Bytes) -> Parts:
    """Twelve bytes of sixteen scales of 6 bits, 32 more than they are: low halves in eight, then two bits of each."""
    low, high = blocks[:, 96:104], blocks[:, 104:108]
    lower = np.concatenate([low & 15, low >> 4], axis=1)
    upper = np.concatenate([(high >> shift) & 3 for shift in (0, 2, 4, 6)], axis=1)
    return _half(blocks, 108) * ((lower | upper << 4).astype(np.float32) - 32), None


def _q4_k(blocks: Bytes) -> Parts:
    """Twelve bytes of eight scales and eight minima of 6 bits, those of the last four with their top bits apart."""
    a, b, c = blocks[:, 4:8], blocks[:, 8:12], blocks[:, 12:16]
    scale = np.concatenate([a & 63, (c & 15) | (a >> 6) << 4], axis=1)
    minimum = np.concatenate([b & 63, (c >> 4) | (b >> 6) << 4], axis=1)
    return _half(blocks, 0) * scale, -(_half(blocks, 2) * minimum)


def _q6_k(blocks: Bytes) -> Parts:
    """Sixteen signed scales of 8 bits."""
    return _half(blocks, 208) * np.ascontiguousarray(blocks[:, 192:208]).view(np.int8), None


def _of(bits: int, size: int, stored: int, parts: Callable[[Bytes], Parts], *, unsigned: bool = False) -> BlockType:
    block = WHOLE if parts in (_scale, _scale_and_minimum) else SUPER
    return BlockType(bits=bits, unsigned=unsigned, block=block, size=size, stored=stored, parts=parts)


TYPES: dict[str, BlockType] = {
    "Q4_0": _of(4, 32, 18, _scale),
    "Q4_1": _of(4, 32, 20, _scale_and_minimum, unsigned=True),
    "Q5_0": _of(5, 32, 22, _scale),
    "Q5_1": _of(5, 32, 24, _scale_and_minimum, unsigned=True),
    "Q8_0": _of(8, 32, 34, _scale),
    "Q2_K": _of(2, 16, 84, _q2_k, unsigned=True),
    "Q3_K": _of(3, 16, 110, _q3_k),
    "Q4_K": _of(4, 32, 144, _q4_k, unsigned=True),
    "Q5_K": _of(5, 32, 176, _q4_k, unsigned=True),
    "Q6_K": _of(6, 16, 210, _q6_k),
}
"""By the name that gguf has for them. Other types have codes that are no integers (IQ, MXFP4), or fractions of bits."""
