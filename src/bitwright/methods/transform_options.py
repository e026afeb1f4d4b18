"""Options of transforms, for every method of operands."""

from typing import ClassVar, Literal

import pydantic

from bitwright.methods.site_options import SiteOptions
from bitwright.settings import OURS, about

Rotating = Literal["search", "all", "offline", "none"]


class TransformOptions(SiteOptions):
    """How a network is changed before its operands are quantized."""

    whole_network: ClassVar[frozenset[str]] = SiteOptions.whole_network | {"rotation", "rotation_bits"}

    rotation: Rotating = pydantic.Field(
        "search",
        description="rotate what linear layers read: wherever it can be (all), only where it costs nothing at run time "
        "(offline), nowhere (none), or where held-out calibration samples say that it pays (search)",
        json_schema_extra=about("our choice: searched; QuaRot, NeurIPS 2024, rotates all"),
    )
    rotation_bits: Literal[0, 12, 16, 20, 24] = pydantic.Field(
        0,
        description="rotations at run time in fixed point of so many bits, summed exactly; 0: in floating point, as "
        "all that is no product",
        json_schema_extra=about(OURS, unit="bits"),
    )
