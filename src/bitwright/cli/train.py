"""`train`: weights and scales learn with quantization in the loop, from the float network."""

from pathlib import Path
from typing import Annotated

import typer

from bitwright.cli import given
from bitwright.cli.app import INTERRUPTED, app, stop
from bitwright.cli.plans import check_file
from bitwright.cli.show import show
from bitwright.cli.working import working
from bitwright.errors import InputError

SavePlan = Annotated[Path, typer.Option("--save-plan", help="Where the trained plan goes.")]
Steps = Annotated[int, typer.Option("--steps", min=1, help="Batches to learn from.")]
Minutes = Annotated[float, typer.Option("--minutes", min=0, help="Stop after so long.")]
Rate = Annotated[float | None, typer.Option("--learning-rate", help="Of weights.  [default: the settings']")]
ScaleRate = Annotated[float | None, typer.Option("--scale-rate", help="Of scales.  [default: the settings']")]
Features = Annotated[float | None, typer.Option("--features", help="Weight of the sites' outputs in the loss.")]
Every = Annotated[int, typer.Option("--every", min=1, help="Steps between looks at held-out samples, and checkpoints.")]
Patience = Annotated[int, typer.Option("--patience", min=1, help="Looks without improvement before an early stop.")]
Checkpoint = Annotated[Path | None, typer.Option("--checkpoint", help="Keep all state in this file at every look.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue from the checkpoint.")]


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
    minutes: Minutes = 55,
    learning_rate: Rate = None,
    scale_rate: ScaleRate = None,
    features: Features = None,
    every: Every = 50,
    patience: Patience = 8,
    checkpoint: Checkpoint = None,
    resume: Resume = False,
    calibration: given.Calibration = None,
    batch_size: given.BatchSize = None,
    sequence_length: given.SequenceLength = None,
    image_size: given.ImageSize = None,
    seed: given.Seed = 0,
    json: given.Json = False,
    wide: given.Wide = False,
) -> None:
    """Train with quantization in the loop, on unlabelled samples; the trained plan works wherever plans do."""
    check_file(save_plan)
    if checkpoint is not None and checkpoint.resolve() == save_plan.resolve():
        raise InputError(f"{checkpoint} cannot be both the checkpoint and the plan; name two files")
    with working() as progress:
        progress("loading", 0, 0)
        from bitwright import api
        from bitwright.reports.training import print_training, training_record
        from bitwright.studies.provenance import provenance

        network = api.load(
            model, **given.reading(preprocess, tokenizer), sequence_length=sequence_length, image_size=image_size
        )
        found = api.train(
            network,
            method,
            steps=steps,
            minutes=minutes,
            learning_rate=learning_rate,
            scale_rate=scale_rate,
            features=features,
            every=every,
            patience=patience,
            options=given.method_options(option),
            calibration_count=calibration,
            batch_size=batch_size,
            checkpoint=checkpoint,
            resume=resume,
            seed=seed,
            progress=progress,
        )
        found.plan.save(save_plan)
    made = provenance(given.command_line(), seed)
    show(
        lambda: training_record(found, save_plan, made),
        lambda console: print_training(found, save_plan, console),
        json=json,
        wide=wide,
    )
    if found.outcome.stopped == "interrupted":
        kept = f"; {checkpoint} continues with --resume" if checkpoint is not None else ""
        stop(f"interrupted at step {found.outcome.steps}; the best plan so far is in {save_plan}{kept}", INTERRUPTED)
