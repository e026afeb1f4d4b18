"""The task that judges each of several networks; data serve one task only."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bitwright.errors import InputError
from bitwright.networks.network import Network
from bitwright.tasks import Task, get_task

if TYPE_CHECKING:
    from pathlib import Path


def judges_of(
    networks: Sequence[Network], name: str | None, data: "Path | None", limit: int | None, seed: int
) -> list[Task | None]:
    """Each network's task; None for those with shapes only.

    Raises
    ------
    InputError
        An unknown task, or data that do not fit every network.
    """
    found = [
        None if network.shape_only else get_task(name, network=network, data=data, limit=limit, seed=seed)
        for network in networks
    ]
    kinds = {task.name for task in found if task is not None}
    if data is not None and not kinds:
        raise InputError(f"{data} was given and no network has numbers to be tested on it; leave --data out")
    if data is not None and len(kinds) > 1:
        raise InputError(f"{data} serves one task, not {' and '.join(sorted(kinds))}; compare networks of one kind")
    return found
