"""BitFusion's fusion unit: bricks of 2 by 2 bits whose shifted products add up to wider ones.

Sources (Sharma et al., ISCA 2018): bricks that take digits signed or not, 2, 4 and 8 bits for either operand, a tree
that shifts and adds, inputs of as many bits as all bricks have, sums of 32 bits. All products of a cycle lie along the
reduction, as in BitFusion's own simulator; the machine `bitfusion` here lays w's along columns and has quarters of this
unit, which is `widest` 4. Ours: how elements lie in the ports. A brick (i, j) has the place of the i-th digit of x by
the j-th of w at the widest mode; lane f of x is met by the f-th element of every lane of w, so that a brick's digit of
x depends on w's width alone, and the other way round.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import pydantic

from bitwright.circuits.circuit import Circuit, Integers, Port, Ports, Values
from bitwright.circuits.multiply_accumulate import LENGTH, wrapped
from bitwright.circuits.slice_operator import tree
from bitwright.errors import InputError
from bitwright.settings import about

BITFUSION = "BitFusion, ISCA 2018"
DIGIT = 2
"""Bits of a brick's operands."""


class FusionUnit(Circuit):
    """Bricks, their tree, and a sum."""

    name: ClassVar[str] = "fusion-unit"
    summary: ClassVar[str] = "2-bit bricks that fuse to products of 2, 4 and 8 bits (BitFusion's unit)"
    source: ClassVar[str] = "BitFusion (ISCA 2018) for bricks, tree and modes; how elements lie in ports is ours"
    configurations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "16 bricks, up to 8 x 8 bits": {},
        "4 bricks, up to 4 x 4 bits": {"widest": 4, "sum_bits": 24},
    }
    small: ClassVar[tuple[Mapping[str, Any], ...]] = ({"widest": 2, "sum_bits": 6},)

    widest: Literal[2, 4, 8] = pydantic.Field(
        8, description="width of the widest operands", json_schema_extra=about(BITFUSION, unit="bits")
    )
    sum_bits: int = pydantic.Field(
        32, ge=2, le=48, description="width of the sum, which wraps", json_schema_extra=about(BITFUSION, unit="bits")
    )

    @property
    def side(self) -> int:
        """Bricks along each operand: digits of the widest one."""
        return self.widest // DIGIT

    def ports(self) -> Ports:
        """Elements of `2 << width` bits lie side by side in the lanes; those that a mode has no bricks for are idle."""
        inputs = []
        for name in "xw":
            what = f"elements of {name}, as many as fit in a lane"
            inputs.append(Port(name=name, bits=self.widest, lanes=self.side, what=what))
            if self.side > 1:
                bits = self.side.bit_length() - 1
                inputs.append(Port(name=f"{name}_width", bits=bits, what="0: of 2 bits, 1: of 4, 2 and 3: of 8"))
            inputs.append(Port(name=f"{name}_signed", bits=1, what="whether they are signed"))
        inputs.append(Port(name="clear", bits=1, what="a new sum begins with these products"))
        total = Port(name="sum", bits=self.sum_bits, signed=True, what="sum, a clock later")
        return Ports(inputs=tuple(inputs), outputs=(total,))

    def controls(self, clocks: int, streams: int) -> dict[str, Integers]:
        """The widest mode, signed, in sums of `LENGTH` clocks."""
        whole = np.ones((clocks, streams), np.int64)
        begins = np.zeros_like(whole)
        begins[::LENGTH] = 1
        found = {"x_signed": whole, "w_signed": whole, "clear": begins}
        if self.side > 1:
            found["x_width"] = found["w_width"] = whole * (self.side.bit_length() - 1)
        return found

    def feed(self, x: Integers, w: Integers, begins: Integers) -> dict[str, Integers]:
        """One product of the widest mode per clock.

        Raises
        ------
        InputError
            Codes of more bits.
        """
        found = self.controls(*x.shape) | {"clear": begins}
        for name, codes in (("x", x), ("w", w)):
            signed = int(codes.min() < 0)
            half = 1 << (self.widest - signed)
            if codes.min() < -half * signed or codes.max() >= half:
                raise InputError(
                    f"codes of {name} are {codes.min()} .. {codes.max()}, and the fusion unit takes {self.widest} bits "
                    "in one clock; choose a method of narrower codes"
                )
            found[name] = np.zeros((*codes.shape, self.side), np.int64)
            found[name][..., 0] = codes & ((1 << self.widest) - 1)
            found[f"{name}_signed"] = np.full_like(codes, signed)
        return found

    def model(self, inputs: Values) -> dict[str, Integers]:
        """Sums of whole elements' products, a clock after them."""
        nothing = np.zeros_like(inputs["clear"])
        most = self.side.bit_length() - 1
        x_width, w_width = (np.minimum(inputs.get(f"{name}_width", nothing), most) for name in "xw")
        added = np.zeros_like(nothing)
        for of_x in range(most + 1):
            for of_w in range(most + 1):
                x = self._elements(inputs["x"], inputs["x_signed"], of_x)
                w = self._elements(inputs["w"], inputs["w_signed"], of_w)
                x, w = x[:, :, : w.shape[3]], w[:, :, : x.shape[3]]
                meets = np.einsum("ctfe,ctef->ct", x, w)
                added = np.where((x_width == of_x) & (w_width == of_w), meets, added)
        found = np.zeros_like(added)
        total = np.zeros_like(added[0])
        for clock in range(len(added)):
            found[clock] = total
            total = wrapped(np.where(inputs["clear"][clock], 0, total) + added[clock], self.sum_bits)
        return {"sum": found}

    def _elements(self, lanes: Integers, signed: Integers, width: int) -> Integers:
        """[clocks, streams, lanes, elements of a lane]."""
        bits = DIGIT << width
        places = np.arange(0, self.widest, bits)
        codes = lanes[..., None] >> places & ((1 << bits) - 1)
        return np.where(signed[..., None, None], wrapped(codes, bits), codes)

    def build(self, m: Any, io: Any) -> None:
        """Products of digits, shifted within each square of four bricks, then between the squares."""
        from amaranth.hdl import Mux, Signal, signed

        wide = {name: self._wide(io, name) for name in "xw"}

        def digit(name: str, at: int, other: int) -> Any:
            """Of a brick: digit `at` of the lane that the other operand's width says."""
            lanes, (other4, other8) = getattr(io, name), wide["w" if name == "x" else "x"]
            lane = Mux(other8, lanes[0], Mux(other4, lanes[other // 2], lanes[other]))
            found = Signal(signed(DIGIT + 1), name=f"{name}{at}_{other}")
            low = lane[DIGIT * at : DIGIT * (at + 1)]
            sign = low[-1] & getattr(io, f"{name}_signed") & _highest(at, *wide[name])
            m.d.comb += [found[:DIGIT].eq(low), found[DIGIT].eq(sign)]
            return found

        def shifted(value: Any, width: int, odd_x: int, odd_w: int) -> Any:
            """By `width` bits for each operand that has its odd digit, or pair of digits, here, if it is so wide."""
            for name, odd in (("x", odd_x), ("w", odd_w)):
                value = Mux(wide[name][width // DIGIT - 1], value << width, value) if odd else value
            return value

        squares: dict[tuple[int, int], list[Any]] = {}
        for i in range(self.side):
            for j in range(self.side):
                brick = shifted(digit("x", i, j) * digit("w", j, i), DIGIT, i % 2, j % 2)
                squares.setdefault((i // 2, j // 2), []).append(brick)
        parts = [shifted(tree(bricks), 2 * DIGIT, i, j) for (i, j), bricks in squares.items()]
        total = Signal(signed(self.sum_bits), name="total")
        m.d.sync += total.eq(Mux(io.clear, 0, total) + tree(parts))
        m.d.comb += io.sum.eq(total)

    def _wide(self, io: Any, name: str) -> tuple[Any, Any]:
        """Whether elements of an operand have at least 4 bits, and whether they have 8."""
        from amaranth.hdl import Const

        if self.side == 1:
            return Const(0), Const(0)
        port = getattr(io, f"{name}_width")
        return port.any(), port[1] if self.side > 2 else Const(0)


def _highest(at: int, wide4: Any, wide8: Any) -> Any:
    """Whether a digit is its element's highest, which carries the sign."""
    if at == 3:
        return 1
    return ~wide8 if at % 2 else ~wide4
