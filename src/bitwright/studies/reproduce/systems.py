"""Systems whose published figures can be reproduced, by name."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from bitwright.errors import unknown_name
from bitwright.studies.reproduce import panacea


@dataclasses.dataclass(frozen=True, kw_only=True)
class System:
    """How one system is reproduced.

    Attributes
    ----------
    models : tuple of str
        Networks that are measured if none is named.
    accelerators : tuple of str
        The machines it needs.
    settings : type
        What all its networks share.
    reproduce : callable
        (networks, machines, *, settings, ...) -> a reproduction, whose `claims` are the rows of any report.
    """

    models: tuple[str, ...]
    accelerators: tuple[str, ...]
    settings: Callable[..., Any]
    reproduce: Callable[..., Any]


SYSTEMS: Mapping[str, System] = {
    "panacea": System(
        models=("minilm-l6", "efficientnet-lite0", "smollm2-135m"),
        accelerators=panacea.MACHINES,
        settings=panacea.Settings,
        reproduce=panacea.reproduce,
    )
}


def find_system(name: str) -> System:
    """The system of that name; raises `InputError`, with the names that there are, for an unknown one."""
    if name not in SYSTEMS:
        raise unknown_name("system", name, SYSTEMS)
    return SYSTEMS[name]
