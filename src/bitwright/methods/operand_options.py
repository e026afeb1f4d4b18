"""Options that all methods of operands share: what calibration does once formats and scales are chosen.

Each is a step of `bitwright.methods.refine`, whatever the format.
"""

from typing import ClassVar, Literal

import pydantic

from bitwright.methods.site_options import SiteOptions
from bitwright.settings import OURS, about

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
    """How weights become codes, and what their errors leave to the biases."""

    w_rounding: WeightRounding = pydantic.Field(
        "auto",
        description="weights to codes: the nearest, by second-order error (GPTQ), or learned on the outputs of blocks "
        "(AdaRound, BRECQ); auto: by second-order error below 8 bits",
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
