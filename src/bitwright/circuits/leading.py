"""Where a number's first one is: a shifter that brings it to the top, stage by stage, and counts as it does."""

from typing import Any


def normalized(m: Any, name: str, value: Any) -> tuple[Any, Any]:
    """An Amaranth value of unsigned bits without its leading zeros, and how many there were.

    Of 0 the count is the sum of all stages' steps: 2^b - 1 of b stages.
    """
    from amaranth.hdl import Cat, Mux, Signal

    bits, count = len(value), []
    stage = Signal(bits, name=f"{name}_whole")
    m.d.comb += stage.eq(value)
    for at in reversed(range((bits - 1).bit_length())):
        step = 1 << at
        empty, moved = Signal(name=f"{name}_by{step}"), Signal(bits, name=f"{name}_from{step}")
        m.d.comb += [empty.eq(~stage[-step:].any()), moved.eq(Mux(empty, stage << step, stage))]
        count.append(empty)
        stage = moved
    return stage, Cat(*reversed(count))
