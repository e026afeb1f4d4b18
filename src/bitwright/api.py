"""The public functions, as notebooks and the command line call them. Import them from `bitwright` itself."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import torch

from bitwright.errors import InputError
from bitwright.methods.execution import Executor
from bitwright.methods.plan import Plan
from bitwright.methods.protocol import compose
from bitwright.networks.catalogue import ModelEntry, models
from bitwright.networks.load import load as load_network
from bitwright.networks.network import Batch, InputShape, Network
from bitwright.studies import compare as comparing
from bitwright.studies.catalogue import Entry, accelerators, methods
from bitwright.studies.compare import METHODS, Comparison, Settings
from bitwright.studies.frontier import Frontier, FrontierSettings, check_budget, families_of, frontier, parse_budget
from bitwright.studies.inputs import simulation_input
from bitwright.studies.machines import accelerator_names, build_accelerators
from bitwright.studies.provenance import provenance
from bitwright.studies.simulate import Simulation
from bitwright.studies.simulate import simulate as simulate_plan
from bitwright.studies.sweep import Sweep, read_study
from bitwright.tasks import get_task
from bitwright.tasks.calibrate import calibrate_method
from bitwright.tasks.evaluate import Evaluation, Progress, require_numbers, silent
from bitwright.tasks.evaluate import evaluate as evaluate_plan

__all__ = [
    "Comparison",
    "Entry",
    "Evaluation",
    "Frontier",
    "ModelEntry",
    "Plan",
    "QuantizedNetwork",
    "Simulation",
    "Sweep",
    "accelerators",
    "calibrate",
    "compare",
    "evaluate",
    "load",
    "methods",
    "models",
    "quantize",
    "simulate",
    "sweep",
]


def load(
    name: str,
    *,
    batch: int = 1,
    sequence_length: int | None = None,
    image_size: int | None = None,
    phase: str = "prefill",
    device: str = "cpu",
    weights: str | Path | None = None,
    distribution: str | None = None,
    seed: int = 0,
) -> Network:
    """Load a network.

    Parameters
    ----------
    name : str
        One of `models()`, `package.module:callable`, a folder, a Hugging Face id, a workload file or `gemm:MxKxN`.
    batch, sequence_length, image_size, phase
        The shape of its input; phase is `prefill` or `decode`.
    device : str
        cpu, cuda, or auto: cuda where torch sees a GPU.
    weights : path or None
        A safetensors file for a network that comes with shapes only.
    distribution : str or None
        Synthetic operands for a network with shapes only: gaussian, laplace, outliers or one-sided. Everything made of
        them says so.
    seed : int
        Of synthetic operands.

    Raises
    ------
    InputError
        Unknown name, missing package, a shape that does not fit, or a distribution for a network with numbers.

    Examples
    --------
    >>> load("gemm:841x576x128").sites[0].macs
    62005248
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    shape = InputShape(batch=batch, sequence_length=sequence_length, image_size=image_size, phase=phase)
    return load_network(name, shape=shape, device=device, weights=weights, distribution=distribution, seed=seed)


