"""`reproduce`: published figures beside what is measured here, and why they differ."""

from typing import Annotated

import typer

from bitwright.cli import given
from bitwright.cli.app import FAILURE, app
from bitwright.cli.show import show
from bitwright.cli.working import working

System = Annotated[str, typer.Argument(metavar="SYSTEM", help="panacea, apsq, lp or drift.")]
Models = Annotated[str | None, typer.Option("--models", help="Separated by commas.  [default: the system's own]")]


@app.command()
def reproduce(
    system: System,
    *,
    models: Models = None,
    task: given.Task = None,
    data: given.Data = None,
    limit: given.Limit = None,
    setting: given.Settings = None,
    technology: given.Technology = None,
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
    json: given.Json = False,
) -> None:
    """Put a system's published figures beside what is measured here."""
    with working() as progress:
        progress("loading", 0, 0)
        from bitwright import api
        from bitwright.reports.reproductions import print_reproduction, reproduction_record
        from bitwright.studies.provenance import provenance
        from bitwright.studies.reproduce.systems import find_system

        chosen = find_system(system)
        settings = chosen.settings_from(
            {
                "options": given.method_options(option),
                "task": task,
                "data": data,
                "limit": limit,
                "calibration_count": calibration,
                "batch_size": batch_size,
                "seed": seed,
            }
        )
        machines = chosen.machines(given.machine_settings(setting, technology), substrate)
        sizes = {"batch": batch, "sequence_length": sequence_length, "image_size": image_size}
        shape = {name: size for name, size in sizes.items() if size is not None}
        networks = [
            api.load(
                name, **{**chosen.models.get(name, {}), **shape}, device=device, distribution=distribution, seed=seed
            )
            for name in (given.names(models, "model") if models is not None else chosen.models)
        ]
        found = chosen.reproduce(
            networks,
            machines,
            settings=settings,
            provenance=provenance(given.command_line(), seed),
            substrate=substrate,
            progress=progress,
        )
    show(
        lambda: reproduction_record(found),
        lambda console: print_reproduction(found, console, sites=sites),
        json=json,
    )
    if any(network.failed for network in found.networks):
        raise typer.Exit(FAILURE)
