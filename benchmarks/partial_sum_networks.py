"""Whole networks with quantized partial sums: exact int8+apsq against exact int8 and float, paired in one run, medians.

python benchmarks/partial_sum_networks.py [NETWORK ...] [--rounds N] [--method M]
"""

import argparse
import statistics
import time

import torch

from bitwright.methods.executor import Executor
from bitwright.methods.protocol import compose
from bitwright.networks.load import load
from bitwright.tasks import default_samples

BATCHES = {"efficientnet-lite0": 8, "minilm-l6": 16, "smollm2-135m": 1}


def measure(name: str, method: str, rounds: int) -> None:
    network = load(name)
    count = BATCHES.get(name, 4)
    batch = default_samples(network, count=count, batch_size=count).batches[0]
    plans = {each: compose(each, {"smoothing": "none"}).calibrate(network, [batch]) for each in ("int8", method)}
    executors = {each: Executor(network, plan) for each, plan in plans.items()}
    runs = {
        "float": lambda: network.forward(batch),
        "int8": lambda: executors["int8"].run(batch),
        method: lambda: executors[method].run(batch),
    }
    times: dict[str, list[float]] = {key: [] for key in runs}
    with torch.no_grad():
        for i in range(rounds + 1):
            for key, run in runs.items():
                start = time.perf_counter()
                run()
                if i:  # the first round warms up
                    times[key].append(time.perf_counter() - start)

    def ratio(other: str) -> float:
        return statistics.median(a / b for a, b in zip(times[method], times[other], strict=True))

    shape = {key: tuple(value.shape) for key, value in batch.items()}
    print(
        f"{name:20s} {method} {statistics.median(times[method]):.3f} s = {ratio('int8'):.2f}x exact int8 = "
        f"{ratio('float'):.2f}x float, {rounds} rounds, batch {shape}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=list(BATCHES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--method", default="int8+apsq")
    arguments = parser.parse_args()
    for name in arguments.networks:
        measure(name, arguments.method, arguments.rounds)


if __name__ == "__main__":
    main()
