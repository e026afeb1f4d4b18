"""Sweeps of shape-only design points: two worker processes against one, in pairs, and points a second.

python benchmarks/sweep.py [NETWORK] [--points N] [--rounds N] [--large N]

Array sizes x input buffers x bandwidths x dataflows, each sweep into a store of its own. Times are whole sweeps, with
the start of the workers and the network loaded in each, and what is left without these: from the moment when every
worker has had time to begin (the first `WARM` points) to the last point. `--large` is how many points the last,
single sweep has.
"""

import argparse
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from bitwright.studies.sweep import read_study
from bitwright.studies.sweep.run import sweep

SIZES = [8, 12, 16, 24, 32, 40, 48, 64, 96, 128]
BUFFERS = [32, 64, 96, 128, 192, 256, 384, 512, 768, 1024]
BANDWIDTHS = [8, 16, 32, 64, 128]
WARM = 128


def study(network: str, points: int) -> dict[str, Any]:
    """At most so many points: all sizes and dataflows, of buffers and bandwidths as many as fit."""
    pairs = max(1, points // (2 * len(SIZES) ** 2))
    bandwidths = BANDWIDTHS[: max(1, min(len(BANDWIDTHS), pairs // len(BUFFERS) or 1))]
    buffers = BUFFERS[: max(1, pairs // len(bandwidths))]
    return {
        "networks": [network],
        "methods": ["int8"],
        "accelerators": ["systolic-ws", "systolic-os"],
        "parameters": {
            "rows": SIZES,
            "cols": SIZES,
            "input_sram_kib": buffers,
            "dram_bytes_per_cycle": bandwidths,
        },
    }


def spent(who: int) -> float:
    """Seconds of processor time."""
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def measure(network: str, points: int, workers: int) -> tuple[int, float, float, float]:
    """Points, whole seconds, points a second once warm, and the leading process's share of all processor time."""
    told: list[tuple[float, int]] = []

    def progress(_: str, done: int, total: int) -> None:
        if total:
            told.append((time.perf_counter(), done))

    processes = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    before = [spent(who) for who in processes]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        found = sweep(
            read_study(study(network, points)),
            place=Path(folder, "a.db"),
            results=Path(folder, "a.parquet"),
            workers=workers,
            progress=progress,
        )
        whole = time.perf_counter() - start
    leading, working = (spent(who) - already for who, already in zip(processes, before, strict=True))
    warm = [entry for entry in told if entry[1] >= WARM]
    rate = (warm[-1][1] - warm[0][1]) / (warm[-1][0] - warm[0][0])
    return len(found.rows), whole, rate, leading / (leading + working)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", nargs="?", default="bert-base")
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--large", type=int, default=10_000)
    arguments = parser.parse_args()
    rates, wholes = [], []
    for _ in range(arguments.rounds):
        one, two = (measure(arguments.network, arguments.points, workers) for workers in (1, 2))
        rates.append(two[2] / one[2])
        wholes.append(one[1] / two[1])
        print(
            f"{one[0]:,} points: one worker {one[1]:.1f} s, {one[2]:.1f} points/s warm; two {two[1]:.1f} s, "
            f"{two[2]:.1f}: {rates[-1]:.2f}x warm, {wholes[-1]:.2f}x with their start; the leading process takes "
            f"{two[3]:.0%} of the processor time; load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
    warm, whole = statistics.median(rates), statistics.median(wholes)
    print(f"two workers: {warm:.2f}x warm, {whole:.2f}x with their start; medians of {arguments.rounds} pairs")
    if arguments.large:
        count, whole, rate, _ = measure(arguments.network, arguments.large, 2)
        print(f"{count:,} points of {arguments.network}: {whole:.0f} s, {count / whole:.1f} points/s, {rate:.1f} warm")


if __name__ == "__main__":
    main()
