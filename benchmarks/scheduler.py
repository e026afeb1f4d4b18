"""The scheduler of split arrays: microseconds per layer, on products as networks have them.

    python benchmarks/scheduler.py [--rounds N]

Prints, for each kind of layer, medians over rounds: microseconds to cut the array for all blocks of the layer, and to
cost the layer on `drift` (cuts included), as `simulate` does; and how many cuts the modelled scheduler tries. Counts of
narrow rows and columns differ from block to block and from round to round, so nothing is remembered but the tiles.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from bitwright.accelerators.dynamic_precision import Drift
from bitwright.accelerators.dynamic_precision.scheduler import schedule
from bitwright.formats import Integer, PerTensor, Quantized
from bitwright.methods.classes import block_lengths
from bitwright.methods.drift.rule import Drift as DriftRule
from bitwright.methods.execution import Execution
from bitwright.methods.plan import OperandPlan, SitePlan
from bitwright.networks.sites import Site

LAYERS = {  # groups, m, k, n, blocks of the reduction
    "linear, whole rows": (1, 2048, 4096, 4096, 1),
    "linear, blocks of 128": (1, 2048, 4096, 4096, 32),
    "QK^T of 12 heads": (12, 512, 64, 512, 1),
    "3 x 3 convolution, 4 blocks of channels": (1, 784, 4608, 512, 36),
    "depthwise 3 x 3, 1,152 channels": (1152, 196, 9, 1, 9),
}
OPERAND = OperandPlan(format=Integer(bits=8), granularity=PerTensor())
PLAN = SitePlan(x=OPERAND, w=OPERAND, precision=DriftRule())


def narrow(shape: tuple[int, ...], random: np.random.Generator) -> Quantized:
    """An operand of which about four fifths of the sub-tensors are narrow."""
    shifts = torch.from_numpy(np.where(random.random(shape) < random.uniform(0.6, 1, shape[-1]), 2, -1).astype(np.int8))
    return Quantized(codes=torch.zeros(1), format=Integer(bits=8), scale=torch.ones(()), shifts=shifts)


def layer(name: str, random: np.random.Generator) -> Execution:
    groups, m, k, n, blocks = LAYERS[name]
    site = Site(
        name=name, op="matmul", m=m, k=k, n=n, groups=groups, x_elements=groups * m * k, w_elements=groups * k * n
    )
    blocks = len(block_lengths(k, blocks))
    work = Execution(site=site, plan=PLAN, x=narrow((groups, m, blocks), random), w=narrow((groups, n, blocks), random))
    assert work.classes.m_narrow.shape == (groups, blocks)  # counted before anything is timed
    return work


def seconds(run: Callable[[], object]) -> float:
    before = time.perf_counter()
    run()
    return time.perf_counter() - before


def measure(name: str, rounds: int) -> None:
    random, machine = np.random.default_rng(0), Drift()
    cuts, costs, tried = [], [], []
    for index in range(rounds + 1):
        work = layer(name, random)
        classes = work.classes
        shape = classes.m_narrow.shape
        counts = {
            "m_wide": classes.m - classes.m_narrow,
            "m_narrow": classes.m_narrow,
            "n_wide": classes.n - classes.n_narrow,
            "n_narrow": classes.n_narrow,
            "k": np.broadcast_to(classes.k, shape),
        }
        flat = {key: value.reshape(-1) for key, value in counts.items()}
        cut = seconds(lambda: schedule(machine.dataflow, rows=machine.rows, cols=machine.cols, **flat))  # noqa: B023
        cost = seconds(lambda: machine.run(work))  # noqa: B023
        if index:  # the first round compiles, and finds the tiles
            cuts.append(cut)
            costs.append(cost)
            tried.append(int(machine.place(classes).evaluations.sum()))
    print(
        f"{name}: {np.prod(shape):,} blocks; cuts {1e6 * statistics.median(cuts):,.0f} us, "
        f"cost {1e6 * statistics.median(costs):,.0f} us; {statistics.median(tried):,.0f} cuts tried"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    for name in LAYERS:
        measure(name, arguments.rounds)


if __name__ == "__main__":
    main()
