"""Settings of the search. The paper's constants are not public: [R] marks what is recollected, the rest is ours."""

from typing import Any, Literal

import pydantic

from bitwright.errors import InputError
from bitwright.settings import bounded

Objective = Literal["global-local", "global", "mse", "kl"]
WIDTHS = {"free": (2, 3, 4, 5, 6, 7, 8), "hardware": (2, 4, 8)}


class SearchSettings(pydantic.BaseModel):
    """How candidates are made and judged."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    objective: Objective = pydantic.Field(
        "global-local", description="contrastive on all blocks, contrastive on the output only, or its MSE or KL"
    )
    widths: Literal["free", "hardware"] = pydantic.Field("free", description="2-8, or 2, 4 and 8 as LPA packs them")
    mean_bits: float | None = pydantic.Field(None, ge=2, le=8, description="largest mean width of weights allowed")
    population: int = pydantic.Field(20, ge=2, description="initial candidates [R]")
    passes: int = pydantic.Field(10, ge=1, description="passes over the blocks, from the last to the first [R]")
    cycles: int = pydantic.Field(4, ge=1, description="regenerations of a block in a pass [R]")
    random_parents: int = pydantic.Field(5, ge=1, description="random parents a child is mated with [R]")
    temperature: float = pydantic.Field(0.07, gt=0, description="tau of the contrastive loss [R]")
    compression: float = pydantic.Field(0.4, ge=0, description="lambda: the exponent of the compression loss [R]")
    floor: float = pydantic.Field(
        0.0, ge=0, description="added to the loss, so that a perfect one still rewards compression"
    )
    sf_step: float = pydantic.Field(0.05, ge=0, description="how far sf of a child may lie from its parents' mean")
    refit: float = pydantic.Field(
        0.5, ge=0, le=1, description="share of changed layers that take the fields of least error for their width"
    )
    profile: bool = pydantic.Field(
        True, description="measure each layer alone at every width first, and begin with allotments made from that"
    )
    seed: int = pydantic.Field(0, ge=0, description="of everything random")

    _bounded = pydantic.field_validator("*")(bounded)

    @property
    def allowed(self) -> tuple[int, ...]:
        """Widths that a weight can have."""
        return WIDTHS[self.widths]

    @pydantic.model_validator(mode="after")
    def _check_cap(self) -> "SearchSettings":
        if self.mean_bits is not None and self.mean_bits < min(self.allowed):
            raise ValueError("no candidate is as narrow as that")
        return self


def search_settings(given: dict[str, Any]) -> SearchSettings:
    """From names and values.

    Raises
    ------
    InputError
        One that is unknown or out of range, by name.
    """
    try:
        return SearchSettings(**given)
    except pydantic.ValidationError as error:
        found = error.errors()[0]
        name = ".".join(map(str, found["loc"])) or "settings"
        raise InputError(f"{name} = {found['input']!r}: {found['msg'].lower()}; see bitwright search --help") from None
