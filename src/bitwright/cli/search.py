"""`search`: the genetic search for the log posit formats of every layer."""

from pathlib import Path
from typing import Annotated

import typer

from bitwright.cli import given, outputs
from bitwright.cli.app import app, stop_interrupted
from bitwright.cli.interrupts import INTERRUPTS
from bitwright.cli.leftovers import kept
from bitwright.cli.plans import check_continued
from bitwright.cli.show import deliver
from bitwright.cli.threads import available_cores
from bitwright.cli.working import working
from bitwright.errors import InputError

SavePlan = Annotated[Path, typer.Option("--save-plan", help="Where the best plan goes.")]
Method = Annotated[str, typer.Option("--method", "-m", help="What is searched: lpq.")]
Objective = Annotated[str, typer.Option("--objective", help="global-local, global, mse or kl.")]
Widths = Annotated[str, typer.Option("--widths", help="free (2-8 bits) or hardware (2, 4, 8).")]
MeanBits = Annotated[float | None, typer.Option("--mean-bits", help="Largest mean width of weights.  [default: none]")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="population, passes, cycles, random_parents, temperature, compression, floor, sf_step, refit, profile.",
    ),
]
Budget = Annotated[float, typer.Option("--budget", min=0, help="Stop after so many minutes.")]
Log = Annotated[Path | None, typer.Option("--log", help="Keep every judged candidate in this file.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Insist on going on from the log; without, what is there is gone on from.")
]
Workers = Annotated[
    int | None, typer.Option("--workers", min=1, max=given.MOST, help="Processes.  [default: the processor's cores]")
]

Out = Annotated[list[str] | None, outputs.option("history or layers")]


@app.command()
def search(
    model: given.Model,
    *,
    preprocess: given.Preprocess = None,
    tokenizer: given.Tokenizer = None,
    save_plan: SavePlan,
    method: Method = "lpq",
    option: given.Options = None,
    objective: Objective = "global-local",
    widths: Widths = "free",
    mean_bits: MeanBits = None,
    setting: Settings = None,
    budget: Budget = 55,
    out: Out = None,
    overwrite: given.Overwrite = False,
    log: Log = None,
    resume: Resume = False,
    workers: Workers = None,
    calibration: given.Calibration = None,
    sequence_length: given.SequenceLength = None,
    image_size: given.ImageSize = None,
    shape: given.Shape = None,
    seed: given.Seed = 0,
    device: given.Device = "cpu",
    json: given.Json = False,
    wide: given.Wide = False,
) -> None:
    """Search each layer's format on unlabelled samples; the plan found works wherever plans do.

    With --log the same command goes on from where it was stopped.
    """
    check_continued(save_plan, log, method, overwrite=overwrite)
    if log is not None and log.resolve() == save_plan.resolve():
        raise InputError(f"{log} cannot be both the log and the plan; name two files")
    with working() as progress:
        progress("loading", 0, 0)
        from bitwright import api
        from bitwright.reports.search import print_search, search_record
        from bitwright.studies.provenance import provenance
        from bitwright.studies.search import Search

        files = outputs.targets(out, Search, overwrite=overwrite, beside=[save_plan, log])
        network = api.load(
            model,
            **given.reading(preprocess, tokenizer),
            sequence_length=sequence_length,
            image_size=image_size,
            dims=given.dims(shape),
            device=device,
        )
        with INTERRUPTS.keeping():
            found = api.search(
                network,
                method,
                objective=objective,
                widths=widths,
                mean_bits=mean_bits,
                settings=given.machine_settings(setting, None),
                options=given.method_options(option),
                calibration_count=calibration,
                log=log,
                resume=resume,
                workers=workers or available_cores(),
                minutes=budget,
                seed=seed,
                progress=progress,
            )
        found.plan.save(save_plan)
    made = provenance(given.command_line(), seed)
    deliver(
        "search",
        found,
        lambda: search_record(found, save_plan, made),
        lambda console: print_search(found, save_plan, console),
        files=files,
        json=json,
        wide=wide,
    )
    if found.found.stopped == "interrupted":
        going_on = "" if log is None else f"; the same command goes on from {log}"
        stop_interrupted(f"the best plan so far is in {save_plan}{going_on}")
    if log is not None:
        kept(log, "every judged candidate, from which the same command goes on; nothing else needs it")
