"""Studies: tables of many networks, methods and machines, systems at equal accuracy, sweeps."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack, overload

import torch

from bitwright.api.networks import judged_by, kept, named
from bitwright.api.runs import check_evaluation
from bitwright.errors import InputError
from bitwright.methods.protocol import compose
from bitwright.networks.network import Network
from bitwright.studies import compare as comparing
from bitwright.studies.compare import Comparison, Settings
from bitwright.studies.frontier import Frontier, FrontierSettings, check_budget, frontier, systems_of
from bitwright.studies.judges import refuse_unjudged
from bitwright.studies.machines import accelerator_names, build_accelerators, kinds
from bitwright.studies.provenance import provenance
from bitwright.studies.sweep import Sweep, read_study
from bitwright.studies.sweep.result import check_results
from bitwright.studies.systems import refuse_systems
from bitwright.tasks.evaluate import Progress, silent
from bitwright.tasks.labelled import Labelled, Metric

Given = Network | str | torch.nn.Module


class _Compared(TypedDict, total=False):
    """What both forms of `compare` take."""

    task: str | None
    data: str | Path | Iterable[Any] | None
    metric: Metric | None
    higher_is_better: bool
    limit: int | None
    samples: Iterable[Any] | Path | None
    calibration_samples: Iterable[Any] | Path | None
    parameters: Mapping[str, Any] | None
    substrate: str
    plans: Mapping[str, str | Path] | None
    options: Mapping[str, Any] | None
    exact: bool
    calibration_count: int | None
    batch_size: int | None
    seed: int
    command: str | None
    progress: Progress


@overload
def compare(
    networks: Given | Sequence[Given],
    methods: Sequence[str] | None = ...,
    accelerators: Sequence[str] | None = ...,
    *,
    budget: None = ...,
    **given: Unpack[_Compared],
) -> Comparison: ...
@overload
def compare(
    networks: Given | Sequence[Given],
    methods: Sequence[str] | None = ...,
    accelerators: Sequence[str] | None = ...,
    *,
    budget: float | str,
    **given: Unpack[_Compared],
) -> Frontier: ...
def compare(
    networks: Given | Sequence[Given],
    methods: Sequence[str] | None = None,
    accelerators: Sequence[str] | None = None,
    *,
    budget: float | str | None = None,
    task: str | None = None,
    data: str | Path | Iterable[Any] | None = None,
    metric: Metric | None = None,
    higher_is_better: bool = True,
    limit: int | None = None,
    samples: Iterable[Any] | Path | None = None,
    calibration_samples: Iterable[Any] | Path | None = None,
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
        None is the four systems and static INT8, each on its own machines (or what goes with `accelerators`). With a
        budget, names of systems (or of methods), and None is all systems.
    accelerators : sequence of str or None
        Registered names and files of machines (`mine.yaml`). None is all that run the methods; pairs that do not fit
        are left out and counted.
    budget : float, str or None
        The largest relative loss of accuracy that is accepted, as a share (0.01) or in words (`1%`), or the least SQNR
        (`20dB`): asks for Pareto fronts and the point of every system, chosen on one half of the samples and reported
        on the other, as a `Frontier` with `.plot()`.
    plans : mapping or None
        Name of a row -> file of a plan to stand beside the methods, as searches and trainings save them.
    task, data, metric, higher_is_better, limit, exact, samples, calibration_samples
        As in `evaluate`.
    calibration_count, batch_size, seed
        As in `evaluate`.
    options, parameters, substrate
        As in `evaluate` and `simulate`; an option or parameter goes to whoever has it. Systems have options of their
        own.
    command : str or None
        What made this, for the record.

    Returns
    -------
    Comparison or Frontier
        Both with `.frame()`, units in the columns' names, and `.plot()`.

    Raises
    ------
    InputError
        Anything given that cannot be used. What goes wrong later stands in its row.

    Examples
    --------
    >>> array = {"rows": 32, "cols": 32, "objective": "latency"}
    >>> found = compare("gemm:841x576x128", ["int8"], ["systolic-ws"], parameters=array)
    >>> found.frame()["compute_cycles"].tolist()
    [60646]
    """
    methods = [methods] if isinstance(methods, str) else methods
    accelerators = [accelerators] if isinstance(accelerators, str) else accelerators
    if budget is not None and options:
        raise InputError("with a budget the systems decide the options; name methods without a budget to set options")
    asked = None if budget is None else check_budget(budget)
    machines = build_accelerators(accelerator_names() if accelerators is None else accelerators, parameters, substrate)
    samples, calibration_samples = kept(samples), kept(calibration_samples)
    given = [networks] if isinstance(networks, Network | str | torch.nn.Module) else list(networks)
    judged = judged_by(data, metric, higher_is_better=higher_is_better)
    several = [named(network, samples, judged) for network in given]
    check_compared(
        several, samples, calibration_samples, calibration_count, batch_size, limit, task, judged, exact=exact
    )
    files = {name: Path(file) for name, file in (plans or {}).items()}
    made = provenance(command or "bitwright.compare", seed)
    if asked is not None:
        systems_of(methods or (), list(machines), kinds(machines))
        return frontier(
            several,
            machines,
            task=task,
            data=judged,
            limit=limit,
            settings=FrontierSettings(
                budget=asked,
                systems=tuple(methods or ()),
                plans=files,
                exact=exact,
                calibration_count=calibration_count,
                batch_size=batch_size,
                seed=seed,
                samples=samples,
                calibration_samples=calibration_samples,
            ),
            provenance=made,
            substrate=substrate,
            progress=progress,
        )
    refuse_systems(methods or ())
    for method in methods or ():
        compose(method)
    return comparing.compare(
        several,
        machines,
        task=task,
        data=judged,
        limit=limit,
        settings=Settings(
            methods=None if methods is None else tuple(methods),
            chosen=accelerators is not None,
            plans=files,
            exact=exact,
            options=options or {},
            calibration_count=calibration_count,
            batch_size=batch_size,
            seed=seed,
            samples=samples,
            calibration_samples=calibration_samples,
        ),
        provenance=made,
        substrate=substrate,
        progress=progress,
    )


