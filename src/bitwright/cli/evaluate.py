"""`evaluate`: how well a network does with a method, beside its float self."""

from typing import Annotated

import typer

from bitwright.cli import given, outputs
from bitwright.cli.app import app
from bitwright.cli.plans import check_new, find_plan, keep_plan
from bitwright.cli.sample_paths import look_for
from bitwright.cli.show import deliver
from bitwright.cli.working import working

Budget = Annotated[
    str | None,
    typer.Option(
        metavar="PERCENT",
        help="What narrow operands may cost, such as 1%: the option budget of drift, drq and mixed, as a percentage.",
    ),
]

Out = Annotated[list[str] | None, outputs.option("score or sites")]


@app.command()
def evaluate(
    model: given.Model,
    *,
    preprocess: given.Preprocess = None,
    tokenizer: given.Tokenizer = None,
    method: given.Method = None,
    task: given.Task = None,
    data: given.Judged = None,
    metric: given.Metric = None,
    lower_is_better: given.LowerIsBetter = False,
    exact: given.Exact = True,
    limit: given.Limit = None,
    option: given.Options = None,
    budget: Budget = None,
    plan: given.Plan = None,
    save_plan: given.SavePlan = None,
    out: Out = None,
    overwrite: given.Overwrite = False,
    samples: given.Samples = None,
    calibration_from: given.CalibrationFrom = None,
    calibration: given.Calibration = None,
    batch_size: given.BatchSize = None,
    sequence_length: given.SequenceLength = None,
    image_size: given.ImageSize = None,
    shape: given.Shape = None,
    sites: given.Sites = False,
    seed: given.Seed = 0,
    device: given.Device = "auto",
    json: given.Json = False,
    wide: given.Wide = False,
) -> None:
    """Judge a quantized network beside its float self."""
    with working() as progress:
        progress("loading", 0, 0)
        from bitwright import api
        from bitwright.reports.score_records import evaluation_record
        from bitwright.reports.scores import print_evaluation
        from bitwright.studies.frontier import parse_share
        from bitwright.studies.provenance import provenance
        from bitwright.tasks.evaluate import Evaluation

        budgeted = () if budget is None else (f"budget={parse_share(budget)}",)
        check_new(save_plan, overwrite=overwrite)
        files = outputs.targets(out, Evaluation, overwrite=overwrite, beside=[save_plan])
        chosen = find_plan(method, (*(option or ()), *budgeted), plan, calibration=calibration)
        look_for(data=data, samples=samples, calibration_from=calibration_from)
        network = api.load(
            model,
            **given.reading(preprocess, tokenizer),
            sequence_length=sequence_length,
            image_size=image_size,
            dims=given.dims(shape),
            device=device,
        )
        result = api.evaluate(
            network,
            chosen.of(network),
            task,
            given.data(data),
            metric=given.metric(metric),
            higher_is_better=not lower_is_better,
            exact=exact,
            samples=given.samples(samples),
            calibration_samples=given.samples(calibration_from),
            limit=limit,
            options=chosen.options,
            calibration_count=calibration,
            batch_size=batch_size,
            seed=seed,
            progress=progress,
        )
        keep_plan(result.plan, save_plan)
    made = provenance(given.command_line(), seed)
    deliver(
        "evaluate",
        result,
        lambda: evaluation_record(result, network, made),
        lambda console: print_evaluation(result, network.name, network.notes, console, sites=sites),
        files=files,
        json=json,
        wide=wide,
    )
