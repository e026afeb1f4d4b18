"""Formats in blocks along the reduction: a few elements of a few bits share a scale that is a narrow number itself.

The MX formats (OCP microscaling formats specification v1.0): blocks of 32 whose scale X is a power of two (E8M0). For a
block V, section 6.3:

    X = 2^(floor(log2(max |V_i|)) - emax),    P_i = V_i / X rounded to the element's format and saturated,

emax being the exponent of the largest power of two that the element has. NVFP4 (NVIDIA, "Pretraining large language
models with NVFP4", arXiv 2509.25149, appendix): elements E2M1 in blocks of 16, a scale s in E4M3 for each and one scale
t in float32 of the tensor, t = max |tensor| / (6 * 448),

    s = E4M3(max |V_i| / 6 / t),    P_i = E2M1(V_i / (s * t)).

Rounding is to nearest, ties to even. Ours, where these are silent: a block of zeros has the smallest scale; X is 2^-127
at least; s is the smallest subnormal 2^-9 at least, so that no block loses all of its elements; NaN and infinity make
NaN of X and s, and so of all their block; divisions and s * t round to float32. A block that the reduction does not
fill is filled up with zeros, which are stored.
"""

from __future__ import annotations

import dataclasses

from bitwright.formats.encoding import Encoding
from bitwright.formats.granularity import PerGroup
from bitwright.formats.minifloat import (
    E2M1,
    E2M3,
    E3M2,
    E4M3,
    E5M2,
    E8M0,
    FLOAT_BIAS,
    INT8,
    LARGE,
    ElementFormat,
    Minifloat,
)
from bitwright.later import functional as F
from bitwright.later import torch

ScaleFormat = E8M0 | Minifloat
"""What scales of blocks are: powers of two, or floats that are multiplied by a scale of the whole tensor."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlockFormat:
    """A format of blocks.

    Attributes
    ----------
    element : ElementFormat
        Of elements.
    size : int
        Elements that share a scale, along the reduction.
    scale_format : ScaleFormat
        Of that scale.

    Examples
    --------
    >>> BLOCK_FORMATS["mxfp4"].encoding.bits_per_element(rows=1, k=32)
    Fraction(17, 4)
    >>> BLOCK_FORMATS["nvfp4"].encoding.bits_per_element(rows=1, k=32)
    Fraction(9, 2)
    """

    element: ElementFormat
    size: int = 32
    scale_format: ScaleFormat = E8M0()

    @property
    def encoding(self) -> Encoding:
        """How an operand of it is stored."""
        return Encoding(format=self.element, granularity=PerGroup(self.size), scale_format=self.scale_format)

    @property
    def two_level(self) -> bool:
        """Whether the whole tensor has a scale besides."""
        return isinstance(self.scale_format, Minifloat)

    def tensor_scale(self, largest: torch.Tensor) -> torch.Tensor | None:
        """t of a tensor by its largest magnitude, float32, 1 of zeros; None where blocks' scales are all there is."""
        if not isinstance(self.scale_format, Minifloat):
            return None
        scale = largest.float() / (self.element.largest * self.scale_format.largest)
        return torch.where(scale > 0, scale, torch.ones_like(scale))

    def encode(self, x: torch.Tensor, tensor_scale: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Words [..., K] of x [..., K], uint8, and scales of its blocks [..., ceil(K / size)], float32.

        Examples
        --------
        >>> words, scales = BLOCK_FORMATS["mxfp4"].encode(torch.tensor([[9.0, -1.0, 0.5]]))
        >>> scales.tolist(), E2M1.decode(words).tolist()
        ([[2.0]], [[4.0, -0.5, 0.0]])
        """
        reals = x.detach().float()
        if reals.device.type == "cpu" and reals.numel() >= LARGE:
            from bitwright.formats import block_kernels

            return block_kernels.encode_blocks(reals.contiguous(), self, tensor_scale)
        scales = self.scales(reals, tensor_scale)
        return self.encode_by(reals, scales, tensor_scale), scales

    def scales(self, x: torch.Tensor, tensor_scale: torch.Tensor | None = None) -> torch.Tensor:
        """Scales of the blocks of x [..., K] by the rule of the format, float32 [..., ceil(K / size)]."""
        padded = F.pad(x.detach().float(), (0, -x.shape[-1] % self.size))
        largest = padded.unflatten(-1, (-1, self.size)).abs().amax(-1)
        if isinstance(self.scale_format, Minifloat):
            assert tensor_scale is not None, "a scale of the tensor is due"
            scales = self.scale_format.decode(self.scale_format.encode(largest / self.element.largest / tensor_scale))
            scales = scales.clamp_min(1 / self.scale_format.rounded.grid)
        else:
            exponent = torch.frexp(largest)[1] - 1 - self.element.largest_exponent
            exponent = torch.where(largest > 0, exponent, -FLOAT_BIAS).clamp_min(-FLOAT_BIAS)
            scales = torch.ldexp(torch.ones_like(largest), exponent)
        return torch.where(largest.isfinite(), scales, torch.nan)

    def encode_by(
        self, x: torch.Tensor, scales: torch.Tensor, tensor_scale: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Words of x [..., K], uint8, by given scales of its blocks."""
        steps = scales if tensor_scale is None else scales * tensor_scale
        spread = steps.repeat_interleave(self.size, dim=-1)[..., : x.shape[-1]]
        words = self.element.encode(x.detach().float() / spread)
        return words.masked_fill_(spread.isnan(), 0)


BLOCK_FORMATS: dict[str, BlockFormat] = {
    "mxfp8-e4m3": BlockFormat(element=E4M3),
    "mxfp8-e5m2": BlockFormat(element=E5M2),
    "mxfp6-e2m3": BlockFormat(element=E2M3),
    "mxfp6-e3m2": BlockFormat(element=E3M2),
    "mxfp4": BlockFormat(element=E2M1),
    "mxint8": BlockFormat(element=INT8),
    "nvfp4": BlockFormat(element=E2M1, size=16, scale_format=E4M3),
}
"""By name; mxfp8, mxfp6 and mxfp4 are the specification's, in both of their element types."""
