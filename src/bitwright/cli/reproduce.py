"""`reproduce`: published figures beside what is measured here, and why they differ."""

from typing import Annotated

import typer

from bitwright.cli import given, outputs
from bitwright.cli.app import app
from bitwright.cli.failures import FAILURE
from bitwright.cli.sample_paths import look_for
from bitwright.cli.show import deliver
from bitwright.cli.working import working
from bitwright.errors import InputError

System = Annotated[
    str | None, typer.Argument(metavar="[SYSTEM]", help="panacea, apsq, lp or drift.  [default: the headlines of all]")
]
Full = Annotated[bool, typer.Option("--full", help="Without SYSTEM: all networks of each, and its own samples.")]
Models = Annotated[str | None, typer.Option("--models", help="Separated by commas.  [default: the system's own]")]

Out = Annotated[
    list[str] | None,
    outputs.option(
        "claims; of a system also what is behind them: steps, runs, sites, components, ... (see: bitwright schema)"
    ),
]


@app.command()
def reproduce(
    system: System = None,
    *,
    full: Full = False,
    models: Models = None,
    task: given.Task = None,
    data: given.Data = None,
    limit: given.Limit = None,
    setting: given.Settings = None,
    technology: given.Technology = None,
    prices: given.Prices = None,
    substrate: given.Substrate = "common",
    option: given.Options = None,
    sites: given.Sites = False,
    calibration: given.Calibration = None,
    batch_size: given.BatchSize = None,
    batch: given.Batch = 1,
    sequence_length: given.SequenceLength = None,
    image_size: given.ImageSize = None,
    distribution: given.Distribution = None,
    seed: given.Seed = 0,
    device: given.Device = "auto",
    out: Out = None,
    overwrite: given.Overwrite = False,
    json: given.Json = False,
    wide: given.Wide = False,
) -> None:
    """Put a system's published figures beside what is measured here; without SYSTEM, the headlines of all."""
    with working() as progress:
        progress("loading", 0, 0)
        from bitwright import api
        from bitwright.reports.overview import overview_record, print_overview
        from bitwright.reports.reproductions import print_reproduction, reproduction_record
        from bitwright.studies.reproduce.overview import Overview
        from bitwright.studies.reproduce.systems import find_system

        if system is None and sites:
            raise InputError("name a system for --sites, as in: bitwright reproduce panacea --sites ...")
        result = Overview if system is None else find_system(system).result
        files = outputs.targets(out, result, overwrite=overwrite)
        look_for(data=data)
        found = api.reproduce(
            system,
            None if models is None else given.names(models, "model"),
            full=full,
            task=task,
            data=data,
            limit=limit,
            parameters=given.machine_settings(setting, technology, prices),
            substrate=substrate,
            options=given.method_options(option),
            calibration_count=calibration,
            batch_size=batch_size,
            batch=batch,
            sequence_length=sequence_length,
            image_size=image_size,
            distribution=distribution,
            device=device,
            seed=seed,
            command=given.command_line(),
            progress=progress,
        )
    deliver(
        "reproduce",
        found,
        lambda: overview_record(found) if isinstance(found, Overview) else reproduction_record(found),
        lambda console: (
            print_overview(found, console)
            if isinstance(found, Overview)
            else print_reproduction(found, console, sites=sites)
        ),
        files=files,
        json=json,
        wide=wide,
    )
    if found.failed:
        raise typer.Exit(FAILURE)
