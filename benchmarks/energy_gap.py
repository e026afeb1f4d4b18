"""Why an int8 multiply-accumulate in open 0.18 um cells costs a hundred times what lists of 45 nm print.

    python benchmarks/energy_gap.py [--liberty FILE] [--model NETWORK --site SITE]

Synthesizes the unit, and units that lack a part of it, and divides its energy per clock into what the technology
accounts for, what lists leave out, and what operands do. Prints the cells' own figures first: what scaling by feature
size and voltage alone would make of them.

The list is Horowitz's (ISSCC 2014): .2 pJ for an 8-bit product and .1 for a 32-bit addition. With --model, operands are
also codes of a layer of that network, as `bitwright rtl` takes them.
"""

import argparse
from pathlib import Path

import numpy as np

import bitwright
from bitwright.circuits.energy import Energy, energy
from bitwright.circuits.multiply_accumulate import MultiplyAccumulate
from bitwright.circuits.simulation import run
from bitwright.circuits.streams import stream
from bitwright.circuits.synthesis import synthesize
from bitwright.studies.inputs import simulation_input
from bitwright.studies.rtl import capture
from bitwright.studies.synthesis import DEBIAN_CELLS

PUBLISHED = 0.3
"""pJ of an 8-bit product and a 32-bit addition at 45 nm, .9 V (Horowitz, ISSCC 2014)."""
NAND2_FF = 2 * 1.63
"""Both inputs of the smallest NAND2 of the open 45 nm cells of Nangate (NAND2_X1: 1.60 and 1.66 fF)."""
LIST_UM, LIST_VOLTAGE = 0.045, 0.9
CELLS_UM = 0.18
CLOCKS = 2**15


def line(name: str, found: Energy, whole: float) -> None:
    """One row: a total, its three parts, and its share of the whole unit."""
    parts = " ".join(f"{part:8.2f}" for part in (found.pj, found.nets_pj, found.internal_pj, found.clock_pj))
    print(f"{name:58} {parts} {found.pj / whole:6.2f}")


def resting(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same with one weight for 64 clocks."""
    w = inputs["w"].copy()
    for start in range(0, len(w), 64):
        w[start : start + 64] = w[start]
    return inputs | {"w": w}


def captured(model: str, site: str) -> dict[str, np.ndarray]:
    """Codes of a layer under `int8-sym`, [clocks, streams], as many clocks as a sum has products."""
    network = bitwright.load(model)
    plan = bitwright.calibrate(network, "int8-sym", options={"rotation": "none", "smoothing": "none"}, count=8)
    batch, _ = simulation_input(network, seed=0)
    found = capture(network, plan, site, batch, clocks=CLOCKS)
    k = int(np.flatnonzero(np.append(found.begins, 1))[1])
    codes = {"x": found.x, "w": found.w, "clear": found.begins}
    return {name: values[: CLOCKS // k * k].reshape(-1, k).T for name, values in codes.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--liberty", type=Path, default=DEBIAN_CELLS)
    parser.add_argument("--model")
    parser.add_argument("--site")
    given = parser.parse_args()

    unit = MultiplyAccumulate()
    mapped = synthesize(unit, given.liberty)
    library, ports = mapped.library, unit.ports()
    scaled = (CELLS_UM / LIST_UM) * (library.voltage / LIST_VOLTAGE) ** 2
    inverter = min((cell for cell in library.cells.values() if len(cell.capacitance) == 1), key=lambda cell: cell.area)
    pin = next(iter(inverter.capacitance.values()))
    print(
        f"{library.name}: {library.voltage:g} V, NAND2 {library.nand2_area:.1f} um2, an inverter's input {pin:.4f} pF"
    )
    print(f"one change of a net that drives four inverters: {4 * pin * library.voltage**2 / 2:.3f} pJ")
    print(
        f"C V^2 from {CELLS_UM} um and {library.voltage:g} V to {LIST_UM} um and {LIST_VOLTAGE} V: 1 / {scaled:.0f}\n"
    )

    inputs = stream(unit, "uniform")
    whole = energy(mapped, ports, inputs, glitches=False)
    print(f"{'pJ a clock':58} {'all':>8} {'nets':>8} {'internal':>8} {'clock':>8}  share")
    line("the unit: registers, product, 32-bit sum; uniform", whole, whole.pj)
    line("  with glitches (every gate the same delay)", energy(mapped, ports, inputs), whole.pj)
    line("  Laplace's operands", energy(mapped, ports, stream(unit, "laplace"), glitches=False), whole.pj)
    line("  one weight for 64 clocks", energy(mapped, ports, resting(inputs), glitches=False), whole.pj)
    still = {name: np.broadcast_to(values[:1], values.shape).copy() for name, values in inputs.items()}
    still["clear"] = np.ones_like(still["clear"])
    line("  operands that never change", energy(mapped, ports, still, glitches=False), whole.pj)
    if given.model:
        line(
            f"  codes of {given.site}",
            energy(mapped, ports, captured(given.model, given.site), glitches=False),
            whole.pj,
        )
    for bits in (24, 17):
        other = MultiplyAccumulate(sum_bits=bits)
        found = energy(synthesize(other, given.liberty), other.ports(), inputs, glitches=False)
        line(f"a sum of {bits} bits", found, whole.pj)
    print()
    found = run(mapped.netlist, ports, inputs, glitches=False)
    changes = (found.rises + found.falls) / found.clocks
    gates = mapped.area / library.nand2_area
    per_gate = 1000 * mapped.loads.sum() / gates
    activity = (changes * mapped.loads).sum() / mapped.loads.sum()
    print(f"{gates:.0f} gates; a net changes {activity:.2f} times a clock; {per_gate:.1f} fF driven a gate")

    steps = {
        "feature size and voltage, ideally": scaled,
        "cells wider than that: fF driven a gate by those of a 45 nm NAND2": per_gate * LIST_UM / CELLS_UM / NAND2_FF,
        "energy inside cells beside what they drive": (whole.nets_pj + whole.internal_pj) / whole.nets_pj,
        "registers' clock, which lists leave out": whole.pj / (whole.nets_pj + whole.internal_pj),
    }
    rest = whole.pj / PUBLISHED
    print(f"\n{whole.pj:.1f} pJ here by {PUBLISHED:g} pJ in the list: {rest:.0f}")
    for name, factor in steps.items():
        rest /= factor
        print(f"  {name:66} {factor:6.2f}")
    print(f"  {'left: how often nets change, the sum of products, what the list had':66} {rest:6.2f}")


if __name__ == "__main__":
    main()
