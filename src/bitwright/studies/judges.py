"""The task that judges each of several networks; data serve one task only."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bitwright.errors import InputError
from bitwright.networks.network import Network
from bitwright.tasks import Labelled, Task, get_task


def judges_of(
    networks: Sequence[Network],
    name: str | None,
    data: "Path | Labelled | None",
    limit: int | None,
    seed: int,
    *,
    samples: Iterable[Any] | Path | None = None,
    calibration_samples: Iterable[Any] | Path | None = None,
) -> list[Task | None]:
    """Each network's task; None for those with shapes only.

    Raises
    ------
    InputError
        An unknown task, data or samples that do not fit every network, or a task's settings where none has numbers.
    """
    found = [
        None
        if network.shape_only
        else get_task(
            name,
            network=network,
            data=data,
            limit=limit,
            seed=seed,
            samples=samples,
            calibration_samples=calibration_samples,
        )
        for network in networks
    ]
    kinds = {task.name for task in found if task is not None}
    if data is not None and not kinds:
        raise InputError(f"{data} was given and no network has numbers to be tested on it; leave --data out")
    if data is not None and len(kinds) > 1:
        raise InputError(f"{data} serves one task, not {' and '.join(sorted(kinds))}; compare networks of one kind")
    return found


def refuse_unjudged(networks: Sequence[Network], settings: Mapping[str, object]) -> None:
    """Raise `InputError` for the first of `settings` that is given, where no network has numbers to be judged."""
    if all(network.shape_only for network in networks):
        for name, value in settings.items():
            if value is not None and value is not False:
                raise InputError(
                    f"{name} was given, and no network has numbers that are calibrated or judged; leave it out"
                )
