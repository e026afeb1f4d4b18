"""A search of a network's formats: calibrated and judged on samples that are always there, and what came of it."""

import dataclasses
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bitwright.errors import InputError
from bitwright.methods.lpq.options import LpqOptions
from bitwright.methods.lpq.search import Found, SearchSettings, search
from bitwright.methods.plan import Plan
from bitwright.methods.protocol import compose
from bitwright.networks.network import Network
from bitwright.tasks.evaluate import Progress, silent
from bitwright.tasks.samples import default_samples

SEARCHED = "lpq"
COUNTS = {"image": 64, "sentence": 64, "language": 8, "tensor": 64}  # our choice; recollected: 128 images


@dataclasses.dataclass(frozen=True, kw_only=True)
class Search:
    """One search.

    Attributes
    ----------
    network : str
        Its name.
    found : Found
        The plan and how it came about.
    settings : SearchSettings
        Objective, widths, constants.
    samples : str
        What candidates were judged on.
    mean_bits : float
        Of the weights' elements.
    widths : mapping
        Bits -> elements of weights that have them.
    workers : int
        Processes.
    """

    network: str
    found: Found
    settings: SearchSettings
    samples: str
    mean_bits: float
    widths: Mapping[int, int]
    workers: int


def search_network(
    network: Network,
    method: str,
    settings: SearchSettings,
    *,
    options: Mapping[str, Any] | None = None,
    calibration_count: int | None = None,
    log: Path | None = None,
    resume: bool = False,
    workers: int = 1,
    minutes: float = float("inf"),
    progress: Progress = silent,
) -> Search:
    """Search formats for `network`.

    Raises
    ------
    InputError
        A method that has no search, a network with shapes only, or a log that does not fit.
    """
    composition = compose(method, options)
    name, _, chosen = composition.methods[0]
    if len(composition.methods) > 1 or not isinstance(chosen, LpqOptions):
        raise InputError(f"{method} has no search; bitwright search takes --method {SEARCHED}")
    if network.shape_only:
        raise InputError(f"{network.name} has shapes only; a search needs its weights")
    count = calibration_count or COUNTS.get(network.kind, 1)
    samples = default_samples(network, count=count, seed=settings.seed)
    found = search(
        network,
        samples.batches,
        chosen,
        settings,
        Plan(method=method, options={name: chosen.model_dump(mode="json")}),
        log=log,
        resume=resume,
        workers=workers,
        minutes=minutes,
        samples=samples.description,
        progress=progress,
    )
    judged = found.evaluations + found.remembered
    described = f"{samples.description}; searched among {judged:,} candidates on the same"
    widths: Counter[int] = Counter()
    for layer, fields in found.fields.items():
        widths[fields.n] += found.elements[layer]
    return Search(
        network=network.name,
        found=dataclasses.replace(found, plan=dataclasses.replace(found.plan, calibrated_on=described)),
        settings=settings,
        samples=samples.description,
        mean_bits=found.history[-1].mean_bits,
        widths=dict(sorted(widths.items())),
        workers=workers,
    )
