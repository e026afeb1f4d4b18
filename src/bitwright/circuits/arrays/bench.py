"""What stands around an array: SRAMs that answer what its control asks for, and ears for what leaves.

Amaranth's own simulator runs the RTL. In every clock the control's outputs settle, the SRAMs' words are put at the
inputs, and what is at the edges is heard; then the registers move.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from bitwright.circuits.circuit import Integers
from bitwright.circuits.yosys import require_rtl

LONGEST = 200_000
"""Clocks after which an array is taken to hang."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ran:
    """What came of a product.

    Attributes
    ----------
    product : array
        Sums that left, added up where they belong [m, n].
    cycles : int
        Until the last one has left.
    product_cycles : int
        Until the last multiplication is done.
    """

    product: Integers
    cycles: int
    product_cycles: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fold:
    """What an array works on at a time: parts of the operands, padded to it, and their places in these."""

    x: Integers
    w: Integers
    m: slice
    n: slice


Clock = Callable[[Any], None]
"""Reads outputs and puts inputs of one clock, given a way to both."""


def simulate(module: Any, clock: Callable[[Any, int], bool]) -> None:
    """Run RTL from reset; `clock` gets the simulator's context and the clock's number, and says whether it is done.

    Raises
    ------
    InputError
        Without the extra `rtl`.
    """
    require_rtl()
    from amaranth.sim import Simulator

    simulator = Simulator(module)
    simulator.add_clock(1e-9)

    async def bench(context: Any) -> None:
        for at in range(LONGEST):
            if clock(context, at):
                return
            await context.tick()
        raise AssertionError(f"the array has not finished after {LONGEST:,} clocks")

    simulator.add_testbench(bench)
    simulator.run()


def parts(extent: int, size: int) -> Iterator[slice]:
    """Pieces of an axis."""
    for start in range(0, extent, size):
        yield slice(start, min(start + size, extent))


def padded(block: Integers, shape: tuple[int, int]) -> Integers:
    """A block with zeros behind it."""
    found = np.zeros(shape, np.int64)
    found[: block.shape[0], : block.shape[1]] = block
    return found


def delayed(m: Any, values: list[Any], name: str) -> list[Any]:
    """Value i some i clocks later: the skew of an edge."""
    from amaranth.hdl import Signal

    found = []
    for at, each in enumerate(values):
        value = each
        for stage in range(at):
            held = Signal.like(value, name=f"{name}{at}_{stage}")
            m.d.sync += held.eq(value)
            value = held
        found.append(value)
    return found
