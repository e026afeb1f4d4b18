"""From a method's name to a plan, calibrated on samples that are always there and never the test samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitwright.errors import InputError
from bitwright.later import later
from bitwright.methods.plan import Plan
from bitwright.methods.protocol import compose
from bitwright.methods.sharing import once
from bitwright.networks.network import Network
from bitwright.networks.synthetic import describe

if TYPE_CHECKING:
    from bitwright.tasks import given as given_samples
    from bitwright.tasks import samples as task_samples
    from bitwright.tasks.samples import Samples
    from bitwright.tasks.task import Task
else:
    given_samples = later("bitwright.tasks.given")
    task_samples = later("bitwright.tasks.samples")

# Our choice: enough for ranges that stay put when the seed changes, few enough to take seconds.
CALIBRATION_COUNTS = {"image": 32, "sentence": 64, "language": 8, "tensor": 32}
NOTHING = "nothing"
FLOAT = "float"  # the method that is there to quantize nothing
SHAPES = "nothing (shapes only: formats without scales)"


def calibrate_method(
    network: Network,
    method: str,
    *,
    options: Mapping[str, Any] | None = None,
    task: Task | None = None,
    samples: Samples | None = None,
    count: int | None = None,
    seed: int = 0,
) -> Plan:
    """The plan of `method` for `network`; it keeps which samples it was calibrated on.

    Parameters
    ----------
    network : Network
        One with shapes only gets formats without scales, unless it has synthetic operands.
    method : str
        A method, a recipe, or a composition `a+b`.
    options : mapping or None
        Of the method, by name.
    task : Task or None
        Chooses the samples; without one they are the default ones of the network's kind.
    samples : Samples or None
        To calibrate on; None chooses `count` of them.
    count : int or None
        Samples; None is 32 images or inputs, 64 sentences, 8 windows of tokens.
    seed : int
        Of the choice of samples.

    Raises
    ------
    InputError
        Unknown method or option, or a network that cannot be calibrated.
    """
    composition = compose(method, options)
    if network.shape_only:
        plan = composition.calibrate(network, ())
        return dataclasses.replace(plan, calibrated_on=_without_samples(network, plan))
    if composition.fixed:
        return dataclasses.replace(composition.calibrate(network, ()), calibrated_on=NOTHING)
    if samples is None:
        samples = calibration_samples(network, task, count=count, seed=seed)
    plan = composition.calibrate(network, samples.batches)
    return dataclasses.replace(plan, calibrated_on=samples.description if plan.quantizes else NOTHING)


def calibration_samples(network: Network, task: Task | None, *, count: int | None, seed: int) -> Samples:
    """The samples that a plan for `network` is calibrated on, chosen as in `calibrate_method`."""
    number = CALIBRATION_COUNTS.get(network.kind, 1) if count is None else count
    source = task.calibration if task is not None else task_samples.default_samples
    return once(("samples", number, seed), (network, task), lambda: source(network, count=number, seed=seed))


def samples_to_calibrate(network: Network, given: Iterable[Any] | Path, *, count: int | None, seed: int) -> Samples:
    """The caller's samples, or `count` of the sources that a text names.

    Raises
    ------
    InputError
        As `to_calibrate_on`; a count beside samples that are given as they are.
    """
    found = given_samples.to_calibrate_on(network, given, "samples")
    if isinstance(found, task_samples.Samples):
        if count is not None:
            raise InputError(f"count is {count}, but the caller gives the samples as they are; leave count out")
        return found
    number = CALIBRATION_COUNTS.get(network.kind, 1) if count is None else count
    return task_samples.calibration_of(found, network, count=number, seed=seed)


def require_quantized(network: Network, plan: Plan) -> None:
    """Raise `InputError` for a plan that leaves everything in float, unless that is what its method is for."""
    if plan.quantizes or plan.method == FLOAT:
        return
    raise InputError(
        f"{plan.method} quantizes nothing of {network.name}: none of its products is a site (simulate lists them, and "
        "why), the options leave every site float, or the method says only how partial sums are stored (int8+apsq says "
        "both); a score would be float's own, so use method float for that"
    )


def _without_samples(network: Network, plan: Plan) -> str:
    """What stood in for samples of a network with shapes only."""
    if not network.distribution:
        return SHAPES
    return describe(network) if plan.quantizes else NOTHING
