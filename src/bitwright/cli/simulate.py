"""`simulate`: cycles, traffic, energy and area of one inference."""

from typing import Annotated

import typer

from bitwright.cli import given, names, outputs
from bitwright.cli.app import USAGE, app, stop
from bitwright.cli.plans import check_new, find_plan, keep_plan
from bitwright.cli.sample_paths import look_for
from bitwright.cli.show import deliver
from bitwright.cli.working import working

Accelerators = Annotated[
    str,
    typer.Option(
        "--accelerator",
        "-a",
        help="Names or files of machines (bitwright accelerators NAME --yaml prints one), separated by commas.",
        autocompletion=names.accelerators,
    ),
]
Out = Annotated[list[str] | None, outputs.option("sites, components, site_components, events or total")]


@app.command()
def simulate(
    model: given.Model,
    *,
    preprocess: given.Preprocess = None,
    tokenizer: given.Tokenizer = None,
    method: given.Method = None,
    accelerator: Accelerators = "systolic-ws",
    setting: given.Settings = None,
    technology: given.Technology = None,
    prices: given.Prices = None,
    substrate: given.Substrate = "common",
    option: given.Options = None,
    sites: given.Sites = False,
    plan: given.Plan = None,
    save_plan: given.SavePlan = None,
    out: Out = None,
    overwrite: given.Overwrite = False,
    samples: given.Samples = None,
    calibration: given.Calibration = None,
    batch: given.Batch = 1,
    sequence_length: given.SequenceLength = None,
    image_size: given.ImageSize = None,
    shape: given.Shape = None,
    phase: given.Phase = "prefill",
    distribution: given.Distribution = None,
    seed: given.Seed = 0,
    device: given.Device = "auto",
    json: given.Json = False,
    wide: given.Wide = False,
) -> None:
    """Cost one inference on accelerators."""
    with working() as progress:
        progress("loading", 0, 0)
        from bitwright import api
        from bitwright.reports.costs import print_simulations
        from bitwright.reports.records import simulations_record
        from bitwright.studies.machines import build_accelerators, footing
        from bitwright.studies.provenance import provenance
        from bitwright.studies.simulation import Simulation

        check_new(save_plan, overwrite=overwrite)
        files = outputs.targets(out, Simulation, overwrite=overwrite, beside=[save_plan])
        chosen = find_plan(method, option, plan, calibration=calibration, samples=samples)
        machines, settings = (
            given.names(accelerator, "accelerator"),
            given.machine_settings(setting, technology, prices),
        )
        standing = footing(build_accelerators(machines, settings, substrate), substrate)
        look_for(samples=samples)
        network = api.load(
            model,
            **given.reading(preprocess, tokenizer),
            batch=batch,
            sequence_length=sequence_length,
            image_size=image_size,
            dims=given.dims(shape),
            phase=phase,
            device=device,
            distribution=distribution,
            seed=seed,
        )
        used = chosen.of(network)
        if isinstance(used, str):
            progress("calibrating", 0, 0)
            used = api.calibrate(
                network, used, given.samples(samples), options=chosen.options, count=calibration, seed=seed
            )
        found = api.simulate(
            network, used, machines, parameters=settings, substrate=substrate, seed=seed, progress=progress
        )
        keep_plan(used, save_plan)
    made = provenance(given.command_line(), seed)
    deliver(
        "simulate",
        found,
        lambda: simulations_record(found, standing, made),
        lambda console: print_simulations(found, standing, console, sites=sites),
        files=files,
        json=json,
        wide=wide,
    )
    if all(each.refusal is not None for each in found.values()):
        named = ", ".join(found)
        stop(f"nothing was costed: {named} cannot run this plan, for the reason that stands with the results", USAGE)
