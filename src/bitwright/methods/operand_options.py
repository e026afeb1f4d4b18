"""Options that all methods of operands share: what calibration does once formats and scales are chosen.

Each is a step of `bitwright.methods.refine`, whatever the format.
"""

from typing import Literal

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
