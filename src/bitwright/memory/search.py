"""The best mapping of a product onto a machine: fewest cycles, least energy or the least product of both.

Equally good mappings are ranked by energy (of the fastest) or cycles (of the others), then by larger tiles. Exhaustive
over the candidates of `bitwright.memory.tiling`, and exact: candidates are timed in the order of a lower bound on what
the objective minimizes, until the bound says that none of the others can be better.
"""

import dataclasses
import functools
from typing import Literal

import numpy as np

from bitwright.memory.gemm import BITS_PER_BYTE, FloatArray, Gemm, IntArray
from bitwright.memory.machine import TiledMachine
from bitwright.memory.pipeline import first_read_cycles, last_write_cycles, pipelined_cycles, port_cycles
from bitwright.memory.tiling import ORDERS, Kinds, Tilings, candidates
from bitwright.memory.traffic import Traffic, traffic

FIRST_BATCH = 12
CACHED_MAPPINGS = 4096


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mapping:
    """How a product runs on a machine, and what that takes over all groups.

    Attributes
    ----------
    tile_m, tile_k, tile_n : int
        Extents of a tile; the last tile of an axis may be smaller.
    order : str
        Loops over tiles, outermost first: "mnk". Groups are outside of them.
    input_buffers, weight_buffers, output_buffers : int
        2: its tiles move while the array works on another; 1: the array waits for them.
    tiles : int
        Tiles of all groups.
    cycles : int
        From the first DRAM read to the last DRAM write.
    compute_cycles, port_cycles, dram_cycles : int
        Cycles in which the array, the busiest SRAM, and DRAM, are busy.
    dram_x_read_bytes, dram_w_read_bytes, dram_psum_read_bytes : int
        Bytes read from DRAM.
    dram_psum_write_bytes, dram_y_write_bytes : int
        Bytes written to DRAM.
    input_fill_bytes, weight_fill_bytes : int
        Bytes written into the input and weight SRAMs on the way from DRAM.
    """

    tile_m: int
    tile_k: int
    tile_n: int
    order: str
    input_buffers: int
    weight_buffers: int
    output_buffers: int
    tiles: int
    cycles: int
    compute_cycles: int
    port_cycles: int
    dram_cycles: int
    dram_x_read_bytes: int
    dram_w_read_bytes: int
    dram_psum_read_bytes: int
    dram_psum_write_bytes: int
    dram_y_write_bytes: int
    input_fill_bytes: int
    weight_fill_bytes: int

    @property
    def dram_read_bytes(self) -> int:
        """All bytes read from DRAM."""
        return self.dram_x_read_bytes + self.dram_w_read_bytes + self.dram_psum_read_bytes

    @property
    def dram_write_bytes(self) -> int:
        """All bytes written to DRAM."""
        return self.dram_psum_write_bytes + self.dram_y_write_bytes

    @property
    def stall_cycles(self) -> int:
        """Cycles in which the array waits for DRAM."""
        return self.cycles - self.compute_cycles

    @property
    def bound(self) -> Literal["compute", "memory"]:
        """Which of the two is busier: the array or DRAM."""
        return "compute" if self.compute_cycles >= self.dram_cycles else "memory"

    @property
    def buffers(self) -> tuple[int, int, int]:
        """Of x, w and the outputs."""
        return self.input_buffers, self.weight_buffers, self.output_buffers

    def tilings(self) -> Tilings:
        """The mapping as the only candidate."""
        values = {
            **{"m": self.tile_m, "k": self.tile_k, "n": self.tile_n, "order": ORDERS.index(self.order)},
            "input_buffers": self.input_buffers,
            "weight_buffers": self.weight_buffers,
            "output_buffers": self.output_buffers,
        }
        return Tilings(**{name: np.array([value], dtype=np.int64) for name, value in values.items()})


@functools.lru_cache(maxsize=CACHED_MAPPINGS)
def best_mapping(*, gemm: Gemm, machine: TiledMachine) -> Mapping:
    """The mapping of `gemm` that the machine's objective likes best.

    Raises
    ------
    InputError
        If no tile fits the machine's SRAMs.
    """
    tilings = candidates(gemm=gemm, buffers=machine.buffers, unit=machine.tile_unit, unit_divides=machine.unit_divides)
    kinds, bandwidth = tilings.kinds(gemm), machine.dram_bytes_per_cycle
    moved = traffic(gemm=gemm, tilings=tilings, dram_bytes_per_cycle=bandwidth, kinds=kinds)
    compute = total_compute_cycles(gemm=gemm, kinds=kinds, machine=machine)
    energy = machine.energy_pj(gemm=gemm, kinds=kinds, moved=moved)
    ports = total_port_cycles(gemm=gemm, kinds=kinds, machine=machine, moved=moved)
    bound = score(machine, _lower_bound(gemm, tilings, machine, moved, compute, ports), energy)
    timed, cycles = _promising(gemm, tilings, machine, bound, energy)
    reached, size = energy[timed] + machine.leakage_pj_per_cycle * cycles, tilings.m * tilings.k * tilings.n
    second = reached if machine.objective == "latency" else cycles
    first = int(np.lexsort((timed, -size[timed], second, score(machine, cycles, energy[timed])))[0])
    best = int(timed[first])
    return _mapping(
        gemm=gemm,
        tilings=tilings,
        best=best,
        cycles=int(cycles[first]),
        compute_cycles=int(compute[best]),
        port_cycles=int(ports[best]),
        moved=moved,
    )


