"""Options that all methods of operands share, whatever the format.

What the network is changed into before formats and scales are chosen (`bitwright.methods.transforms`), and what
calibration does once they are (`bitwright.methods.refine`).
"""

from typing import ClassVar, Literal

import pydantic

from bitwright.methods.site_options import SiteOptions
from bitwright.settings import OURS, about

Rotating = Literal["search", "all", "offline", "none"]
WeightRounding = Literal["auto", "nearest", "second-order", "reconstruction"]


class CorrectingOptions(SiteOptions):
    """Of methods whose codes move the means of outputs, narrow ones too."""

    bias_correction: bool = pydantic.Field(
        True,
        description="take off each bias what quantization adds to its channel's mean on the samples, where that helps "
        "on others of them",
        json_schema_extra=about("our choice, after Nagel et al., ICCV 2019"),
    )


class OperandOptions(CorrectingOptions):
    """What x is rotated by, how weights become codes, and what their errors leave to the biases."""

    whole_network: ClassVar[frozenset[str]] = CorrectingOptions.whole_network | {"rotation", "rotation_bits"}

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
    w_rounding: WeightRounding = pydantic.Field(
        "auto",
        description="weights to codes: the nearest, by second-order error (GPTQ), or learned on the outputs of blocks "
        "(AdaRound, BRECQ); auto: by second-order error below 8 bits and where x has scales at run time",
        json_schema_extra=about(OURS),
    )


class WideningOptions(OperandOptions):
    """Of methods whose machines take integer weights of another width beside narrow ones."""

    wide_bits: ClassVar[int] = 8
    """Width of weights that are kept wide."""
    whole_network: ClassVar[frozenset[str]] = OperandOptions.whole_network | {"wide"}

    wide: Literal["search", "none"] = pydantic.Field(
        "none",
        description="narrow weights' exceptions: depthwise convolutions, the first and the last layer are tried with "
        "wide weights on held-out samples, and stay so where that is worth its time (search); none",
        json_schema_extra=about(OURS),
    )
