"""The tasks by name: what each needs, which networks it fits, and how it is made from what a user gives."""

import dataclasses
from pathlib import Path

from bitwright.errors import InputError, unknown_name
from bitwright.networks.network import Network
from bitwright.tasks.fidelity import fidelity
from bitwright.tasks.perplexity import perplexity
from bitwright.tasks.samples import require_kind
from bitwright.tasks.sts import sts
from bitwright.tasks.task import Task
from bitwright.tasks.top1 import top1


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskInfo:
    """One line of the list of tasks.

    Attributes
    ----------
    name, metric : str
        As users write it, and what it measures.
    kinds : tuple of str
        Kinds of network it fits.
    data : str or None
        What `--data` must name; None where the task brings its own samples.
    limit : str
        What a limit counts and what holds without one.
    """

    name: str
    metric: str
    kinds: tuple[str, ...]
    data: str | None
    limit: str


TASKS: dict[str, TaskInfo] = {
    info.name: info
    for info in (
        TaskInfo(
            name="fidelity",
            metric="SQNR in dB against the float network, with KL divergence, agreement and cosine",
            kinds=("image", "sentence", "language", "tensor"),
            data=None,
            limit="tokens (2,048), sentences (256), images or inputs (64)",
        ),
        TaskInfo(
            name="perplexity",
            metric="perplexity on a text",
            kinds=("language",),
            data="a UTF-8 text file",
            limit="tokens from the start (2,048)",
        ),
        TaskInfo(
            name="sts",
            metric="Spearman's rank correlation with people's scores of sentence pairs",
            kinds=("sentence",),
            data="a tab-separated file in the STS benchmark's form",
            limit="pairs, evenly spaced (all)",
        ),
        TaskInfo(
            name="top1",
            metric="top-1 accuracy in %",
            kinds=("image",),
            data="a folder of images named NNNN_name.jpg, class id first",
            limit="images, evenly spaced (all)",
        ),
    )
}


def task_names() -> list[str]:
    """The names of all tasks, sorted."""
    return sorted(TASKS)


def get_task(
    name: str | None, *, network: Network, data: Path | None = None, limit: int | None = None, seed: int = 0
) -> Task:
    """The task of that name, on the user's data where it needs some.

    Parameters
    ----------
    name : str or None
        None is the network's default task where `data` is given, and `fidelity` where it is not.
    network : Network
        What will be judged.
    data : Path or None
        The labelled samples.
    limit : int or None
        At most so many samples; `TASKS[name].limit` says of what.
    seed : int
        Of samples that are drawn (fidelity).

    Raises
    ------
    InputError
        For an unknown task, a task that does not fit the network, data missing, unusable or given in vain.
    """
    if name is None:
        name = (network.default_task or "fidelity") if data is not None else "fidelity"
    if name not in TASKS:
        raise unknown_name("task", name, TASKS)
    info = TASKS[name]
    _check(info, network, data, limit)
    if data is None:
        return fidelity(network=network, limit=limit, seed=seed)
    if name == "perplexity":
        return perplexity(network=network, data=data, limit=limit)
    return sts(data=data, limit=limit) if name == "sts" else top1(data=data, limit=limit)


def _check(info: TaskInfo, network: Network, data: Path | None, limit: int | None) -> None:
    if network.kind not in info.kinds:
        fitting = [other.name for other in TASKS.values() if network.kind in other.kinds]
        raise InputError(
            f"task {info.name} judges networks of kind {' or '.join(info.kinds)}; {network.name} is of kind "
            f"{network.kind}, which fits: {', '.join(fitting) or 'no task'}"
        )
    require_kind(network)
    if info.data is not None and data is None:
        raise InputError(f"task {info.name} needs {info.data}: give it with --data, or use the task fidelity")
    if info.data is None and data is not None:
        raise InputError(f"task {info.name} brings its own samples and does not read {data}; leave --data out")
    if limit is not None and limit < 1:
        raise InputError(f"the limit is {limit}; it counts {info.limit} and must be at least 1")
