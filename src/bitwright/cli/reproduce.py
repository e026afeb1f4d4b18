"""`reproduce`: published figures beside what is measured here, and why they differ."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from bitwright.cli import given
from bitwright.cli.app import FAILURE, app
from bitwright.cli.show import show
from bitwright.cli.working import working
from bitwright.errors import InputError

System = Annotated[
    str | None, typer.Argument(metavar="[SYSTEM]", help="panacea, apsq, lp or drift.  [default: the headlines of all]")
]
Full = Annotated[bool, typer.Option("--full", help="Without SYSTEM: all networks of each, and its own samples.")]
Models = Annotated[str | None, typer.Option("--models", help="Separated by commas.  [default: the system's own]")]


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
    wide: given.Wide = False,
) -> None:
    """Put a system's published figures beside what is measured here; without SYSTEM, the headlines of all."""
    if substrate.endswith((".yaml", ".yml")):
        raise InputError(f"what is published stands on the common or the native substrate, not on {substrate}")
    if system is None:
        only_of_one = {
            "--models": models,
            "--task": task,
            "--data": data,
            "--set": setting,
            "--technology": technology,
            "--option": option,
            "--sites": sites,
            "--batch-size": batch_size,
            "--batch": batch != 1,
            "--sequence-length": sequence_length,
            "--image-size": image_size,
            "--distribution": distribution,
        }
        _all_systems(
            unused=[flag for flag, value in only_of_one.items() if value],
            samples={"limit": limit, "calibration_count": calibration, "seed": seed},
            device=device,
            substrate=substrate,
            full=full,
            seed=seed,
            json=json,
            wide=wide,
        )
        return
    if full:
        raise InputError("--full is for all systems; one system takes all its networks anyway, or those of --models")
    with working() as progress:
        progress("loading", 0, 0)
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
        networks = given.networks(
            given.names(models, "model") if models is not None else list(chosen.models),
            own=chosen.models,
            batch=batch,
            sequence_length=sequence_length,
            image_size=image_size,
            device=device,
            distribution=distribution,
            seed=seed,
        )
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
        wide=wide,
    )
    if any(network.failed for network in found.networks):
        raise typer.Exit(FAILURE)


def _all_systems(
    *,
    unused: Sequence[str],
    samples: Mapping[str, Any],
    device: str,
    substrate: str,
    full: bool,
    seed: int,
    json: bool,
    wide: bool,
) -> None:
    """The headlines of all systems in one table."""
    if unused:
        raise InputError(
            f"name a system for {' and '.join(unused)}, as in: bitwright reproduce panacea {unused[0]} ..."
        )
    with working() as progress:
        progress("loading", 0, 0)
        from functools import partial

        from bitwright import api
        from bitwright.reports.overview import overview_record, print_overview
        from bitwright.studies.provenance import provenance
        from bitwright.studies.reproduce.overview import overview
        from bitwright.studies.reproduce.systems import SYSTEMS

        found = overview(
            list(SYSTEMS.values()),
            partial(api.load, device=device, seed=seed),
            provenance=provenance(given.command_line(), seed),
            given=samples,
            substrate=substrate,
            full=full,
            progress=progress,
        )
    show(lambda: overview_record(found), lambda console: print_overview(found, console), json=json, wide=wide)
    if found.failed:
        raise typer.Exit(FAILURE)
