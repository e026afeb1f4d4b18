"""`export`: a quantized network, its integers, or vectors for a testbench, as files for other tools."""

from pathlib import Path
from typing import Annotated

import typer

from bitwright.cli import given
from bitwright.cli.app import app
from bitwright.cli.interrupts import INTERRUPTS
from bitwright.cli.plans import check_outputs, find_plan, keep_plan
from bitwright.cli.sample_paths import look_for
from bitwright.cli.show import show, written
from bitwright.cli.working import working

Form = Annotated[
    str,
    typer.Option(
        "--format",
        "-f",
        metavar="NAME",
        help="onnx-qdq (runs in onnxruntime), qonnx (FINN, hls4ml), safetensors (integer weights and scales) or "
        "vectors (operands and expected sums for a testbench); shapes for other simulators: zigzag, timeloop, "
        "scalesim, scalesim-gemm.",
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="The file; of vectors and timeloop, the folder.")]
Site = Annotated[
    list[str] | None,
    typer.Option("--site", metavar="GLOB", help="Only these sites, of safetensors and vectors. Repeatable."),
]
Words = Annotated[str, typer.Option("--words", help="Of vectors: npy, hex ($readmemh) or both.")]
Check = Annotated[
    bool, typer.Option("--check/--no-check", help="Run an onnx-qdq file in onnxruntime, where it is installed.")
]


@app.command()
def export(
    model: given.Model,
    *,
    form: Form = "onnx-qdq",
    out: Out,
    preprocess: given.Preprocess = None,
    tokenizer: given.Tokenizer = None,
    method: given.Method = None,
    option: given.Options = None,
    site: Site = None,
    words: Words = "both",
    check: Check = True,
    plan: given.Plan = None,
    save_plan: given.SavePlan = None,
    overwrite: given.Overwrite = False,
    samples: given.Samples = None,
    calibration: given.Calibration = None,
    batch: given.Batch = 1,
    sequence_length: given.SequenceLength = None,
    image_size: given.ImageSize = None,
    shape: given.Shape = None,
    seed: given.Seed = 0,
    json: given.Json = False,
    wide: given.Wide = False,
) -> None:
    """Write a quantized network for other tools: ONNX, integer weights, or vectors for a testbench."""
    with working() as progress:
        progress("loading", 0, 0)
        from bitwright import api
        from bitwright.exchange.export.formats import check_form
        from bitwright.exchange.export.shapes import SHAPE_FORMS
        from bitwright.networks.trace import require_sites
        from bitwright.reports.export import export_record, print_export
        from bitwright.studies.inputs import simulation_input
        from bitwright.studies.provenance import provenance

        check_form(form, out, site or (), words=words, overwrite=overwrite)
        INTERRUPTS.expect(out)
        check_outputs(save_plan, overwrite=overwrite)
        chosen = find_plan(method, option, plan, calibration=calibration, samples=samples)
        look_for(samples=samples)
        network = api.load(
            model,
            **given.reading(preprocess, tokenizer),
            batch=batch,
            sequence_length=sequence_length,
            image_size=image_size,
            dims=given.dims(shape),
            device="cpu",
        )
        if form not in SHAPE_FORMS:
            require_sites(network, site or (), simulation_input(network, seed=seed)[0])
        used = None if form in SHAPE_FORMS and method is None and plan is None else chosen.of(network)
        if isinstance(used, str):
            progress("calibrating", 0, 0)
            used = api.calibrate(
                network, used, given.samples(samples), options=chosen.options, count=calibration, seed=seed
            )
        if used is not None:
            keep_plan(used, save_plan)
        with INTERRUPTS.keeping():  # a file that is half-written is taken away
            exported = api.export(
                network,
                out,
                form,
                used,
                sites=site or (),
                words=words,  # type: ignore[arg-type]
                check=check,
                overwrite=overwrite,
                seed=seed,
                progress=progress,
            )
    made = provenance(given.command_line(), seed)
    show(
        "export",
        lambda: export_record(exported, made),
        lambda console: print_export(exported, console),
        json=json,
        wide=wide,
    )
    written([out])
