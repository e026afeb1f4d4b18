"""Mappings of random products against all multiples of the array: how much the search leaves on the table.

    python benchmarks/mappings.py --products 200
    python benchmarks/mappings.py --products 200 --starved

The search tries the smallest size of every number of tiles along each axis; this tries every multiple of what fills the
array, with every loop order. `--starved` draws small SRAMs and little bandwidth too, where the last tile's write is
seen. Also says how long ResNet-18 takes, costed and mapped anew.
"""

import argparse
import random
import time

import numpy as np

import bitwright
from bitwright.accelerators import engine
from bitwright.accelerators.engine import AtWork
from bitwright.accelerators.systolic import OutputStationary, Simd, WeightStationary
from bitwright.formats import Integer, PerTensor
from bitwright.memory import best_mapping, score, tiling, traffic
from bitwright.methods.execution import Execution
from bitwright.methods.plan import OperandPlan, SitePlan
from bitwright.networks.sites import Site

ARRAYS = (WeightStationary, OutputStationary, Simd)
OBJECTIVES = ("latency", "energy", "edp")


def main() -> None:
    """Print the worst case and how many there are, then the time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--products", type=int, default=200)
    parser.add_argument("--starved", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)  # noqa: S311
    above = [excess(drawn(draw, starved=arguments.starved)) for _ in range(arguments.products)]
    print(
        f"{len(above)} products: {sum(each > 1e-12 for each in above)} above the best, worst {100 * max(above):.2f} %"
    )
    network, seconds = bitwright.load("resnet18"), []
    for _ in range(5):
        best_mapping.cache_clear()
        engine._run.cache_clear()
        start = time.perf_counter()
        bitwright.simulate(network, "int8", "systolic-ws")
        seconds.append(time.perf_counter() - start)
    print(f"resnet18, traced, mapped and costed: {min(seconds):.3f} s")


def drawn(draw: random.Random, *, starved: bool) -> AtWork:
    """An array at work on a product."""
    machine = draw.choice(ARRAYS)(objective=draw.choice(OBJECTIVES))
    if starved:
        less = {
            "dram_bytes_per_cycle": draw.choice([4, 16, 32, 128]),
            "input_sram_kib": draw.choice([32, 256]),
            "weight_sram_kib": draw.choice([32, 128]),
            "output_sram_kib": draw.choice([16, 128]),
        }
        machine = machine.model_copy(update=less)
    m, k, n, groups = draw.randint(1, 1200), draw.randint(1, 2500), draw.randint(1, 2000), draw.choice([1, 1, 1, 4])
    sizes = {"x_elements": groups * m * k, "w_elements": groups * k * n}
    site = Site(name="product", op="matmul", m=m, k=k, n=n, groups=groups, **sizes)
    job = machine.job(Execution(site=site, plan=SitePlan(x=integers(draw), w=integers(draw))))
    return AtWork(machine=machine, dataflow=job.dataflows[0], gemm=job.gemm, uses=job.uses)


def integers(draw: random.Random) -> OperandPlan:
    """An operand of 4 or 8 bits."""
    return OperandPlan(format=Integer(bits=draw.choice([4, 8]), signed=True), granularity=PerTensor())


def excess(busy: AtWork) -> float:
    """By what share the mapping found has more of what the objective minimizes than the best of all multiples."""
    usual = tiling.tile_sizes
    best = reached(busy)
    tiling.tile_sizes = lambda *, extent, unit: [*range(unit, extent, unit), extent]
    try:
        return best / reached(busy) - 1
    finally:
        tiling.tile_sizes = usual


def reached(busy: AtWork) -> float:
    """What the objective minimizes, of the mapping found."""
    best_mapping.cache_clear()
    gemm, bandwidth = busy.gemm, busy.dram_bytes_per_cycle
    found = best_mapping(gemm=gemm, machine=busy)
    kinds = found.tilings().kinds(gemm)
    moved = traffic(gemm=gemm, tilings=found.tilings(), dram_bytes_per_cycle=bandwidth, kinds=kinds)
    energy = busy.energy_pj(gemm=gemm, kinds=kinds, moved=moved)
    return float(score(busy, np.array([found.cycles]), energy)[0])


if __name__ == "__main__":
    main()
