"""Exact execution with run-time precision against exact int8: whole-network time, paired in one run, medians.

python benchmarks/run_time_precision.py [NETWORK ...] [--rounds N] [--delta D]

The delta is given, not searched: what is narrow changes little of the time that deciding and converting take.
Scheduling by machines is timed in benchmarks/scheduler.py.
"""

import argparse
import statistics
import time

import torch

from bitwright.methods.executor import Executor
from bitwright.methods.protocol import compose
from bitwright.networks.load import load
from bitwright.tasks import default_samples
from bitwright.tasks.precision import PrecisionRecord

BATCHES = {"efficientnet-lite0": 16, "minilm-l6": 32, "smollm2-135m": 1}
METHODS = {"drift": {"block": 32}, "drift-rows": {}, "drq": {}}


def measure(name: str, rounds: int, delta: float) -> None:
    network = load(name)
    samples = default_samples(network, count=BATCHES.get(name, 4), batch_size=BATCHES.get(name, 4)).batches
    batch, executors = samples[0], {}
    for method in ("int8", *METHODS):
        options = {"smoothing": "none", **METHODS.get(method, {})}
        if method != "int8":
            options |= {"threshold": 8.0} if method == "drq" else {"delta": delta}
        executors[method] = Executor(network, compose(method, options).calibrate(network, samples[:1]))
    record = PrecisionRecord()
    executors["drift"].listeners = (record,)
    executors["drift"].run(batch)
    executors["drift"].listeners = ()
    times: dict[str, list[float]] = {method: [] for method in executors}
    with torch.no_grad():
        for i in range(rounds + 1):
            for method, executor in executors.items():
                start = time.perf_counter()
                executor.run(batch)
                if i:  # the first round warms up
                    times[method].append(time.perf_counter() - start)
    ratios = {
        method: statistics.median(t / f for t, f in zip(values, times["int8"], strict=True))
        for method, values in times.items()
    }
    said = "   ".join(f"{method} {ratio:.2f}x" for method, ratio in ratios.items() if method != "int8")
    print(
        f"{name:20s} int8 {statistics.median(times['int8']):.3f} s   {said}   "
        f"({100 * record.shares['a4w4']:.0f} % a4w4 under drift, {rounds} rounds)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=list(BATCHES))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--delta", type=float, default=0.7)
    arguments = parser.parse_args()
    for name in arguments.networks or list(BATCHES):
        measure(name, arguments.rounds, arguments.delta)


if __name__ == "__main__":
    main()
