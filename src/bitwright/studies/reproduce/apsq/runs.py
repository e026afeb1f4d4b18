"""One network on one array in all dataflows and variants, with partial sums of 32, 16 and 8 bits."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from bitwright.accelerators.engine import Ran
from bitwright.accelerators.events import partial_sum_pj
from bitwright.accelerators.partial_sums import Apsq
from bitwright.errors import BitwrightError
from bitwright.memory import Gemm
from bitwright.methods.execution import Execution
from bitwright.methods.integer.options import IntegerOptions
from bitwright.methods.plan import Plan
from bitwright.networks.network import Network
from bitwright.networks.sites import Site
from bitwright.studies.reproduce.apsq.figures import Figures
from bitwright.studies.reproduce.options import known_options
from bitwright.studies.simulate import Simulation, simulate
from bitwright.tasks.calibrate import calibrate_method

BITS_PER_BYTE = 8
WIDE, NARROW = "INT32", "INT8 gs1"
SUMS: Mapping[str, str] = {
    WIDE: "int8",
    "INT16": "int8+psum16",
    **{f"INT8 gs{size}": f"int8+apsq-gs{size}" for size in (1, 2, 3, 4)},
}
"""How partial sums are stored, and the method that does so."""
DATAFLOWS = ("is", "ws", "os")
VARIANTS: Mapping[str, str] = {
    "published": "inputs cross DRAM once, SRAM accesses are those of the array alone, as a reconstruction counts",
    "mapped": "tiles and loops are searched and everything is counted, as on every other machine",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """A network on a machine with one kind of partial sums.

    Attributes
    ----------
    simulation : Simulation
        Costs by site.
    machine : Apsq
        The array.
    ran : tuple of Ran
        How each of its sites runs, in the same order.
    live_bytes : float
        The most bytes of partial sums that the output SRAM is asked to keep at once, at any site.
    """

    simulation: Simulation
    machine: Apsq
    ran: tuple[Ran, ...]
    live_bytes: float

    @property
    def energy_pj(self) -> float:
        """Of everything."""
        return self.simulation.cost.total_energy_pj

    @property
    def psum_share(self) -> float:
        """Moving partial sums, of all energy, 0 .. 1."""
        return partial_sum_pj(self.simulation.cost) / self.energy_pj

    @property
    def spilling(self) -> int:
        """Sites whose partial sums go to DRAM."""
        return sum(each.spilled for each in self.ran)

    @property
    def passes(self) -> float:
        """Bytes of operands and outputs that cross DRAM by those of them that are distinct."""
        mappings = [each.mapping for each in self.ran]
        psums = sum(each.dram_psum_read_bytes + each.dram_psum_write_bytes for each in mappings)
        moved = sum(each.dram_read_bytes + each.dram_write_bytes for each in mappings) - psums
        return moved / self.simulation.cost.unique_bytes


@dataclasses.dataclass(frozen=True, kw_only=True)
class SiteLine:
    """One site of a line: energy in pJ with wide and narrow partial sums, and whether they spill."""

    site: Site
    wide_pj: float
    narrow_pj: float
    wide_spills: bool
    narrow_spills: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """A network on an array with one dataflow and one variant of counting; `runs` by kind of partial sums."""

    array: str
    dataflow: str
    variant: str
    runs: Mapping[str, Run]

    @property
    def wide(self) -> Run:
        """With partial sums of 32 bits."""
        return self.runs[WIDE]

    @property
    def narrow(self) -> Run:
        """With partial sums of 8 bits, each step quantizing the running sum."""
        return self.runs[NARROW]

    @property
    def figures(self) -> Figures:
        """What claims are about, in pJ."""
        return Figures(
            wide=self.wide.energy_pj, narrow=self.narrow.energy_pj, psums=self.wide.psum_share * self.wide.energy_pj
        )

    def normalised(self, sums: str) -> float:
        """Energy by that with partial sums of 32 bits."""
        return self.runs[sums].energy_pj / self.wide.energy_pj

    def sites(self) -> Iterator[SiteLine]:
        """Site by site."""
        wide, narrow = self.wide, self.narrow
        pairs = zip(wide.simulation.sites, wide.ran, narrow.simulation.sites, narrow.ran, strict=True)
        for wide_cost, wide_ran, narrow_cost, narrow_ran in pairs:
            yield SiteLine(
                site=wide_cost.site,
                wide_pj=wide_cost.cost.total_energy_pj,
                narrow_pj=narrow_cost.cost.total_energy_pj,
                wide_spills=wide_ran.spilled,
                narrow_spills=narrow_ran.spilled,
            )


def methods_of(array: Apsq, options: Mapping[str, Any]) -> dict[str, tuple[str, dict[str, Any]]]:
    """By kind of partial sums the method and its options on an array, whose Pci is the width of a tile."""
    exact = known_options(options, IntegerOptions.model_fields)
    narrow = {**options, "psum_tile": array.pci}
    return {sums: (method, exact if sums == WIDE else narrow) for sums, method in SUMS.items()}


def lines_of(network: Network, name: str, array: Apsq, options: Mapping[str, Any]) -> tuple[Line, ...]:
    """A network of shapes on the array of that name.

    Raises
    ------
    BitwrightError
        If the array runs nothing of it.
    """
    kinds = [(dataflow, variant) for dataflow in DATAFLOWS for variant in VARIANTS]
    machines = {
        f"{dataflow}, {variant}": Apsq(**{**array.parameters(), "dataflow": dataflow, "variant": variant})
        for dataflow, variant in kinds
    }
    runs = {
        sums: _runs(network, calibrate_method(network, method, options=own), machines)
        for sums, (method, own) in methods_of(array, options).items()
    }
    return tuple(
        Line(
            array=name,
            dataflow=dataflow,
            variant=variant,
            runs={sums: found[f"{dataflow}, {variant}"] for sums, found in runs.items()},
        )
        for dataflow, variant in kinds
    )


def _runs(network: Network, plan: Plan, machines: Mapping[str, Apsq]) -> dict[str, Run]:
    found = simulate(network, plan, machines)
    for name, simulation in found.items():
        if simulation.refusal is not None:
            raise BitwrightError(f"the array ({name}) runs nothing of {network.name}: {simulation.refusal}")
    return {name: _run(simulation, machines[name]) for name, simulation in found.items()}


def _run(simulation: Simulation, machine: Apsq) -> Run:
    works = [Execution(site=entry.site, plan=entry.plan) for entry in simulation.sites]
    ran = tuple(machine.ran(work) for work in works)
    if machine.variant == "published":
        live = max(machine.moved(work).live_bytes for work in works)
    else:
        live = max(
            _kept_bytes(each.mapping.tile_m * each.mapping.tile_n, machine.product(work))
            for each, work in zip(ran, works, strict=True)
        )
    return Run(simulation=simulation, machine=machine, ran=ran, live_bytes=live)


def _kept_bytes(outputs: int, gemm: Gemm) -> float:
    return float(outputs * gemm.psum_bits / BITS_PER_BYTE)
