"""Published figures beside what is measured here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bitwright.api.networks import load, named
from bitwright.errors import InputError
from bitwright.later import torch
from bitwright.networks.checks import place
from bitwright.networks.load import load_several
from bitwright.networks.network import InputShape, Network
from bitwright.studies.provenance import provenance
from bitwright.studies.reproduce import systems
from bitwright.studies.reproduce.claims import Claimed
from bitwright.studies.reproduce.overview import Overview, overview
from bitwright.studies.setting_files import is_file
from bitwright.tasks.evaluate import Progress, silent

OF_ONE = {
    "networks": "--models",
    "task": "--task",
    "data": "--data",
    "parameters": "--set, --technology",
    "options": "--option",
    "batch_size": "--batch-size",
    "batch": "--batch",
    "sequence_length": "--sequence-length",
    "image_size": "--image-size",
    "distribution": "--distribution",
}
"""What only one system can be given, as the command line has it."""


def reproduce(
    system: str | None = None,
    networks: Sequence[Network | str | torch.nn.Module] | None = None,
    *,
    full: bool = False,
    task: str | None = None,
    data: str | Path | None = None,
    limit: int | None = None,
    parameters: Mapping[str, Any] | None = None,
    substrate: str = "common",
    options: Mapping[str, Any] | None = None,
    calibration_count: int | None = None,
    batch_size: int | None = None,
    batch: int = 1,
    sequence_length: int | None = None,
    image_size: int | None = None,
    distribution: str | None = None,
    device: str | None = None,
    seed: int = 0,
    command: str | None = None,
    progress: Progress = silent,
) -> Claimed:
    """Put a system's published figures beside what is measured here; without one, the headlines of all.

    Parameters
    ----------
    system : str or None
        panacea, apsq, lp or drift; None is all of them, with `limit`, `calibration_count`, `substrate` and `device`.
    networks : sequence or None
        Networks or their names; None: the system's own.
    full : bool
        Without a system: all networks of each, and its own samples.
    task, data, limit, options, calibration_count, batch_size, parameters, substrate
        As in `evaluate` and `simulate`; one that the system does not have is refused.
    batch, sequence_length, image_size, distribution, device
        Of networks given by name, as in `load`.
    seed : int
        Of every choice of samples.
    command : str or None
        What made this, for the record.

    Returns
    -------
    Claimed
        `.frame()` has a line per claim, published and measured in its unit, with the reason why they differ.

    Raises
    ------
    InputError
        Anything given that cannot be used. What goes wrong later stands in its row.

    Examples
    --------
    >>> found = reproduce("lp", ["resnet18"])
    >>> found.frame()[["published", "measured", "unit"]].shape[1]
    3
    """
    if is_file(substrate):
        raise InputError(f"what is published stands on the common or the native substrate, not on {substrate}")
    made = provenance(command or "bitwright.reproduce", seed)
    sizes = {"batch": batch, "sequence_length": sequence_length, "image_size": image_size}
    of_system = {
        "task": task,
        "data": None if data is None else Path(data),
        "batch_size": batch_size,
        "options": dict(options or {}),
    }
    of_all = {"limit": limit, "calibration_count": calibration_count, "seed": seed}
    if system is None:
        given = {**sizes, **of_system, "networks": networks, "parameters": parameters, "distribution": distribution}
        _refuse_of_one({**given, "batch": batch != 1})
        loads = partial(load, device=device, seed=seed)
        return _overview(loads, provenance=made, given=of_all, substrate=substrate, full=full, progress=progress)
    if full:
        raise InputError("--full is for all systems; one system takes all its networks anyway, or those of --models")
    chosen = systems.find_system(system)
    settings = chosen.settings_from({**of_system, **of_all})
    machines = chosen.machines(parameters or {}, substrate)
    found: Claimed = chosen.reproduce(
        _networks(chosen, networks, sizes, distribution=distribution, device=device, seed=seed),
        machines,
        settings=settings,
        provenance=made,
        substrate=substrate,
        progress=progress,
    )
    return found


def _overview(loads: Any, **given: Any) -> Overview:
    return overview(list(systems.SYSTEMS.values()), loads, **given)


def _refuse_of_one(given: Mapping[str, Any]) -> None:
    unused = [flag for name, flag in OF_ONE.items() if given[name]]
    if unused:
        raise InputError(
            f"name a system for {' and '.join(unused)}, as in: bitwright reproduce panacea {unused[0]} ..."
        )


def _networks(
    system: systems.System,
    networks: Sequence[Network | str | torch.nn.Module] | None,
    sizes: Mapping[str, Any],
    *,
    distribution: str | None,
    device: str | None,
    seed: int,
) -> list[Network]:
    """Those given, or the system's own; names are loaded together, each with the sizes that it has."""
    wanted = list(system.models) if networks is None else list(networks)
    names = [each for each in wanted if isinstance(each, str)]
    loaded = load_several(
        names,
        shape=InputShape(**sizes),
        own=system.models,
        device=place(device),
        distribution=distribution,
        seed=seed,
    )
    by_name = dict(zip(names, loaded, strict=True))
    return [by_name[each] if isinstance(each, str) else named(each) for each in wanted]