def check_compared(
    networks: Sequence[Network],
    samples: Iterable[Any] | Path | None,
    calibration_samples: Iterable[Any] | Path | None,
    calibration_count: int | None,
    batch_size: int | None,
    limit: int | None,
    task: str | None,
    data: Path | Labelled | None,
    *,
    exact: bool,
) -> None:
    """Raise `InputError` for what would have no effect on a comparison."""
    refuse_unjudged(
        networks,
        {
            "samples": samples,
            "calibration_samples": calibration_samples,
            "the number of calibration samples": calibration_count,
            "the batch size": batch_size,
            "the limit": limit,
            "a task": task,
            "exact=False (--fast)": not exact,
        },
    )
    check_evaluation("", samples, calibration_samples, None, calibration_count, batch_size, data, exact=exact)


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
        A study's YAML file, or the same as a mapping; docs/studies/sweep.md has its keys.
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

    Returns
    -------
    Sweep
        `.front()` are the rows that no other is better than.

    Raises
    ------
    InputError
        Anything given that cannot be used, or a store or cluster that fails; finished trials are kept.

    Examples
    --------
    >>> study = {
    ...     "networks": ["gemm:64x64x64"],
    ...     "methods": ["int8"],
    ...     "accelerators": ["systolic-ws"],
    ...     "parameters": {"rows": [16, 32]},
    ...     "objectives": {"cycles": "minimise"},
    ... }
    >>> sweep(study).frame()["status"].tolist()
    ['ok', 'ok']
    """
    from bitwright.studies.sweep.run import sweep as run_sweep

    read, kept_rows = read_study(study, seed=seed), None if results is None else Path(results)
    if kept_rows is not None:
        check_results(kept_rows)
    return run_sweep(
        read,
        place=store,
        results=kept_rows,
        workers=workers,
        dask=dask,
        progress=progress,
    )
