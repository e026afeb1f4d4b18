"""What slices cost: exact `aqs` against exact `int8`, and machines that count skipped vectors against execution alone.

    python benchmarks/slices.py [NETWORK ...] [--rounds N] [--batch N]

Prints, per network, medians of paired ratios: exact aqs by exact int8; exact aqs with Panacea, SIMD and a systolic
array listening (statistics of skipped vectors included) by exact aqs alone; the same for Sibia alone on its own plan;
and the process's peak memory while aqs runs alone and while the machines listen (Linux).
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from bitwright.accelerators.bit_slice import Panacea, Sibia
from bitwright.accelerators.systolic import OutputStationary, Simd
from bitwright.methods.executor import Executor
from bitwright.methods.protocol import compose
from bitwright.networks.load import load
from bitwright.tasks import default_samples

NETWORKS = ("efficientnet-lite0", "minilm-l6", "smollm2-135m")
PROCESS = Path("/proc/self")


def peak_mib(run: Callable[[], object]) -> int:
    """The process's largest resident memory while `run` runs, in MiB."""
    (PROCESS / "clear_refs").write_text("5")  # forget the peak so far
    run()
    fields = dict(line.split(":", 1) for line in (PROCESS / "status").read_text().splitlines())
    return int(fields["VmHWM"].split()[0]) // 1024


def measure(name: str, rounds: int, count: int) -> None:
    network = load(name)
    batch = default_samples(network, count=count, batch_size=count).batches[0]
    plans = {
        method: compose(method, {"smoothing": "none", **options}).calibrate(network, [batch])
        for method, options in (("int8", {}), ("aqs", {}), ("sibia", {}))
    }
    alone = {method: Executor(network, plan) for method, plan in plans.items()}
    three = [machine.run for machine in (Panacea(), Simd(), OutputStationary())]
    heard = Executor(network, plans["aqs"], listeners=three)
    sibia = Executor(network, plans["sibia"], listeners=[Sibia().run])
    runs = {
        "int8": lambda: alone["int8"].run(batch),
        "aqs": lambda: alone["aqs"].run(batch),
        "three machines": lambda: heard.run(batch),
        "sibia": lambda: alone["sibia"].run(batch),
        "with sibia": lambda: sibia.run(batch),
    }
    times: dict[str, list[float]] = {key: [] for key in runs}
    with torch.no_grad():
        for i in range(rounds + 1):
            for key, run in runs.items():
                start = time.perf_counter()
                run()
                if i:  # the first round warms up and searches the mappings
                    times[key].append(time.perf_counter() - start)
        peaks = {key: peak_mib(runs[key]) for key in ("aqs", "three machines")}

    def ratio(one: str, other: str) -> float:
        return statistics.median(a / b for a, b in zip(times[one], times[other], strict=True))

    shape = {key: tuple(value.shape) for key, value in batch.items()}
    print(f"{name}: {rounds} rounds, batch {shape}")
    print(f"  aqs {statistics.median(times['aqs']):.3f} s = {ratio('aqs', 'int8'):.2f}x int8")
    print(f"  with statistics and three machines {ratio('three machines', 'aqs'):.2f}x")
    print(f"  sibia with its machine {ratio('with sibia', 'sibia'):.2f}x")
    print(f"  peak memory {peaks['aqs']} MiB, with the machines {peaks['three machines']} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch", type=int, default=1)
    arguments = parser.parse_args()
    for name in arguments.networks:
        measure(name, arguments.rounds, arguments.batch)


if __name__ == "__main__":
    main()
