"""How partial sums are stored: the accumulation rules `apsq`, `psq` and `block` of a site's plan.

APSQ (arXiv 2505.03748, DAC 2025; idea from the abstract, schedule from an independent public re-implementation): a
product is added up tile by tile along the reduction axis, T_i being the exact sum of one tile of width Pci. At every
gs-th tile the running sum itself is quantized (APSQ step), the tiles in between are quantized alone (PSQ step):

  AP_i = Q(T_i + sum of what is stored; a_i),   P_i = Q(T_i; a_i),   Q(v; a) = saturate(round(v / a)),

with power-of-two scales a_i, one per tile index, and the last step an APSQ step whose a AP is the result. `psq` stores
every tile alone and adds all of them at the end; `block` requantizes the running sum at every tile with a power-of-two
scale that each block of outputs takes from its own data (as MXINT8 partial sums do). Rounding, saturation and where the
schedule starts (`phase`) are not public; they are parameters.

Ours: codes of x are centred on a constant per input channel before they are multiplied, by default on the mean seen in
calibration, otherwise on the zero point: with weights that are known beforehand it is a constant of each tile and
output, added to the tile's sum and taken back from the finished one, as an asymmetric zero point has to be anyway.
Sums of one-sided activations wander far less on the way, so that their scales are finer.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from bitwright.errors import InputError
from bitwright.formats import Rounding, Saturation
from bitwright.later import torch

BITS = (4, 6, 8, 16, 32)
SHIFTS = (Rounding.HALF_UP, Rounding.FLOOR)
"""What a shifter does: add half of what is dropped, or drop it."""
TILE_SCALES, SUM_SCALES, CENTRES = "tile_scales", "sum_scales", "centres"

Flags = npt.NDArray[np.bool_]


class Kind(enum.StrEnum):
    """Which rule."""

    APSQ = "apsq"
    PSQ = "psq"
    BLOCK = "block"


class Phase(enum.StrEnum):
    """Where a group starts."""

    HEAD = "head"  # APSQ steps at i = 0, gs, 2 gs, ...: the counter starts at gs - 1
    TAIL = "tail"  # APSQ steps at i = gs - 1, 2 gs - 1, ...: the counter starts at 0, as in the authors' figure


@dataclasses.dataclass(frozen=True, kw_only=True)
class PartialSums:
    """One site's rule.

    Attributes
    ----------
    kind : Kind
        Which rule.
    tile : int
        Pci, the elements of the reduction axis that are added exactly.
    bits : int
        Of a stored partial sum.
    group_size : int
        gs; only of `apsq`.
    phase : Phase
        Only of `apsq`.
    rounding, saturation : Rounding, Saturation
        Of the shift that stores.
    block : int
        Outputs (consecutive columns) that share a scale; only of `block`.
    tile_scales, sum_scales : torch.Tensor or None
        Scales of stored tiles and of stored running sums by tile index, float32 [tiles]: powers of two. Of a reduction
        whose length varies (attention), the longest that was calibrated. None for shapes only, and of `block`.
    centres : torch.Tensor or None
        The code that x is centred on, of each of its channels, int32 [channels]; None: its zero point.
    """

    __pydantic_config__: ClassVar[Any] = {"arbitrary_types_allowed": True}

    kind: Kind
    tile: int
    bits: int = 8
    group_size: int = 1
    phase: Phase = Phase.HEAD
    rounding: Rounding = Rounding.HALF_UP
    saturation: Saturation = Saturation.CLIP
    block: int = 32
    tile_scales: torch.Tensor | None = None
    sum_scales: torch.Tensor | None = None
    centres: torch.Tensor | None = None

    def __post_init__(self) -> None:
        for name, value in (("tile", self.tile), ("group_size", self.group_size), ("block", self.block)):
            if value < 1:
                raise ValueError(f"{name} of partial sums is {value}; it is at least 1")
        if self.bits not in BITS:
            raise ValueError(f"partial sums of {self.bits} bits are not stored; choose {', '.join(map(str, BITS))}")
        if self.rounding not in SHIFTS:
            raise ValueError(f"a shifter rounds {' or '.join(SHIFTS)}, not {self.rounding}")
        _check_scales(TILE_SCALES, self.tile_scales)
        _check_scales(SUM_SCALES, self.sum_scales)
        counts = [None if scales is None else len(scales) for scales in (self.tile_scales, self.sum_scales)]
        if counts[0] != counts[1]:
            raise ValueError(f"{TILE_SCALES} and {SUM_SCALES} are one per tile each, not {counts[0]} and {counts[1]}")
        if self.centres is not None and (self.centres.dtype != torch.int32 or self.centres.dim() != 1):
            raise ValueError(f"{CENTRES} are one int32 per channel, not {tuple(self.centres.shape)}")

    @property
    def name(self) -> str:
        """What reports call it."""
        return str(self.kind)

    @property
    def low(self) -> int:
        """The smallest stored integer."""
        return -(2 ** (self.bits - 1))

    @property
    def high(self) -> int:
        """The largest stored integer."""
        return int(2 ** (self.bits - 1)) - 1

    def tiles(self, k: int) -> int:
        """How many tiles a reduction of length `k` has; the last may be shorter."""
        return -(-k // self.tile)

    def additive(self, tiles: int) -> Flags:
        """Which steps quantize the running sum [tiles]."""
        step = np.arange(tiles)
        if self.kind is Kind.PSQ:
            return np.zeros(tiles, dtype=np.bool_)
        if self.kind is Kind.BLOCK:
            return np.ones(tiles, dtype=np.bool_)
        first = 0 if self.phase is Phase.HEAD else self.group_size - 1
        flags: Flags = (step % self.group_size == first) | (step == tiles - 1)
        return flags

    def scales(self, tiles: int) -> npt.NDArray[np.float32]:
        """The scale of each step [tiles]; beyond what was calibrated, the last one of its kind.

        Raises
        ------
        InputError
            If there are none because the plan was made for shapes only.
        """
        if self.tile_scales is None or self.sum_scales is None:
            raise InputError("partial sums have no scales: the plan was made for shapes only; calibrate on samples")
        index = np.minimum(np.arange(tiles), len(self.sum_scales) - 1)
        tile, total = (scales.detach().cpu().numpy()[index] for scales in (self.tile_scales, self.sum_scales))
        return np.where(self.additive(tiles), total, tile).astype(np.float32)


def _check_scales(name: str, scales: torch.Tensor | None) -> None:
    """Refuse what a shifter cannot do."""
    if scales is None:
        return
    if scales.dtype != torch.float32 or scales.dim() != 1 or not len(scales):
        raise ValueError(f"{name} are one float32 number per tile, not {scales.dtype} {tuple(scales.shape)}")
    mantissa, exponent = torch.frexp(scales.detach().double())
    wrong = (mantissa != 0.5) | (exponent < 1)
    if bool(wrong.any()):
        index = int(wrong.nonzero()[0])
        raise ValueError(
            f"{name}[{index}] is {float(scales[index]):g}, and shifters scale by powers of two that are at least 1"
        )
