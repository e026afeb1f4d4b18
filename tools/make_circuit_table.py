"""Makes `src/bitwright/technology/data/circuits.csv`; run by hand, whenever RTL changes, never by the package.

    python tools/make_circuit_table.py [--all] [--liberty FILE] [--workers N] [--output circuits.csv]

It synthesizes the circuits that bills of machines name (`OF_BILLS`), with `--all` every configuration of every circuit
besides, as `bitwright synthesize` does: with the extra `rtl`, and Debian's cells (package qflow-tech-osu018) unless a
Liberty file is named. Runs are kept in the user's cache, so it goes on where it was stopped; all of it takes about half
an hour on two cores. Cells are read, and none of them gets into the table. Cells of another library need a line in
`SHRINK` of `bitwright.technology.synthesized`.
"""

import argparse
import csv
import json
import sys
from pathlib import Path

from bitwright.circuits import (
    AdaptivFloatPe,
    AntDecoder,
    AntPe,
    BitGroup,
    Circuit,
    Compensator,
    CutScheduler,
    DrqElement,
    DrqMask,
    FusionUnit,
    LogPositDecoder,
    LogPositEncoder,
    LpaPe,
    MultiplyAccumulate,
    PartialSumAdder,
    PrecisionDecider,
    Rae,
    Requantizer,
    RunLengthDecoder,
    RunLengthEncoder,
    SliceMerger,
    SliceOperator,
    VectorLane,
)
from bitwright.circuits.report import Synthesized
from bitwright.studies.synthesis import chosen, rtl_digest, synthesis

OF_BILLS: tuple[Circuit, ...] = (
    *(
        MultiplyAccumulate(x_bits=bits, w_bits=bits, stationary=rests)
        for bits in (4, 8, 16)
        for rests in ("weights", "outputs")
    ),
    Requantizer(slices=False),
    PartialSumAdder(lanes=1, tile_bits=32),
    SliceOperator(products=4, sum_bits=22),
    SliceOperator(products=8, sum_bits=23),
    SliceOperator(x_signed=True, products=12, sum_bits=24),
    *(SliceMerger(x_signed=signed) for signed in (False, True)),
    Compensator(operators=1, products=4),
    *(kind(run_bits=bits) for kind in (RunLengthEncoder, RunLengthDecoder) for bits in (3, 4, 8)),
    FusionUnit(widest=4),
    LpaPe(rounding="truncated"),
    LogPositDecoder(),
    LogPositEncoder(),
    AntPe(),
    AntDecoder(),
    AdaptivFloatPe(),
    Rae(),
    PartialSumAdder(),
    BitGroup(),
    BitGroup(cuts=False),
    PrecisionDecider(),
    CutScheduler(),
    DrqElement(),
    DrqMask(),
    VectorLane(),
)
COLUMNS = (
    "circuit",
    "parameters",
    "library",
    "voltage_v",
    "cells",
    "gates",
    "area_um2",
    "sequential_share",
    "path_ns",
    "leakage_nw",
    "energy_uniform_pj",
    "energy_laplace_pj",
    "energy_uniform_with_glitches_pj",
    "energy_laplace_with_glitches_pj",
    "rtl",
    "tools",
)
DIGITS = 6
OF_A_BILL = "of a bill"


def row(line: Synthesized, circuit: Circuit) -> list[str]:
    """A line of the table, in the order of `COLUMNS`; of the RTL it has a digest, by which a stale line is known."""
    figures = (
        line.gates,
        line.area_um2,
        line.sequential,
        line.path_ns,
        line.leakage_nw,
        *(line.energy_pj[name] for name in ("uniform", "laplace")),
        *(line.glitching_pj[name] for name in ("uniform", "laplace")),
    )
    return [
        line.circuit,
        json.dumps(line.parameters, sort_keys=True),
        line.library,
        f"{line.voltage_v:g}",
        str(line.cells),
        *(f"{figure:.{DIGITS}g}" for figure in figures),
        rtl_digest(circuit),
        " ".join(f"{name} {version}" for name, version in sorted(line.versions.items())),
    ]


def told(what: str, done: int, total: int) -> None:
    """Progress, a line each."""
    print(f"{what}: {done} of {total}", file=sys.stderr, flush=True)


def main() -> None:
    """Read the command line, synthesize, write the table."""
    data = Path(__file__).resolve().parent.parent / "src" / "bitwright" / "technology" / "data"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--liberty", type=Path, help="cells [default: Debian's qflow-tech-osu018]")
    parser.add_argument("--all", action="store_true", help="every configuration of every circuit, and not bills' alone")
    parser.add_argument("--workers", type=int, help="processes [default: as many as cores]")
    parser.add_argument("--output", type=Path, default=data / "circuits.csv")
    arguments = parser.parse_args()
    circuits = [(OF_A_BILL, circuit) for circuit in OF_BILLS]
    if arguments.all:
        circuits += [(phrase, circuit) for phrase, circuit in chosen([]) if circuit not in OF_BILLS]
    found = synthesis(circuits, arguments.liberty, workers=arguments.workers, progress=told)
    with arguments.output.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(sorted(row(line, circuit) for line, (_, circuit) in zip(found.lines, circuits, strict=True)))
    print(f"wrote {len(found.lines)} rows to {arguments.output}", file=sys.stderr)


if __name__ == "__main__":
    main()
