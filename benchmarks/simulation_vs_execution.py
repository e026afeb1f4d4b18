"""What listening costs: exact execution with both systolic arrays listening, against the same execution alone.

    python benchmarks/simulation_vs_execution.py [NETWORK ...] [--rounds N]

Prints, per network, the median of the paired ratios against exact execution alone and against the plain float network;
then the cold time of whole shape-only simulations, start-up excluded.
"""

import argparse
import statistics
import time

import torch

from bitwright.accelerators.systolic import OutputStationary, WeightStationary
from bitwright.methods.executor import Executor
from bitwright.methods.protocol import compose
from bitwright.networks.load import load
from bitwright.studies.simulate import simulate
from bitwright.tasks import default_samples

NETWORKS = ("efficientnet-lite0", "minilm-l6", "smollm2-135m")
SHAPES = ("resnet18", "bert-base", "llama2-7b")


def listening(name: str, rounds: int) -> None:
    network = load(name)
    batch = default_samples(network, count=1, batch_size=1).batches[0]
    plan = compose("int8", {"smoothing": "none"}).calibrate(network, [batch])
    machines = [WeightStationary(), OutputStationary()]
    alone = Executor(network, plan)
    heard = Executor(network, plan, listeners=[machine.run for machine in machines])
    runs = {
        "float": lambda: network.forward(batch),
        "exact": lambda: alone.run(batch),
        "heard": lambda: heard.run(batch),
    }
    times: dict[str, list[float]] = {key: [] for key in runs}
    with torch.no_grad():
        for i in range(rounds + 1):
            for key, run in runs.items():
                start = time.perf_counter()
                run()
                if i:  # the first round warms up and searches the mappings
                    times[key].append(time.perf_counter() - start)
    over = {
        key: statistics.median(h / t for h, t in zip(times["heard"], times[key], strict=True)) - 1
        for key in ("exact", "float")
    }
    print(
        f"{name:20s} both arrays listening: {over['exact']:+.0%} of exact execution, {over['float']:+.0%} of the float "
        f"network ({statistics.median(times['float']):.3f} s), {rounds} rounds"
    )


def shape_only(name: str) -> None:
    start = time.perf_counter()
    network = load(name)
    loaded = time.perf_counter()
    plan = compose("int8", {}).calibrate(network, [])
    simulate(network, plan, {"systolic-ws": WeightStationary(), "systolic-os": OutputStationary()})
    print(f"{name:20s} load {loaded - start:.2f} s, trace and both arrays {time.perf_counter() - loaded:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    for name in arguments.networks:
        listening(name, arguments.rounds)
    for name in SHAPES:
        shape_only(name)


if __name__ == "__main__":
    main()
