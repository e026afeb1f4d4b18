"""One network, as shapes with stated shares, on all machines: cycles with and without DRAM, energy at several prices.

Static machines run int8 (eyeriss stores it in 16 bits), DRQ its own rule with the share of x, seq and drift the rule of
drift. Which sub-tensors are narrow is stated here, not measured. They are whole rows and columns, whose products fill
an array best, and besides the blocks of the reduction, with affine codes, that networks can bear to have narrow.
"""

import dataclasses
from collections.abc import Iterator, Mapping

from bitwright.errors import BitwrightError
from bitwright.methods.execution import Execution
from bitwright.methods.plan import Plan
from bitwright.methods.precision import MultiplierTime
from bitwright.networks.network import Network
from bitwright.studies.reproduce.drift.arrays import (
    BITFUSION,
    DATAFLOWS,
    DRIFT,
    EYERISS,
    ROW_GROUPS,
    SEQ,
    Machine,
    drq_name,
    key,
)
from bitwright.studies.reproduce.drift.claims import INT8
from bitwright.studies.reproduce.drift.options import StudyOptions
from bitwright.studies.simulate import simulate
from bitwright.tasks.calibrate import calibrate_method

LIST = "list"
PRICES: Mapping[str, float | None] = {LIST: None, "4": 4.0, "15": 15.0}
"""Of a DRAM bit, in pJ, by name: that of the price list, and the ends of the sweep; ours."""
UNCUT = f"{INT8} on drift"
ROWS, BLOCKS = "drift-rows", "drift"
IN_BLOCKS = {DRIFT: f"{DRIFT} in blocks", SEQ: f"{SEQ} in blocks"}
"""Machine -> the name of its run in blocks."""
DYNAMIC = {
    **{DRIFT: ROWS, SEQ: ROWS},
    **dict.fromkeys(IN_BLOCKS.values(), BLOCKS),
    **{drq_name(groups): "drq" for groups in ROW_GROUPS},
}
"""Name of a run -> the method; all others run int8."""
MACHINES: Mapping[str, str] = {
    INT8: SEQ,
    UNCUT: DRIFT,
    BITFUSION: BITFUSION,
    EYERISS: EYERISS,
    **{name: name for name in DYNAMIC if name not in IN_BLOCKS.values()},
    **{name: machine for machine, name in IN_BLOCKS.items()},
}
"""Name of a run -> the machine it is on."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """A network on a machine.

    Attributes
    ----------
    name, dataflow : str
        Of `MACHINES`, of `DATAFLOWS`.
    compute_cycles, cycles : int
        Of the array alone; from the first DRAM read to the last DRAM write of every site.
    energy_pj : mapping
        By price of a DRAM bit.
    parts_pj : mapping
        By price, then by component.
    """

    name: str
    dataflow: str
    compute_cycles: int
    cycles: int
    energy_pj: Mapping[str, float]
    parts_pj: Mapping[str, Mapping[str, float]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stated:
    """A network at stated shares.

    Attributes
    ----------
    fluid : float
        Speed-up over 8 by 8 bits of its multipliers alone: what stays wide counted as such.
    runs : tuple of Run
        On all machines in both dataflows.
    """

    fluid: float
    runs: tuple[Run, ...]

    def run(self, name: str, dataflow: str) -> Run:
        """The one of these."""
        return next(run for run in self.runs if (run.name, run.dataflow) == (name, dataflow))

    def compute_speedup(self, rival: str, dataflow: str) -> float:
        """Of drift over a rival, the arrays alone."""
        return self.run(rival, dataflow).compute_cycles / self.run(DRIFT, dataflow).compute_cycles

    def speedup(self, rival: str, dataflow: str, over: str = DRIFT) -> float:
        """Of drift (or another run) over a rival, with DRAM."""
        return self.run(rival, dataflow).cycles / self.run(over, dataflow).cycles

    def saving(self, rival: str, dataflow: str, price: str = LIST, over: str = DRIFT) -> float:
        """Energy of a rival by that of drift (or another run)."""
        return self.run(rival, dataflow).energy_pj[price] / self.run(over, dataflow).energy_pj[price]


def stated(shapes: Network, machines: Mapping[str, Machine], options: StudyOptions) -> Stated:
    """A network of shapes on all machines.

    Raises
    ------
    BitwrightError
        If a machine runs nothing of it.
    """
    plans = _plans(shapes, options)
    time = MultiplierTime()
    for site in shapes.sites:
        time(Execution(site=site, plan=plans[ROWS].site(site.name)))
    return Stated(fluid=time.wide / time.spent, runs=tuple(_runs(shapes, plans, machines)))


def _plans(shapes: Network, options: StudyOptions) -> dict[str, Plan]:
    """By method."""
    ends = {"narrow_ends": options.narrow_ends, "x_share": options.x_share}
    both = {**ends, "w_share": options.w_share}
    return {
        INT8: calibrate_method(shapes, INT8),
        ROWS: calibrate_method(shapes, ROWS, options=both),
        BLOCKS: calibrate_method(shapes, BLOCKS, options={**both, "block": options.block}),
        "drq": calibrate_method(shapes, "drq", options=ends),
    }


def _runs(shapes: Network, plans: Mapping[str, Plan], machines: Mapping[str, Machine]) -> Iterator[Run]:
    for method, plan in plans.items():
        names = [name for name in MACHINES if DYNAMIC.get(name, INT8) == method]
        asked = {key(MACHINES[name], dataflow): machines for name in names for dataflow in DATAFLOWS}
        variants = {
            f"{each} @ {price}": machines[each]
            if pj is None
            else machines[each].model_copy(update={"dram_pj_per_bit": pj})
            for each in asked
            for price, pj in PRICES.items()
        }
        found = simulate(shapes, plan, variants)
        for name in names:
            for dataflow in DATAFLOWS:
                at = {price: found[f"{key(MACHINES[name], dataflow)} @ {price}"] for price in PRICES}
                first = at[LIST]
                if first.unsupported:
                    raise BitwrightError(f"{name} does not run all of {shapes.name}: {first.unsupported[0].reason}")
                yield Run(
                    name=name,
                    dataflow=dataflow,
                    compute_cycles=first.cost.compute_cycles,
                    cycles=first.cost.cycles,
                    energy_pj={price: each.cost.total_energy_pj for price, each in at.items()},
                    parts_pj={price: each.cost.energy_pj for price, each in at.items()},
                )