def score(machine: TiledMachine, cycles: IntArray, energy_pj: FloatArray) -> FloatArray:
    """What the machine's objective minimizes, element-wise, of so many cycles and so much energy without leakage."""
    if machine.objective == "latency":
        return cycles.astype(np.float64)
    total: FloatArray = energy_pj + machine.leakage_pj_per_cycle * cycles
    return total if machine.objective == "energy" else total * cycles


def total_compute_cycles(*, gemm: Gemm, kinds: Kinds, machine: TiledMachine) -> IntArray:
    """Cycles in which the array works or waits for its words, of every candidate, all groups, with filling."""
    tile = {"m": kinds.m, "k": kinds.k, "n": kinds.n}
    cycles = np.maximum(machine.array_cycles(**tile), port_cycles(machine.array_bits(**tile), machine))
    return machine.fill_cycles + gemm.groups * kinds.total(cycles)


def total_port_cycles(*, gemm: Gemm, kinds: Kinds, machine: TiledMachine, moved: Traffic) -> IntArray:
    """Cycles in which the busiest SRAM moves all words of the array and of DRAM, of every candidate, all groups."""
    each = machine.array_bits(m=kinds.m, k=kinds.k, n=kinds.n)
    of_array = [gemm.groups * kinds.total(np.ceil(bits).astype(np.int64)) for bits in each]
    of_dram = (moved.x_fill, moved.w_fill, moved.psum_read + moved.psum_write)
    bits = [array + BITS_PER_BYTE * dram for array, dram in zip(of_array, of_dram, strict=True)]
    return port_cycles(bits, machine)


def _lower_bound(
    gemm: Gemm, tilings: Tilings, machine: TiledMachine, moved: Traffic, compute: IntArray, ports: IntArray
) -> IntArray:
    bandwidth = machine.dram_bytes_per_cycle
    last_write = last_write_cycles(gemm=gemm, tilings=tilings, dram_bytes_per_cycle=bandwidth)
    first_x, first_w = first_read_cycles(gemm=gemm, tilings=tilings, machine=machine)
    exposed = np.where(tilings.output_buffers == 2, last_write, moved.output_cycles)
    exposed += np.where(tilings.input_buffers == 2, first_x, moved.x_cycles)
    exposed += np.where(tilings.weight_buffers == 2, first_w, moved.w_cycles)
    bound: IntArray = np.maximum(np.maximum(compute + exposed, moved.dram_cycles), ports)
    return bound


def _promising(
    gemm: Gemm, tilings: Tilings, machine: TiledMachine, bound: FloatArray, energy: FloatArray
) -> tuple[IntArray, IntArray]:
    """Candidates that may be the best, which is among them, and their cycles."""
    by_bound = np.argsort(bound, kind="stable")
    timed: list[IntArray] = []
    best = np.inf
    start, batch = 0, FIRST_BATCH
    while start < len(by_bound) and bound[by_bound[start]] <= best:
        ahead = by_bound[start : start + batch]
        ahead = ahead[bound[ahead] <= best]
        timed.append(pipelined_cycles(gemm=gemm, tilings=tilings.select(ahead), machine=machine))
        best = min(best, float(score(machine, timed[-1], energy[ahead]).min()))
        start, batch = start + len(ahead), 2 * batch
    cycles = np.concatenate(timed)
    return by_bound[: len(cycles)], cycles


def _mapping(
    *,
    gemm: Gemm,
    tilings: Tilings,
    best: int,
    cycles: int,
    compute_cycles: int,
    port_cycles: int,
    moved: Traffic,
) -> Mapping:
    m_count, k_count, n_count = (int(count[best]) for count in tilings.counts(gemm))
    return Mapping(
        tile_m=int(tilings.m[best]),
        tile_k=int(tilings.k[best]),
        tile_n=int(tilings.n[best]),
        order=ORDERS[int(tilings.order[best])],
        input_buffers=int(tilings.input_buffers[best]),
        weight_buffers=int(tilings.weight_buffers[best]),
        output_buffers=int(tilings.output_buffers[best]),
        tiles=gemm.groups * m_count * k_count * n_count,
        cycles=cycles,
        compute_cycles=compute_cycles,
        port_cycles=port_cycles,
        dram_cycles=int(moved.dram_cycles[best]),
        dram_x_read_bytes=int(moved.x_read[best]),
        dram_w_read_bytes=int(moved.w_read[best]),
        dram_psum_read_bytes=int(moved.psum_read[best]),
        dram_psum_write_bytes=int(moved.psum_write[best]),
        dram_y_write_bytes=int(moved.y_write[best]),
        input_fill_bytes=int(moved.x_fill[best]),
        weight_fill_bytes=int(moved.w_fill[best]),
    )
