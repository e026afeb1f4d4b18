"""What every circuit of the bills of machines costs in both price lists: area of one, energy of a cycle of work.

    python benchmarks/price_lists.py [--node 28] [--all]

Without `--all` those alone that are 1.5 times apart or more, either way, in area or energy.
"""

import argparse

from bitwright.accelerators.books import Billed, books_of
from bitwright.accelerators.circuits import Priced
from bitwright.studies.machines import accelerator_names, build_accelerators
from bitwright.studies.price_lists import APART


def priced(prices: str, node_nm: int) -> dict[tuple[str, str], Priced]:
    """By machine and component."""
    machines = build_accelerators(accelerator_names(), {"prices": prices, "node_nm": node_nm})
    return {
        (name, each.name): each.circuit
        for name, machine in machines.items()
        if isinstance(machine, Billed)
        for each in books_of(machine).components
    }


def main() -> None:
    """Read the command line, print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--node", type=int, default=28)
    parser.add_argument("--all", action="store_true")
    arguments = parser.parse_args()
    published, synthesized = (priced(prices, arguments.node) for prices in ("published", "synthesized"))
    print(f"{'machine':14}{'component':22}{'um2':>10}{'synth.':>10}{'ratio':>7}{'pJ':>11}{'synth.':>11}{'ratio':>7}")
    for (name, part), one in published.items():
        other = synthesized.get((name, part))
        if other is None or not other.synthesized:
            continue
        area, energy = other.area_um2 / one.area_um2, other.energy_pj / one.energy_pj
        if arguments.all or not all(1 / APART < ratio < APART for ratio in (area, energy)):
            print(
                f"{name:14}{part:22}{one.area_um2:10.4g}{other.area_um2:10.4g}{area:7.2f}"
                f"{one.energy_pj:11.4g}{other.energy_pj:11.4g}{energy:7.2f}"
            )


if __name__ == "__main__":
    main()
