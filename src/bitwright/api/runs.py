"""One network by one plan: its score, and what an inference costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypedDict, Unpack, overload

from bitwright.api.networks import fitting, judged_by, kept, named, planned, refuse_beside_plan, refuse_seed
from bitwright.errors import InputError
from bitwright.later import torch
from bitwright.methods.plan import Plan
from bitwright.networks.network import Network
from bitwright.studies.inputs import simulation_input
from bitwright.studies.machines import build_accelerators
from bitwright.studies.simulate import simulate as simulate_plan
from bitwright.studies.simulation import Simulation, Simulations
from bitwright.studies.systems import refuse_systems
from bitwright.tasks import Labelled, get_task
from bitwright.tasks.calibrate import FLOAT
from bitwright.tasks.evaluate import Evaluation, Progress, require_numbers, silent
from bitwright.tasks.evaluate import evaluate as evaluate_plan
from bitwright.tasks.labelled import Metric
from bitwright.tasks.sources import are_sources


def evaluate(
    network: Network | str | torch.nn.Module,
    method: str | Plan,
    task: str | None = None,
    data: str | Path | Iterable[Any] | None = None,
    *,
    metric: Metric | None = None,
    higher_is_better: bool = True,
    exact: bool = True,
    samples: Iterable[Any] | Path | None = None,
    calibration_samples: Iterable[Any] | Path | None = None,
    limit: int | None = None,
    options: Mapping[str, Any] | None = None,
    calibration_count: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Evaluation:
    """How well a network does with a method, beside its float self.

    Parameters
    ----------
    network : Network, str or torch.nn.Module
        Or its name, or a module with `example_inputs` (without: the first of `samples` is its example).
    method : str or Plan
        A name is calibrated first.
    task : str or None
        top1, perplexity, sts or fidelity; None is the network's own with `data`, and fidelity without.
    data : path, iterable of (inputs, labels) or None
        Labelled samples: a path, as the task reads it; or a data loader, or any iterable of batches that are (inputs,
        labels), or dicts with one of label, labels, target and targets. Of such batches every other one calibrates and
        only the rest judge, unless `calibration_samples` or `samples` do, or nothing is calibrated.
    metric : callable or None
        For data that are batches: metric(output, labels) -> one score per sample, in one dimension. None is top-1,
        where outputs are logits [B, classes] and labels class ids [B].
    higher_is_better : bool
        Of the metric.
    exact : bool
        Exact arithmetic, or its fast float emulation.
    samples : iterable of batches, path or None
        A data loader, or any iterable of tensors, tuples in the order of `forward`, or dicts by name; labels are left
        out. Or a folder of pictures, or a text, for networks that read such. Without labelled data every other batch
        calibrates and the rest judge (all judge where nothing is calibrated on them); with labelled data they
        calibrate.
    calibration_samples : iterable of batches, path, str or None
        To calibrate on, and nothing else; a text may name sources of images, as in `calibrate`.
    limit : int or None
        At most so many samples.
    options, calibration_count
        Of the method, and how many samples it is calibrated on; a plan has its own.
    batch_size : int or None
        Test samples at once; None is a size that suits the task.
    seed : int
        Of every choice of samples and of the bootstrap.

    Returns
    -------
    Evaluation
        `.score` in its unit with a 95 % interval; `.frame()`, `.frame("sites")`, `.plot()`.

    Raises
    ------
    InputError
        Anything given that cannot be used.

    Examples
    --------
    >>> import torch
    >>> from bitwright.networks.network import Network
    >>> layer = torch.nn.Linear(4, 2)
    >>> network = Network(name="layer", kind="tensor", module=layer, example=lambda shape: {"input": torch.ones(1, 4)})
    >>> evaluate(network, "int8", limit=2).off_by
    0
    """
    if isinstance(method, str):
        refuse_systems([method])
    samples, calibration_samples = kept(samples), kept(calibration_samples)
    judged = judged_by(data, metric, higher_is_better=higher_is_better)
    network = named(network, samples, judged)
    require_numbers(network)
    if isinstance(method, Plan):
        fitting(method, network)
    check_evaluation(method, samples, calibration_samples, options, calibration_count, batch_size, judged, exact=exact)
    judge = get_task(
        task,
        network=network,
        data=judged,
        limit=limit,
        seed=seed,
        samples=samples,
        calibration_samples=calibration_samples,
        calibrates=not (isinstance(method, Plan) or method == FLOAT),
    )
    return evaluate_plan(
        network,
        method,
        judge,
        options=options,
        exact=exact,
        calibration_count=calibration_count,
        batch_size=batch_size,
        seed=seed,
        progress=progress,
    )


def check_evaluation(
    method: str | Plan,
    samples: Iterable[Any] | Path | None,
    calibration_samples: Iterable[Any] | Path | None,
    options: Mapping[str, Any] | None,
    calibration_count: int | None,
    batch_size: int | None,
    data: Path | Labelled | None,
    *,
    exact: bool,
) -> None:
    """Raise `InputError` for what would have no effect on an evaluation."""
    if isinstance(method, Plan):
        refuse_beside_plan(options=options, calibration_count=calibration_count)
    own = isinstance(data, Labelled)
    chosen = own or samples is not None or calibration_samples is not None
    sourced = isinstance(calibration_samples, str) and are_sources(calibration_samples)
    if calibration_count is not None and chosen and not sourced:
        raise InputError("calibration_count is given, and the samples to calibrate on too; leave calibration_count out")
    if batch_size is not None and (own or (samples is not None and data is None)):
        raise InputError("batch_size is given, but the caller's samples come in batches; leave batch_size out")
    if method == FLOAT and (calibration_count is not None or not exact):
        what = "exact=False (--fast)" if not exact else "a number of calibration samples"
        raise InputError(f"method float quantizes nothing, so {what} changes nothing; leave it out")


class _Simulated(TypedDict, total=False):
    """What both forms of `simulate` take."""

    samples: Iterable[Any] | Path | None
    parameters: Mapping[str, Any] | None
    substrate: str
    options: Mapping[str, Any] | None
    calibration_count: int | None
    seed: int
    progress: Progress


@overload
def simulate(
    network: Network | str | torch.nn.Module,
    method: str | Plan = ...,
    accelerator: str = ...,
    **given: Unpack[_Simulated],
) -> Simulation: ...
@overload
def simulate(
    network: Network | str | torch.nn.Module,
    method: str | Plan,
    accelerator: list[str] | tuple[str, ...],
    **given: Unpack[_Simulated],
) -> Simulations: ...
def simulate(
    network: Network | str | torch.nn.Module,
    method: str | Plan = "int8",
    accelerator: str | list[str] | tuple[str, ...] = "systolic-ws",
    *,
    samples: Iterable[Any] | Path | None = None,
    parameters: Mapping[str, Any] | None = None,
    substrate: str = "common",
    options: Mapping[str, Any] | None = None,
    calibration_count: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Simulation | Simulations:
    """What one inference costs on an accelerator, or on several.

    Parameters
    ----------
    network : Network or str
        Or its name.
    method : str or Plan
        A name is calibrated first (only formats where the network has shapes only and no synthetic operands).
    accelerator : str or sequence of str
        A registered name or the file of a machine (`mine.yaml`). One gives one `Simulation`, several give
        `Simulations`, a mapping by name.
    samples : iterable of batches or None
        What a method is calibrated on, as in `calibrate`; the inference costed is on an input of the network's own.
    parameters : mapping or None
        Of the machines: `rows`, or `systolic-ws.rows` for one of them.
    substrate : str
        `common`, the same for all machines; `native`, as published; or the file of one. `parameters` go before a
        machine's file, which goes before the substrate.
    options, calibration_count
        Of the method, and how many samples it is calibrated on; a plan has its own.
    seed : int
        Of the samples, and of the input that is costed.

    Returns
    -------
    Simulation or Simulations
        Cycles, energies in pJ, areas in um2, traffic in bytes; `.frame()` by site, `.frame("components")` by part of
        the machine, `.site(name)`, `.plot()`.

    Raises
    ------
    InputError
        Anything given that cannot be used.

    Examples
    --------
    >>> array = {"rows": 32, "cols": 32, "objective": "latency"}
    >>> simulate("gemm:841x576x128", "int8", "systolic-ws", parameters=array).cost.compute_cycles
    60646
    """
    accelerator = str(accelerator) if isinstance(accelerator, Path) else accelerator
    names = [accelerator] if isinstance(accelerator, str) else list(accelerator)
    machines = build_accelerators(names, parameters, substrate)
    first = next(iter(machines))
    samples = kept(samples)
    given, network = network, named(network, samples)
    refuse_seed(network, seed)
    plan = planned(
        network,
        method,
        samples,
        given=given,
        options=options,
        calibration_count=calibration_count,
        seed=seed,
        progress=progress,
    )
    progress("simulating", 0, 0)
    batch, described = simulation_input(network, seed=seed)
    found = simulate_plan(network, plan, machines, batch=batch, described=described)
    return found[first] if isinstance(accelerator, str) else found
