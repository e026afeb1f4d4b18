"""The log-linear converter of LPA: the fraction of a logarithm becomes that of a linear number.

T[t] = round(2^q * (2^(t / 2^q) - 1)) for fractions t of q bits, in gates as the authors' poster says of it
(arXiv 2403.05465); up to q = 2 there are none, as T[t] = t.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pydantic

from bitwright.circuits.circuit import Circuit, Integers, Port, Ports, Values
from bitwright.formats import converter_table
from bitwright.settings import OURS, about

LPA = "LPA, arXiv 2403.05465"
DRAWN = f"{LPA}, the authors' posters"


class LogConverter(Circuit):
    """A table of 2^q entries."""

    name: ClassVar[str] = "log-linear-converter"
    summary: ClassVar[str] = "fraction of a logarithm to fraction of a linear number (LPA's)"
    source: ClassVar[str] = f"{DRAWN}; the rounding of its entries is ours"
    clocked: ClassVar[bool] = False
    configurations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "3 bits": {},
        "5 bits": {"fraction_bits": 5},
    }
    small: ClassVar[tuple[Mapping[str, Any], ...]] = ({"fraction_bits": 4}, {"fraction_bits": 8})

    fraction_bits: int = pydantic.Field(
        3, ge=1, le=8, description="width of a fraction, before as after", json_schema_extra=about(OURS, unit="bits")
    )

    def ports(self) -> Ports:
        """A fraction each."""
        log = Port(name="log", bits=self.fraction_bits, what="fraction of log2")
        linear = Port(name="linear", bits=self.fraction_bits, what="fraction of the number, whose integer part is 1")
        return Ports(inputs=(log,), outputs=(linear,))

    def model(self, inputs: Values) -> dict[str, Integers]:
        """T[log]."""
        return {"linear": np.array(converter_table(self.fraction_bits))[inputs["log"]]}

    def build(self, m: Any, io: Any) -> None:
        """A table that synthesis makes gates of."""
        m.d.comb += io.linear.eq(looked_up(converter_table(self.fraction_bits), self.fraction_bits, io.log))


def looked_up(table: list[int], bits: int, index: Any) -> Any:
    """Entry `index` of a table of numbers of so many bits, in Amaranth."""
    from amaranth.hdl import Array, Const

    return Array(Const(entry, bits) for entry in table)[index]
