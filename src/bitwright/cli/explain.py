"""`explain`: what bounds a network, and where the cycles and picojoules of one site come from."""

from typing import Annotated

import typer

from bitwright.cli import given, names, outputs
from bitwright.cli.app import app
from bitwright.cli.plans import find_plan
from bitwright.cli.show import deliver
from bitwright.cli.working import working

Accelerator = Annotated[
    str,
    typer.Option("--accelerator", "-a", help="One accelerator, by name or file.", autocompletion=names.accelerators),
]
Site = Annotated[
    str | None,
    typer.Option("--site", "-s", help="A site's name; without one, what bounds the whole network, and a roofline."),
]

Out = Annotated[
    list[str] | None,
    outputs.option(
        "sites, components, site_components, events, total or bounds; with --site events, cycles, components or prices"
    ),
]


@app.command()
def explain(
    model: given.Model,
    *,
    preprocess: given.Preprocess = None,
    tokenizer: given.Tokenizer = None,
    site: Site = None,
    accelerator: Accelerator = "systolic-ws",
    method: given.Method = None,
    setting: given.Settings = None,
    technology: given.Technology = None,
    prices: given.Prices = None,
    substrate: given.Substrate = "common",
    option: given.Options = None,
    plan: given.Plan = None,
    calibration: given.Calibration = None,
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
    """Say what bounds a network, or where one site's cycles and energy come from, with sources."""
    with working() as progress:
        progress("loading", 0, 0)
        from bitwright import api
        from bitwright.reports.bounds import bounds_record, print_bounds
        from bitwright.reports.explanation import print_explanation
        from bitwright.reports.records import explanation_record
        from bitwright.studies.bounds import Bounds
        from bitwright.studies.explain import Explanation
        from bitwright.studies.machines import build_accelerators
        from bitwright.studies.provenance import provenance

        files = outputs.targets(out, Bounds if site is None else Explanation, overwrite=overwrite)
        chosen = find_plan(method, option, plan, calibration=calibration)
        settings = given.machine_settings(setting, technology, prices)
        build_accelerators([accelerator], settings, substrate)
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
        found = api.explain(
            network,
            chosen.of(network),
            accelerator,
            site,
            parameters=settings,
            substrate=substrate,
            options=chosen.options,
            calibration_count=calibration,
            seed=seed,
            progress=progress,
        )
    made = provenance(given.command_line(), seed)
    if isinstance(found, Bounds):
        deliver(
            "explain",
            found,
            lambda: bounds_record(found, made),
            lambda console: print_bounds(found, console),
            files=files,
            json=json,
            wide=wide,
        )
        return
    deliver(
        "explain",
        found,
        lambda: explanation_record(found, made),
        lambda console: print_explanation(found, console),
        files=files,
        json=json,
        wide=wide,
    )
