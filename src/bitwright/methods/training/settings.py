"""How a network is trained. The paper's recipe is not public; every value is our choice."""

from collections.abc import Mapping
from typing import Any

import pydantic

from bitwright.errors import InputError
from bitwright.settings import bounded


class TrainingSettings(pydantic.BaseModel):
    """Steps, rates, and when to look and to stop."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    steps: int = pydantic.Field(1000, ge=1, description="batches to learn from")
    minutes: float = pydantic.Field(28.0, gt=0, allow_inf_nan=True, description="stop after so long, whatever is left")
    learning_rate: float = pydantic.Field(
        3e-4,
        gt=0,
        lt=1,
        description="of weights, at its peak, by the size of each row and the root of its length (Adam)",
    )
    scale_rate: float = pydantic.Field(1e-4, ge=0, lt=1, description="of scales, in natural logarithms")
    features: float = pydantic.Field(
        1.0,
        ge=0,
        description="weight of the mean relative squared error of every block's output (of every site's where "
        "there are no blocks), beside the output's",
    )
    averaging: int = pydantic.Field(
        50, ge=0, description="steps that the moving average of weights and scales reaches back; 0: none is kept"
    )
    every: int = pydantic.Field(50, ge=1, description="steps between looks at held-out samples, and checkpoints")
    patience: int = pydantic.Field(8, ge=1, description="looks without improvement before an early stop")
    seed: int = pydantic.Field(0, ge=0, description="of the samples")

    _bounded = pydantic.field_validator("steps", "averaging", "every", "patience", "seed")(bounded)


def training_settings(given: Mapping[str, Any]) -> TrainingSettings:
    """Settings from plain values.

    Raises
    ------
    InputError
        For the first that is refused.
    """
    try:
        return TrainingSettings(**given)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).replace("_", "-")
        message = first["msg"].removeprefix("Input ")
        raise InputError(f"--{name} is {first['input']!r}, but it {message}") from None
