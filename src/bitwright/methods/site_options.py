"""Options of a method that single sites can have otherwise.

Every option can be overridden for sites whose name matches a glob: `sites={"*.down_proj": {"x_bits": 16}}`.
"""

import difflib
import fnmatch
from collections.abc import Iterable
from typing import Any, ClassVar, Self

import pydantic

from bitwright.errors import InputError
from bitwright.settings import about, bounded, refusal


class SiteOptions(pydantic.BaseModel):
    """What options of methods are made from: frozen, no unknown keys, overrides per glob on site names.

    Examples
    --------
    >>> class Options(SiteOptions):
    ...     bits: int = 8
    >>> Options(sites={"*.head": {"bits": 4}}).at("decoder.head").bits
    4
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")
    whole_network: ClassVar[frozenset[str]] = frozenset({"sites"})
    """Options that no single site can have."""

    sites: dict[str, dict[str, Any]] = pydantic.Field(
        default_factory=dict,
        description="options per glob on site names",
        json_schema_extra=about("none: every site alike"),
    )

    _bounded = pydantic.field_validator("*")(bounded)

    @pydantic.field_validator("sites")
    @classmethod
    def _check_sites(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for glob, overrides in value.items():
            for key in overrides:
                if key not in cls.model_fields or key in cls.whole_network:
                    raise ValueError(f"{glob}: {key!r} is no option of a single site")
            try:
                cls(**overrides)
            except pydantic.ValidationError as error:
                raise ValueError(f"says: {refusal(cls, f'option of {glob}', error.errors()[0])}") from None
        return value

    def at(self, name: str) -> Self:
        """The options of the site `name`, later globs winning."""
        merged = {k: v for glob, over in self.sites.items() if fnmatch.fnmatchcase(name, glob) for k, v in over.items()}
        return type(self)(**{**self.model_dump(), **merged}) if merged else self

    def check_globs(self, names: Iterable[str]) -> None:
        """Refuse a glob that matches none of the sites `names`."""
        known = list(names)
        for glob in self.sites:
            if not fnmatch.filter(known, glob):
                near = difflib.get_close_matches(glob, known, n=3, cutoff=0) or known[:3]
                raise InputError(f"option sites: {glob!r} matches no site; sites are named like {', '.join(near)}")
