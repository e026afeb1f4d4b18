"""Systems whose published figures can be reproduced, by name."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from bitwright.accelerators.protocol import Accelerator
from bitwright.errors import InputError, unknown_name
from bitwright.studies.machines import build_accelerators
from bitwright.studies.reproduce import apsq, drift, lp, panacea
from bitwright.studies.reproduce.claims import Claim, Claimed

ANY_SYSTEM = frozenset({"seed"})
"""What every verb takes, also where nothing is drawn."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class System:
    """How one system is reproduced.

    Attributes
    ----------
    name : str
        What the command line calls it.
    models : mapping
        Networks that are measured if none is named, each with the sizes of its input as `load` takes them.
    machines : callable
        (settings, substrate) -> the machines it needs, by name.
    settings : type
        A dataclass of what all its networks share: its fields are the options that the system has.
    reproduce : callable
        (networks, machines, *, settings, ...) -> a `result`.
    result : type
        A reproduction, whose `claims` are the rows of any report.
    claims : tuple of Claim
        What it asks, for the rows of a table where nothing could be measured.
    unmeasured : tuple of Claim
        Headlines that nothing here measures, each with the reason.
    brief : mapping or None
        Networks that are measured where all systems are; None takes `models`.
    samples : mapping
        Settings that keep that short.
    """

    name: str
    models: Mapping[str, Mapping[str, Any]]
    machines: Callable[[Mapping[str, Any], str], Mapping[str, Accelerator]]
    settings: type[Any]
    reproduce: Callable[..., Any]
    result: type[Claimed] = Claimed  # type: ignore[type-abstract]
    claims: tuple[Claim, ...] = ()
    unmeasured: tuple[Claim, ...] = ()
    brief: Mapping[str, Mapping[str, Any]] | None = None
    samples: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def settings_from(self, given: Mapping[str, Any]) -> Any:
        """The settings made of what is given: whatever is not None or empty.

        Raises
        ------
        InputError
            For an option that the system does not have.
        """
        known = {field.name for field in dataclasses.fields(self.settings)}
        chosen = {name: value for name, value in given.items() if value is not None and value != {}}
        unused = [name.replace("_", " ") for name in chosen if name not in known | ANY_SYSTEM]
        if unused:
            raise InputError(f"reproducing {self.name} has no use for {' and '.join(unused)}; leave that out")
        return self.settings(**{name: value for name, value in chosen.items() if name in known})


SYSTEMS: Mapping[str, System] = {
    system.name: system
    for system in (
        System(
            name="panacea",
            models={"minilm-l6": {}, "efficientnet-lite0": {}, "smollm2-135m": {}},
            machines=partial(build_accelerators, panacea.MACHINES),
            settings=panacea.Settings,
            reproduce=panacea.reproduce,
            result=panacea.Reproduction,
            claims=panacea.CLAIMS,
            brief={"minilm-l6": {}},
            samples={"limit": 32, "calibration_count": 8},
        ),
        System(
            name="apsq",
            models={
                "bert-base": {"sequence_length": 128},
                "segformer-b0": {"image_size": 512},
                "efficientvit-b1": {"image_size": 512},
                "llama2-7b": {"sequence_length": 4096},
            },
            machines=apsq.machines,
            settings=apsq.Settings,
            reproduce=apsq.reproduce,
            result=apsq.Reproduction,
            claims=apsq.CLAIMS,
            unmeasured=apsq.ACCURACY,
        ),
        System(
            name="lp",
            models={"resnet50": {}, "vit-base": {}, "efficientnet-lite0": {}, "minilm-l6": {}},
            machines=lp.machines,
            settings=lp.Settings,
            reproduce=lp.reproduce,
            result=lp.Reproduction,
            claims=lp.CLAIMS,
            unmeasured=lp.ACCURACY,
            brief={"resnet50": {}, "vit-base": {}},
        ),
        System(
            name="drift",
            models={
                "resnet50": {},
                "vit-base": {},
                "bert-base": {"sequence_length": 128},
                "opt-6.7b": {"sequence_length": 2048},
                "minilm-l6": {},
                "efficientnet-lite0": {},
            },
            machines=drift.machines,
            settings=drift.Settings,
            reproduce=drift.reproduce,
            result=drift.Reproduction,
            claims=drift.CLAIMS,
            brief={"resnet50": {}, "vit-base": {}, "bert-base": {"sequence_length": 128}},
        ),
    )
}


def find_system(name: str) -> System:
    """The system of that name; raises `InputError`, with the names that there are, for an unknown one."""
    if name not in SYSTEMS:
        raise unknown_name("system", name, SYSTEMS)
    return SYSTEMS[name]
