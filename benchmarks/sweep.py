"""Sweeps of shape-only design points: two worker processes against one, in pairs, and points a second.

python benchmarks/sweep.py [NETWORK] [--points N] [--rounds N] [--large N]

Array sizes x input buffers x bandwidths x dataflows, each sweep into a store of its own. Times are whole sweeps, with
the start of the workers and the network loaded in each, and what is left without these: from the moment when every
worker has had time to begin (the first `WARM` points) to the last point. Where others use the processor too, processor
times still say what two idle cores would give. `--large` is how many points the last, single sweep has.
"""

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

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


def spent() -> tuple[float, float]:
    """Seconds of processor time of this process, and of its workers."""
    leading = psutil.Process()
    working = 0.0
    for child in leading.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = child.cpu_times()
            working += times.user + times.system
    own = leading.cpu_times()
    return own.user + own.system, working


def measure(network: str, points: int, workers: int) -> tuple[int, float, float, float, float]:
    """Points, whole seconds, and once warm: points a second, processor milliseconds per point of leader and workers."""
    told: list[tuple[int, float, float, float]] = []

    def progress(_: str, done: int, total: int) -> None:
        if total and (done == total or (done >= WARM and not told)):
            told.append((done, time.perf_counter(), *spent()))

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
    count, seconds, leading, working = (end - begin for begin, end in zip(told[0], told[-1], strict=True))
    return len(found.rows), whole, count / seconds, 1000 * leading / count, 1000 * working / count


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
            f"{two[2]:.1f}: {rates[-1]:.2f}x warm, {wholes[-1]:.2f}x with their start; processor time a point "
            f"{one[4]:.1f} and {two[4]:.1f} ms of workers, {one[3]:.1f} and {two[3]:.1f} ms of the leader: two idle "
            f"cores would give {2 * one[4] / (two[3] + two[4]):.2f}x; load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
    warm, whole = statistics.median(rates), statistics.median(wholes)
    print(f"two workers: {warm:.2f}x warm, {whole:.2f}x with their start; medians of {arguments.rounds} pairs")
    if arguments.large:
        count, whole, rate, *_ = measure(arguments.network, arguments.large, 2)
        print(f"{count:,} points of {arguments.network}: {whole:.0f} s, {count / whole:.1f} points/s, {rate:.1f} warm")


if __name__ == "__main__":
    main()
