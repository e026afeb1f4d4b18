"""`sweep`: a study's points in parallel, kept in a database as they come."""

import os
from pathlib import Path
from typing import Annotated

import typer

from bitwright.cli import given
from bitwright.cli.app import FAILURE, INTERRUPTED, app, stop
from bitwright.cli.show import show
from bitwright.cli.working import working
from bitwright.errors import InputError

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="What is varied; the README has its keys.")]
Store = Annotated[
    str | None,
    typer.Option("--store", metavar="FILE|URL", help="A SQLite file, or postgresql://...  [default: STUDY.db]"),
]
Results = Annotated[Path | None, typer.Option("--results", help="All rows as Parquet.  [default: STUDY.parquet]")]
Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Processes.  [default: the processor's cores]")]
Dask = Annotated[
    str | None, typer.Option("--dask", metavar="ADDRESS", help="The scheduler of a Dask cluster, tcp://HOST:8786.")
]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Instead of the study's.")]


@app.command()
def sweep(
    study: StudyFile,
    *,
    store: Store = None,
    results: Results = None,
    workers: Workers = None,
    dask: Dask = None,
    seed: Seed = None,
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

        found = api.sweep(
            study,
            store=store or study.with_suffix(".db"),
            results=results or study.with_suffix(".parquet"),
            workers=workers or os.cpu_count() or 1,
            dask=dask,
            seed=seed,
            progress=progress,
        )
    made = provenance(given.command_line(), found.study.seed)
    show(lambda: sweep_record(found, made), lambda console: print_sweep(found, console), json=json, wide=wide)
    if found.stopped == "interrupted":
        stop(f"interrupted; {len(found.rows):,} rows are in {found.store}, and the same command goes on", INTERRUPTED)
    if any(row["status"] == "failed" for row in found.rows):
        raise typer.Exit(FAILURE)
