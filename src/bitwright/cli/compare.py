"""`compare`: networks x methods x accelerators in one table."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bitwright.cli import given, names, outputs
from bitwright.cli.app import app, stop_interrupted
from bitwright.cli.failures import FAILURE
from bitwright.cli.interrupts import INTERRUPTS
from bitwright.cli.sample_paths import look_for
from bitwright.cli.show import deliver
from bitwright.cli.working import working
from bitwright.errors import InputError

if TYPE_CHECKING:
    from bitwright.reports.files import Target
    from bitwright.studies.compare import Comparison
    from bitwright.studies.frontier import Frontier
    from bitwright.studies.row import Row

Models = Annotated[
    str, typer.Argument(metavar="MODEL[,...]", help="One or several, separated by commas.", autocompletion=names.models)
]
Methods = Annotated[
    str | None,
    typer.Option(
        "--methods",
        "-m",
        help="Separated by commas; see: bitwright methods. With --budget: systems, or methods.  "
        "[default: the four systems and int8; with --budget all systems]",
        autocompletion=names.methods,
    ),
]
Budget = Annotated[
    str | None,
    typer.Option(
        metavar="PERCENT%|DECIBELSdB",
        help="Compare systems at equal accuracy: at most so much relative loss from float, such as 1%, or at least so "
        "much SQNR, such as 20dB. One half of the samples chooses, the other is reported: 800 sentences or pairs, 250 "
        "images or 2,048 tokens unless --limit says otherwise.",
    ),
]
Accelerators = Annotated[
    str | None,
    typer.Option(
        "--accelerators",
        "-a",
        help="Names or files of machines, separated by commas.  [default: those that run the methods]",
        autocompletion=names.accelerators,
    ),
]
Plans = Annotated[list[Path] | None, typer.Option("--plan", help="A saved plan to stand beside them. Repeatable.")]
Out = Annotated[
    list[str] | None,
    outputs.option(
        "rows (with --budget points, or standings), sites, components, site_components, events or total", page=True
    ),
]


@app.command()
def compare(
    models: Models,
    *,
    preprocess: given.Preprocess = None,
    tokenizer: given.Tokenizer = None,
    methods: Methods = None,
    accelerators: Accelerators = None,
    budget: Budget = None,
    task: given.Task = None,
    data: given.Judged = None,
    metric: given.Metric = None,
    lower_is_better: given.LowerIsBetter = False,
    limit: given.Limit = None,
    setting: given.Settings = None,
    technology: given.Technology = None,
    prices: given.Prices = None,
    substrate: given.Substrate = "common",
    plan: Plans = None,
    option: given.Options = None,
    exact: given.Exact = True,
    samples: given.Samples = None,
    calibration_from: given.CalibrationFrom = None,
    calibration: given.Calibration = None,
    batch_size: given.BatchSize = None,
    batch: given.Batch = 1,
    sequence_length: given.SequenceLength = None,
    image_size: given.ImageSize = None,
    shape: given.Shape = None,
    phase: given.Phase = "prefill",
    distribution: given.Distribution = None,
    seed: given.Seed = 0,
    device: given.Device = "auto",
    out: Out = None,
    overwrite: given.Overwrite = False,
    json: given.Json = False,
    wide: given.Wide = False,
) -> None:
    """Put methods and accelerators side by side, a row each; or systems at equal accuracy."""
    with working() as progress:
        progress("loading", 0, 0)
        from bitwright import api
        from bitwright.studies.compare import Comparison
        from bitwright.studies.frontier import Frontier, parse_budget, systems_of
        from bitwright.studies.machines import accelerator_names, build_accelerators, kinds

        files = outputs.targets(out, Comparison if budget is None else Frontier, overwrite=overwrite, page=True)
        machines = None if accelerators is None else given.names(accelerators, "accelerator")
        settings = given.machine_settings(setting, technology, prices)
        built = build_accelerators(accelerator_names() if machines is None else machines, settings, substrate)
        chosen = None if methods is None else given.names(methods, "method")
        if budget is not None:
            parse_budget(budget)
            systems_of(chosen or (), list(built), kinds(built))
        look_for(data=data, samples=samples, calibration_from=calibration_from)
        networks = given.networks(
            given.names(models, "model"),
            reads=given.reading(preprocess, tokenizer),
            batch=batch,
            sequence_length=sequence_length,
            image_size=image_size,
            dims=given.dims(shape),
            phase=phase,
            device=device,
            distribution=distribution,
            seed=seed,
        )
        samples_given = given.data(data)
        try:
            with INTERRUPTS.keeping():
                result = api.compare(
                    networks,
                    chosen,
                    machines,
                    budget=budget,
                    task=task,
                    data=samples_given,
                    metric=given.metric(metric),
                    higher_is_better=not lower_is_better,
                    limit=limit,
                    samples=given.samples(samples),
                    calibration_samples=given.samples(calibration_from),
                    parameters=settings,
                    substrate=substrate,
                    plans=_named(plan or ()),
                    options=given.method_options(option),
                    exact=exact,
                    calibration_count=calibration,
                    batch_size=batch_size,
                    seed=seed,
                    command=given.command_line(),
                    progress=progress,
                )
        except KeyboardInterrupt:
            stop_interrupted(
                "plans that were judged are kept, and the same command goes on from there"
                if samples_given is None or isinstance(samples_given, Path)
                else "nothing is kept of a comparison by a loader of your own"
            )
    rows = _delivered(result, files=files, json=json, wide=wide)
    if any(row.status == "failed" for row in rows):
        raise typer.Exit(FAILURE)


def _delivered(
    result: "Comparison | Frontier", *, files: "Sequence[Target]", json: bool, wide: bool
) -> "Sequence[Row]":
    """Write and print the result; its rows."""
    from bitwright.reports.comparison import print_comparison
    from bitwright.reports.frontier import frontier_record, print_frontier
    from bitwright.reports.page import page_of
    from bitwright.reports.records import comparison_record
    from bitwright.studies.compare import Comparison

    given: dict[str, Any] = {"files": files, "json": json, "wide": wide, "page": lambda: page_of(result)}
    if isinstance(result, Comparison):
        deliver(
            "compare",
            result,
            lambda: comparison_record(result),
            lambda console: print_comparison(result, console),
            **given,
        )
        return result.rows
    deliver(
        "compare", result, lambda: frontier_record(result), lambda console: print_frontier(result, console), **given
    )
    return result.comparison.rows


def _named(files: Sequence[Path]) -> dict[str, Path]:
    """Plans by the names of their files."""
    found: dict[str, Path] = {}
    for file in files:
        if file.name in found:
            raise InputError(f"two plans are named {file.name}; rename one of them")
        found[file.name] = file
    return found
