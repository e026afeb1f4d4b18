"""The tasks by name: what each needs, which networks it fits, and how it is made from what a user gives."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bitwright.errors import InputError, unknown_name
from bitwright.networks.network import Network
from bitwright.tasks.fidelity import Fidelity, fidelity
from bitwright.tasks.given import given_samples, to_calibrate_on
from bitwright.tasks.labelled import Labelled, labelled
from bitwright.tasks.perplexity import Perplexity, perplexity
from bitwright.tasks.samples import Samples, require_kind
from bitwright.tasks.sts import Sts, sts
from bitwright.tasks.task import Task
from bitwright.tasks.top1 import Top1, top1


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
    name: str | None,
    *,
    network: Network,
    data: Path | Labelled | None = None,
    limit: int | None = None,
    seed: int = 0,
    samples: Iterable[Any] | Path | None = None,
    calibration_samples: Iterable[Any] | Path | None = None,
    calibrates: bool = True,
) -> Task:
    """The task of that name, on the user's data where it needs some, or on the user's samples.

    Parameters
    ----------
    name : str or None
        None is the network's default task where `data` is given, and `fidelity` where it is not.
    network : Network
        What will be judged.
    data : Path, Labelled or None
        The labelled samples: a file or folder as the task reads it, or the caller's own batches and metric.
    limit : int or None
        At most so many samples; `TASKS[name].limit` says of what.
    seed : int
        Of samples that are drawn (fidelity).
    samples : iterable of batches, path or None
        The user's, or the folder or text that has them. Fidelity calibrates on half of them
        and judges by the other half (by all of them where `calibration_samples` are given, or nothing is calibrated); a
        task with data calibrates on all of them.
    calibration_samples : iterable of batches, path, str or None
        To calibrate on, and nothing else; or names of sources, of which `calibration` then draws.
    calibrates : bool
        Whether anything will be calibrated.

    Raises
    ------
    InputError
        For an unknown task, a task that does not fit the network, data missing, unusable or given in vain.
    """
    if isinstance(data, Labelled):
        return labelled(
            network,
            data,
            task=name,
            limit=limit,
            samples=samples,
            calibration_samples=calibration_samples,
            calibrates=calibrates,
        )
    if name is None:
        name = (network.default_task or "fidelity") if data is not None else "fidelity"
    if name not in TASKS:
        raise unknown_name("task", name, TASKS)
    info = TASKS[name]
    _check(info, network, data, limit)
    if samples is None and calibration_samples is None:
        return _made(name, network, data, limit, seed, None)
    for what, own in (("samples", samples), ("calibration_samples", calibration_samples)):
        if isinstance(own, str | Path) and data is not None and Path(own).resolve() == data.resolve():
            raise InputError(f"{what} is {own}, which the task judges by; nothing may be calibrated on that")
    judged, calibrated = _given(network, samples, calibration_samples, judges=data is None, calibrates=calibrates)
    if judged is not None and limit is not None:
        raise InputError(f"the limit is {limit}, but the caller gives the samples as they are; leave the limit out")
    return dataclasses.replace(_made(name, network, data, limit, seed, judged), calibrated=calibrated)


def _made(
    name: str, network: Network, data: Path | None, limit: int | None, seed: int, judged: Samples | None
) -> Fidelity | Perplexity | Sts | Top1:
    if data is None:
        return fidelity(network=network, limit=limit, seed=seed, given=judged)
    if name == "perplexity":
        return perplexity(network=network, data=data, limit=limit)
    return sts(data=data, limit=limit) if name == "sts" else top1(data=data, limit=limit)


def _given(
    network: Network,
    samples: Iterable[Any] | Path | None,
    calibration_samples: Iterable[Any] | Path | None,
    *,
    judges: bool,
    calibrates: bool,
) -> tuple[Samples | None, Samples | tuple[str, ...] | None]:
    """The user's samples to judge by, and those to calibrate on."""
    apart = calibration_samples is not None
    if apart and not calibrates:
        raise InputError("calibration_samples are given and nothing is calibrated; leave them out")
    calibrated: Samples | tuple[str, ...] | None = None
    if calibration_samples is not None:
        calibrated = to_calibrate_on(network, calibration_samples, "calibration_samples")
    if samples is None:
        return None, calibrated
    found = given_samples(network, samples)
    if judges and (apart or not calibrates):
        return found.samples(), calibrated
    if judges:
        calibrated, judged = found.halves()
        return judged, calibrated
    if apart or not calibrates:
        why = "calibration_samples are given too" if apart else "nothing is calibrated"
        raise InputError(f"samples are given, but the task judges by its data and {why}; leave samples out")
    return None, found.samples()


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
