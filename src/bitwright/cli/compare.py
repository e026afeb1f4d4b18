"""`compare`: networks x methods x accelerators in one table."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from bitwright.cli import given
from bitwright.cli.app import FAILURE, app
from bitwright.cli.show import show
from bitwright.cli.working import working
from bitwright.errors import InputError

Models = Annotated[str, typer.Argument(metavar="MODEL[,...]", help="One or several, separated by commas.")]
Methods = Annotated[str, typer.Option("--methods", "-m", help="Separated by commas; see: bitwright methods.")]
Accelerators = Annotated[
    str | None, typer.Option("--accelerators", "-a", help="Separated by commas.  [default: all there are]")
]
Plans = Annotated[list[Path] | None, typer.Option("--plan", help="A saved plan to stand beside them. Repeatable.")]
Out = Annotated[list[Path] | None, typer.Option("--out", "-o", help="Write FILE.json or FILE.csv. Repeatable.")]


@app.command()
def compare(
    models: Models,
    *,
    methods: Methods = "float,int8,int8-sym",
    accelerators: Accelerators = None,
    task: given.Task = None,
    data: given.Data = None,
    limit: given.Limit = None,
    setting: given.Settings = None,
    technology: given.Technology = None,
    substrate: given.Substrate = "common",
    plan: Plans = None,
    option: given.Options = None,
    exact: given.Exact = True,
    calibration: given.Calibration = None,
    batch_size: given.BatchSize = None,
    batch: given.Batch = 1,
    sequence_length: given.SequenceLength = None,
    image_size: given.ImageSize = None,
    phase: given.Phase = "prefill",
    distribution: given.Distribution = None,
    seed: given.Seed = 0,
    device: given.Device = "auto",
    out: Out = None,
    json: given.Json = False,
) -> None:
    """Put methods and accelerators side by side, a row each."""
    with working() as progress:
        progress("loading", 0, 0)
        from bitwright import api
        from bitwright.reports.comparison import print_comparison
        from bitwright.reports.files import check_out, write_comparison
        from bitwright.reports.records import comparison_record
        from bitwright.studies.machines import accelerator_names, build_accelerators

        for file in out or ():
            check_out(file)
        machines = accelerator_names() if accelerators is None else given.names(accelerators, "accelerator")
        settings = given.machine_settings(setting, technology)
        build_accelerators(machines, settings, substrate)
        networks = [
            api.load(
                name,
                batch=batch,
                sequence_length=sequence_length,
                image_size=image_size,
                phase=phase,
                device=device,
                distribution=distribution,
                seed=seed,
            )
            for name in given.names(models, "model")
        ]
        result = api.compare(
            networks,
            given.names(methods, "method"),
            machines,
            task=task,
            data=data,
            limit=limit,
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
        for file in out or ():
            write_comparison(result, file)
    show(lambda: comparison_record(result), lambda console: print_comparison(result, console), json=json)
    if any(row.status == "failed" for row in result.rows):
        raise typer.Exit(FAILURE)


def _named(files: Sequence[Path]) -> dict[str, Path]:
    """Plans by the names of their files."""
    found: dict[str, Path] = {}
    for file in files:
        if file.name in found:
            raise InputError(f"two plans are named {file.name}; rename one of them")
        found[file.name] = file
    return found
