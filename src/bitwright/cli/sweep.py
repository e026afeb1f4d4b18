"""`sweep`: a study's points in parallel, kept in a database as they come."""

from pathlib import Path
from typing import Annotated

import typer

from bitwright.cli import given, outputs
from bitwright.cli.app import app, stop_interrupted
from bitwright.cli.failures import FAILURE
from bitwright.cli.interrupts import INTERRUPTS
from bitwright.cli.show import deliver
from bitwright.cli.threads import available_cores
from bitwright.cli.working import working
from bitwright.errors import InputError

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="What is varied; the README has its keys.")]
Store = Annotated[
    str | None,
    typer.Option("--store", metavar="FILE|URL", help="A SQLite file, or postgresql://...  [default: STUDY.db here]"),
]
Results = Annotated[Path | None, typer.Option("--results", help="All rows as Parquet.  [default: STUDY.parquet here]")]
Workers = Annotated[
    int | None, typer.Option("--workers", min=1, max=given.MOST, help="Processes.  [default: the processor's cores]")
]
Dask = Annotated[
    str | None, typer.Option("--dask", metavar="ADDRESS", help="The scheduler of a Dask cluster, tcp://HOST:8786.")
]
Seed = Annotated[int | None, typer.Option("--seed", min=0, max=given.MOST, help="Instead of the study's.")]

Out = Annotated[list[str] | None, outputs.option("rows or best")]


@app.command()
def sweep(
    study: StudyFile,
    *,
    store: Store = None,
    results: Results = None,
    workers: Workers = None,
    dask: Dask = None,
    seed: Seed = None,
    out: Out = None,
    overwrite: given.Overwrite = False,
    json: given.Json = False,
    wide: given.Wide = False,
) -> None:
    """Run a study; stopped at any moment, the same command goes on from there."""
    if workers is not None and dask is not None:
        raise InputError("--workers are this computer's and --dask is a cluster with its own; give one of them")
    with working() as progress:
        progress("reading the study", 0, 0)
        from bitwright import api
        from bitwright.reports.sweep import print_sweep, sweep_record
        from bitwright.studies.provenance import provenance
        from bitwright.studies.sweep import Sweep

        kept = results or Path(study.with_suffix(".parquet").name)
        files = outputs.targets(out, Sweep, overwrite=overwrite, beside=[kept])
        INTERRUPTS.expect(kept)
        with INTERRUPTS.keeping():
            found = api.sweep(
                study,
                store=store or Path(study.with_suffix(".db").name),
                results=kept,
                workers=workers or available_cores(),
                dask=dask,
                seed=seed,
                progress=progress,
            )
    made = provenance(given.command_line(), found.study.seed)
    deliver(
        "sweep",
        found,
        lambda: sweep_record(found, made),
        lambda console: print_sweep(found, console),
        files=files,
        json=json,
        wide=wide,
    )
    if found.stopped == "interrupted":
        stop_interrupted(f"{len(found.rows):,} rows are in {found.store}, and the same command goes on")
    if any(row["status"] == "failed" for row in found.rows):
        raise typer.Exit(FAILURE)
