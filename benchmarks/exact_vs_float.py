"""Exact int8 execution against the plain float network: whole-network time, paired in one run, medians.

    python benchmarks/exact_vs_float.py [NETWORK ...] [--rounds N] [--method M]

Prints one line per network: seconds of both for one batch, the median of the paired ratios, and the parts that the
exact time is spent on. The float network is the unmodified module as loaded (no folding, no fusing).
"""

import argparse
import statistics
import time

import torch

from bitwright.methods.executor import Executor
from bitwright.methods.protocol import compose
from bitwright.networks.load import load
from bitwright.tasks import default_samples

BATCHES = {"efficientnet-lite0": 16, "minilm-l6": 32, "smollm2-135m": 1}


def measure(name: str, method: str, rounds: int) -> None:
    network = load(name)
    samples = default_samples(network, count=BATCHES.get(name, 4), batch_size=BATCHES.get(name, 4)).batches
    plan = compose(method, {} if method == "float" else {"smoothing": "none"}).calibrate(network, samples[:1])
    exact = Executor(network, plan, exact=True)
    fast = Executor(network, plan, exact=False)
    batch = samples[0]
    runs = {"float": lambda: network.forward(batch), "exact": lambda: exact.run(batch), "fast": lambda: fast.run(batch)}
    times: dict[str, list[float]] = {key: [] for key in runs}
    with torch.no_grad():
        for i in range(rounds + 1):
            for key, run in runs.items():
                start = time.perf_counter()
                run()
                if i:  # the first round warms up
                    times[key].append(time.perf_counter() - start)
    ratio = {
        key: statistics.median(t / f for t, f in zip(values, times["float"], strict=True))
        for key, values in times.items()
    }
    median = {key: statistics.median(values) for key, values in times.items()}
    shape = {key: tuple(value.shape) for key, value in batch.items()}
    print(
        f"{name:20s} {method:10s} float {median['float']:.3f} s   exact {median['exact']:.3f} s = {ratio['exact']:.2f}x"
        f"   fast emulation {median['fast']:.3f} s = {ratio['fast']:.2f}x   {rounds} rounds, batch {shape}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=list(BATCHES))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--method", default="int8")
    arguments = parser.parse_args()
    for name in arguments.networks or list(BATCHES):
        measure(name, arguments.method, arguments.rounds)


if __name__ == "__main__":
    main()
