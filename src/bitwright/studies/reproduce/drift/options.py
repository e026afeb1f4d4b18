"""Options of the reproduction: stated shares, the budget, and what is left out."""

from collections.abc import Mapping
from typing import Any

import pydantic

from bitwright.errors import InputError, unknown_name


class StudyOptions(pydantic.BaseModel):
    """What is stated, and what is measured."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    x_share: float = pydantic.Field(
        0.8, ge=0, le=1, description="share of rows of x that are narrow, stated for all networks as shapes"
    )
    w_share: float = pydantic.Field(0.8, ge=0, le=1, description="share of columns of w that are narrow, stated")
    narrow_ends: bool = pydantic.Field(False, description="the first and the last layer become narrow too")
    budget: float = pydantic.Field(
        0.01, gt=0, lt=1, description="relative loss of expected accuracy that narrow sub-tensors may cost"
    )
    block: int = pydantic.Field(
        32, ge=1, description="most elements of the reduction in a sub-tensor, from the step with blocks on"
    )
    ladder: bool = pydantic.Field(
        True, description="networks with weights are calibrated, step by step; false: they are shapes like the others"
    )

    @property
    def in_words(self) -> str:
        """All of them, for reports."""
        return ", ".join(
            f"{key}={str(value).lower() if isinstance(value, bool) else value}"
            for key, value in self.model_dump().items()
        )


def parse(given: Mapping[str, Any]) -> StudyOptions:
    """Options from plain values.

    Raises
    ------
    InputError
        An unknown or impossible one, in one sentence.
    """
    if given.get("sites"):
        raise InputError("options of drift are of the whole study: leave the glob out")
    kept = {key: value for key, value in given.items() if key != "sites"}
    for key in kept:
        if key not in StudyOptions.model_fields:
            raise unknown_name("option of the study of drift", key, StudyOptions.model_fields)
    try:
        return StudyOptions(**kept)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
        raise InputError(f"option {first['loc'][0]} of drift: {first['input']!r} was given, but it {message}") from None