def calibrate(
    network: Network | str,
    method: str,
    *,
    samples: Sequence[Batch] | None = None,
    options: Mapping[str, Any] | None = None,
    count: int | None = None,
    seed: int = 0,
) -> Plan:
    """The plan of a method for a network.

    Parameters
    ----------
    network : Network or str
        Or its name.
    method : str
        One of `methods()`, or a composition `a+b`.
    samples : sequence of batches or None
        What to calibrate on; None takes `count` default samples of the network's kind.
    options : mapping or None
        Of the method.
    seed : int
        Of the default samples.

    Examples
    --------
    >>> calibrate("gemm:841x576x128", "int8").site("gemm").x_type
    'uint8'
    """
    network = _network(network)
    if samples is not None:
        return compose(method, options).calibrate(network, samples)
    return calibrate_method(network, method, options=options, count=count, seed=seed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantizedNetwork:
    """A network that computes by a plan; called on a batch, it returns the output tensor.

    Attributes
    ----------
    plan : Plan
        Formats, scales and rules per site.
    executor : Executor
        What runs it.
    """

    plan: Plan
    executor: Executor

    def __call__(self, batch: Batch) -> torch.Tensor:
        """The output for one batch of inputs by name."""
        return self.executor.run(batch)

    run = __call__


def quantize(
    network: Network | str,
    method: str | Plan,
    *,
    exact: bool = False,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> QuantizedNetwork:
    """A network that computes as `method` would: exactly in integers, or by their fast float emulation.

    Examples
    --------
    >>> from bitwright.networks.network import Network
    >>> layer = torch.nn.Linear(4, 2)
    >>> network = Network(name="layer", kind="tensor", module=layer, example=lambda shape: {"input": torch.ones(1, 4)})
    >>> quantize(network, "int8", exact=True)({"input": torch.ones(1, 4)}).shape
    torch.Size([1, 2])
    """
    network = _network(network)
    require_numbers(network)
    plan = method if isinstance(method, Plan) else calibrate(network, method, options=options, seed=seed)
    return QuantizedNetwork(plan=plan, executor=Executor(network, plan, exact=exact))


def evaluate(
    network: Network | str,
    method: str | Plan,
    task: str | None = None,
    data: str | Path | None = None,
    *,
    exact: bool = True,
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
    network : Network or str
        Or its name.
    method : str or Plan
        A name is calibrated first.
    task : str or None
        top1, perplexity, sts or fidelity; None is the network's own with `data`, and fidelity without.
    data : path or None
        Labelled samples, as the task reads them.
    exact : bool
        Exact arithmetic, or its fast float emulation.
    limit : int or None
        At most so many samples.

    Raises
    ------
    InputError
        Anything given that cannot be used.

    Examples
    --------
    >>> from bitwright.networks.network import Network
    >>> layer = torch.nn.Linear(4, 2)
    >>> network = Network(name="layer", kind="tensor", module=layer, example=lambda shape: {"input": torch.ones(1, 4)})
    >>> evaluate(network, "int8", limit=2).off_by
    0
    """
    network = _network(network)
    require_numbers(network)
    judge = get_task(task, network=network, data=_path(data), limit=limit, seed=seed)
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


@overload
def simulate(
    network: Network | str,
    method: str | Plan = ...,
    accelerator: str = ...,
    *,
    parameters: Mapping[str, Any] | None = ...,
    substrate: str = ...,
    options: Mapping[str, Any] | None = ...,
    calibration_count: int | None = ...,
    seed: int = ...,
    progress: Progress = ...,
) -> Simulation: ...
@overload
def simulate(
    network: Network | str,
    method: str | Plan,
    accelerator: list[str] | tuple[str, ...],
    *,
    parameters: Mapping[str, Any] | None = ...,
    substrate: str = ...,
    options: Mapping[str, Any] | None = ...,
    calibration_count: int | None = ...,
    seed: int = ...,
    progress: Progress = ...,
) -> dict[str, Simulation]: ...
def simulate(
    network: Network | str,
    method: str | Plan = "int8",
    accelerator: str | list[str] | tuple[str, ...] = "systolic-ws",
    *,
    parameters: Mapping[str, Any] | None = None,
    substrate: str = "common",
    options: Mapping[str, Any] | None = None,
    calibration_count: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Simulation | dict[str, Simulation]:
    """What one inference costs on an accelerator, or on several.

    Parameters
    ----------
    network : Network or str
        Or its name.
    method : str or Plan
        A name is calibrated first (only formats where the network has shapes only and no synthetic operands).
    accelerator : str or sequence of str
        One name gives one `Simulation`, several give a mapping by name.
    parameters : mapping or None
        Of the machines: `rows`, or `systolic-ws.rows` for one of them.
    substrate : str
        `common`, the same for all machines; or `native`, as published; `parameters` go before either.

    Raises
    ------
    InputError
        Anything given that cannot be used.

    Examples
    --------
    >>> simulate("gemm:841x576x128", "int8", "systolic-ws", parameters={"rows": 32, "cols": 32}).cost.compute_cycles
    67320
    """
    names = [accelerator] if isinstance(accelerator, str) else list(accelerator)
    machines = build_accelerators(names, parameters, substrate)
    network = _network(network)
    if isinstance(method, str):
        progress("calibrating", 0, 0)
        method = calibrate(network, method, options=options, count=calibration_count, seed=seed)
    progress("simulating", 0, 0)
    batch, described = simulation_input(network, seed=seed)
    found = simulate_plan(network, method, machines, batch=batch, described=described)
    return found[accelerator] if isinstance(accelerator, str) else found


@overload
def compare(
    networks: Network | str | Sequence[Network | str],
    methods: Sequence[str] | None = ...,
    accelerators: Sequence[str] | None = ...,
    *,
    budget: None = ...,
    task: str | None = ...,
    data: str | Path | None = ...,
    limit: int | None = ...,
    parameters: Mapping[str, Any] | None = ...,
    substrate: str = ...,
    plans: Mapping[str, str | Path] | None = ...,
    options: Mapping[str, Any] | None = ...,
    exact: bool = ...,
    calibration_count: int | None = ...,
    batch_size: int | None = ...,
    seed: int = ...,
    command: str | None = ...,
    progress: Progress = ...,
) -> Comparison: ...
@overload
def compare(
    networks: Network | str | Sequence[Network | str],
    methods: Sequence[str] | None = ...,
    accelerators: Sequence[str] | None = ...,
    *,
    budget: float | str,
    task: str | None = ...,
    data: str | Path | None = ...,
    limit: int | None = ...,
    parameters: Mapping[str, Any] | None = ...,
    substrate: str = ...,
    plans: Mapping[str, str | Path] | None = ...,
    options: Mapping[str, Any] | None = ...,
    exact: bool = ...,
    calibration_count: int | None = ...,
    batch_size: int | None = ...,
    seed: int = ...,
    command: str | None = ...,
    progress: Progress = ...,
) -> Frontier: ...
def compare(
    networks: Network | str | Sequence[Network | str],
    methods: Sequence[str] | None = None,
    accelerators: Sequence[str] | None = None,
    *,
    budget: float | str | None = None,
    task: str | None = None,
    data: str | Path | None = None,
    limit: int | None = None,
    parameters: Mapping[str, Any] | None = None,
    substrate: str = "common",
    plans: Mapping[str, str | Path] | None = None,
    options: Mapping[str, Any] | None = None,
    exact: bool = True,
    calibration_count: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    command: str | None = None,
    progress: Progress = silent,
) -> Comparison | Frontier:
    """Networks x methods x accelerators, one row each, or systems at equal accuracy; `.frame()` is a table in pandas.

    Parameters
    ----------
    networks : network, name, or several
        Each is judged by `task`, or by fidelity to its float self.
    methods : sequence of str or None
        None is float, int8 and int8-sym. With a budget, names of families of operating points (or of methods), and
        None is all families.
    accelerators : sequence of str or None
        All registered accelerators if None.
    budget : float, str or None
        The largest relative loss of accuracy that is accepted, as a share (0.01) or in words (`1%`): asks for Pareto
        fronts and the best point of every system, as a `Frontier` with `.plot()`.
    plans : mapping or None
        Name of a row -> file of a plan to stand beside the methods, as searches and trainings save them.
    data, limit, options, parameters, substrate
        As in `evaluate` and `simulate`; an option or parameter goes to whoever has it. Families have options of their
        own.
    command : str or None
        What made this, for the record.

    Raises
    ------
    InputError
        Anything given that cannot be used. What goes wrong later stands in its row.

    Examples
    --------
    >>> array = {"rows": 32, "cols": 32}
    >>> found = compare("gemm:841x576x128", ["int8"], ["systolic-ws"], parameters=array)
    >>> found.frame()["compute_cycles"].tolist()
    [67320]
    """
    if budget is not None and options:
        raise InputError("with a budget the families decide the options; name methods without a budget to set options")
    share = parse_budget(budget) if isinstance(budget, str) else None if budget is None else check_budget(budget)
    machines = build_accelerators(accelerator_names() if accelerators is None else accelerators, parameters, substrate)
    several = [networks] if isinstance(networks, Network | str) else list(networks)
    files = {name: Path(file) for name, file in (plans or {}).items()}
    made = provenance(command or "bitwright.compare", seed)
    if share is not None:
        families_of(methods or (), list(machines))
        return frontier(
            [_network(network) for network in several],
            machines,
            task=task,
            data=_path(data),
            limit=limit,
            settings=FrontierSettings(
                budget=share,
                families=tuple(methods or ()),
                plans=files,
                exact=exact,
                calibration_count=calibration_count,
                batch_size=batch_size,
                seed=seed,
            ),
            provenance=made,
            substrate=substrate,
            progress=progress,
        )
    methods = METHODS if methods is None else methods
    for method in methods:
        compose(method)
    return comparing.compare(
        [_network(network) for network in several],
        machines,
        task=task,
        data=_path(data),
        limit=limit,
        settings=Settings(
            methods=tuple(methods),
            plans=files,
            exact=exact,
            options=options or {},
            calibration_count=calibration_count,
            batch_size=batch_size,
            seed=seed,
        ),
        provenance=made,
        substrate=substrate,
        progress=progress,
    )


def sweep(
    study: str | Path | Mapping[str, Any],
    *,
    store: str | Path | None = None,
    results: str | Path | None = None,
    workers: int = 1,
    dask: Any = None,
    seed: int | None = None,
    progress: Progress = silent,
) -> Sweep:
    """Networks x methods x options x accelerators x parameters, in parallel; `.frame()` is the table, `.plot()` a plot.

    Workers are processes: in a script, call this under `if __name__ == "__main__":`.

    Parameters
    ----------
    study : path or mapping
        A study's YAML file, or the same as a mapping; the README has its keys.
    store : path, URL or None
        Where rows are kept: a SQLite file, or postgresql://...; what it has is not computed again. None: nowhere.
    results : path or None
        A Parquet file for all rows.
    workers : int
        Processes of this computer.
    dask : str, distributed.Client or None
        A cluster instead of them.
    seed : int or None
        Instead of the study's.

    Raises
    ------
    InputError
        Anything given that cannot be used, or a store or cluster that fails; finished trials are kept.
    """
    from bitwright.studies.sweep.run import sweep as run_sweep

    return run_sweep(
        read_study(study, seed=seed),
        place=store,
        results=_path(results),
        workers=workers,
        dask=dask,
        progress=progress,
    )


def _network(network: Network | str) -> Network:
    return load(network) if isinstance(network, str) else network


def _path(data: str | Path | None) -> Path | None:
    return None if data is None else Path(data)
