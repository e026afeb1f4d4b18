"""`train`: weights and scales learn with quantization in the loop, from the float network."""

from pathlib import Path
from typing import Annotated

import typer

from bitwright.cli import given, outputs
from bitwright.cli import names as known
from bitwright.cli.app import app, stop_interrupted
from bitwright.cli.interrupts import INTERRUPTS
from bitwright.cli.leftovers import kept, removed
from bitwright.cli.plans import check_continued
from bitwright.cli.sample_paths import look_for
from bitwright.cli.show import deliver
from bitwright.cli.working import working
from bitwright.errors import InputError

SavePlan = Annotated[Path, typer.Option("--save-plan", help="Where the trained plan goes.")]
Steps = Annotated[int, typer.Option("--steps", min=1, max=given.MOST, help="Batches to learn from.")]
Minutes = Annotated[float, typer.Option("--minutes", min=0, help="Stop after so long.")]
Rate = Annotated[float | None, typer.Option("--learning-rate", help="Of weights.  [default: the settings']")]
ScaleRate = Annotated[float | None, typer.Option("--scale-rate", help="Of scales.  [default: the settings']")]
Features = Annotated[float | None, typer.Option("--features", help="Weight of the blocks' outputs in the loss.")]
Averaging = Annotated[
    int | None, typer.Option("--averaging", help="Steps that the moving average reaches back; 0: none.")
]
Samples = Annotated[
    str | None,
    typer.Option(
        "--samples",
        metavar="NAMES|PATH",
        help="To calibrate on and learn from, a fifth of them held out: sources of images (scikit-image, batch-norm, "
        "...), a folder of pictures, a text, or package.module:callable that returns batches.",
        autocompletion=known.sources,
    ),
]
Every = Annotated[
    int,
    typer.Option("--every", min=1, max=given.MOST, help="Steps between looks at held-out samples, and checkpoints."),
]
Patience = Annotated[
    int, typer.Option("--patience", min=1, max=given.MOST, help="Looks without improvement before an early stop.")
]
Checkpoint = Annotated[
    Path | None,
    typer.Option("--checkpoint", help="Keep all state in this file at every look, until all steps are taken."),
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Insist on going on from the checkpoint; without, what is there is gone on from."),
]

Out = Annotated[list[str] | None, outputs.option("losses")]


@app.command()
def train(
    model: given.Model,
    *,
    preprocess: given.Preprocess = None,
    tokenizer: given.Tokenizer = None,
    save_plan: SavePlan,
    method: given.Method = None,
    option: given.Options = None,
    steps: Steps = 1000,
    minutes: Minutes = 28,
    learning_rate: Rate = None,
    scale_rate: ScaleRate = None,
    features: Features = None,
    averaging: Averaging = None,
    every: Every = 50,
    patience: Patience = 8,
    out: Out = None,
    overwrite: given.Overwrite = False,
    checkpoint: Checkpoint = None,
    resume: Resume = False,
    calibration: given.Calibration = None,
    batch_size: given.BatchSize = None,
    sequence_length: given.SequenceLength = None,
    image_size: given.ImageSize = None,
    shape: given.Shape = None,
    samples: Samples = None,
    seed: given.Seed = 0,
    json: given.Json = False,
    wide: given.Wide = False,
) -> None:
    """Train with quantization in the loop, on unlabelled samples; the trained plan works wherever plans do.

    With --checkpoint the same command goes on from where it was stopped.
    """
    if checkpoint is not None and checkpoint.resolve() == save_plan.resolve():
        raise InputError(f"{checkpoint} cannot be both the checkpoint and the plan; name two files")
    with working() as progress:
        progress("loading", 0, 0)
        from bitwright import api
        from bitwright.api.searches import TRAINED
        from bitwright.reports.training import print_training, training_record
        from bitwright.studies.provenance import provenance
        from bitwright.studies.training import Training

        files = outputs.targets(out, Training, overwrite=overwrite, beside=[save_plan, checkpoint])
        check_continued(save_plan, checkpoint, method or ("" if resume else TRAINED), overwrite=overwrite)
        look_for(samples=samples)
        network = api.load(
            model,
            **given.reading(preprocess, tokenizer),
            sequence_length=sequence_length,
            image_size=image_size,
            dims=given.dims(shape),
        )
        with INTERRUPTS.keeping():
            found = api.train(
                network,
                method,
                steps=steps,
                minutes=minutes,
                learning_rate=learning_rate,
                scale_rate=scale_rate,
                features=features,
                averaging=averaging,
                every=every,
                patience=patience,
                options=given.method_options(option),
                samples=given.samples(samples),
                calibration_count=calibration,
                batch_size=batch_size,
                checkpoint=checkpoint,
                resume=resume,
                seed=seed,
                progress=progress,
            )
        found.plan.save(save_plan)
    made = provenance(given.command_line(), seed)
    deliver(
        "train",
        found,
        lambda: training_record(found, save_plan, made),
        lambda console: print_training(found, save_plan, console),
        files=files,
        json=json,
        wide=wide,
    )
    if checkpoint is not None:
        _account(checkpoint, found.outcome.stopped)
    if found.outcome.stopped == "interrupted":
        going_on = "" if checkpoint is None else f"; the same command goes on from {checkpoint}"
        stop_interrupted(f"at step {found.outcome.steps}; the best plan so far is in {save_plan}{going_on}")


def _account(checkpoint: Path, stopped: str) -> None:
    """Say which checkpoints stay, and what for; after the last step there is nothing to go on with."""
    from bitwright.methods.training.checkpoint import previous_of

    if stopped == "steps":
        removed([checkpoint, previous_of(checkpoint)], "all steps were taken, and the plan is saved")
        return
    kept(checkpoint, "all state, from which the same command goes on")
    kept(previous_of(checkpoint), "the state before, should the other be damaged; remove both when the plan is final")
