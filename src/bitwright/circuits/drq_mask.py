"""DRQ's mask unit: a region's mean magnitude against a threshold, and narrow codes of what is not sensitive.

Source: DRQ (Song et al., ISCA 2020): a mean filter over regions of each channel's map, compared with a threshold, makes
a bit of mask for each region; insensitive elements drop low-order bits until 4 are left. As the method `drq` has it:
magnitudes of centred codes; rounding to nearest, ties to even, saturating. Ours: a region's codes come one a clock, and
come again when its mask is known; the mean is not divided: the sum is compared with the threshold times the count,
which is a constant of the site but at its edges.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pydantic

from bitwright.circuits.circuit import Circuit, Integers, Port, Ports, Values
from bitwright.circuits.drq_element import DIGIT
from bitwright.settings import OURS, about

CENTRED = 9
"""Bits of a code of 8 bits less its zero point."""
REGION = 16
"""Elements of a region where energy is measured: 4 by 4 pixels; ours."""


class DrqMask(Circuit):
    """A sum of magnitudes, a comparison and what rounds."""

    name: ClassVar[str] = "drq-mask"
    summary: ClassVar[str] = "mean magnitude of a region against a threshold, and its narrow codes (DRQ's mask unit)"
    source: ClassVar[str] = "DRQ (ISCA 2020) for the mean filter and its mask; how it is computed is ours"
    configurations: ClassVar[Mapping[str, Mapping[str, Any]]] = {"regions of up to 64 elements": {}}

    sum_bits: int = pydantic.Field(
        15,
        ge=10,
        le=24,
        description="width of a region's sum, which wraps: 15 bits hold 64 magnitudes of up to 511",
        json_schema_extra=about(OURS, unit="bits"),
    )

    def ports(self) -> Ports:
        """The mask is of what has been gathered until the clock before."""
        inputs = (
            Port(name="c", bits=CENTRED, signed=True, what="a code less its zero point"),
            Port(name="first", bits=1, what="a region begins with it"),
            Port(name="gather", bits=1, what="it is added up"),
            Port(name="least", bits=self.sum_bits, what="threshold by count, rounded up: less than this is narrow"),
            Port(name="low", bits=DIGIT, signed=True, what="least narrow code of the operand"),
            Port(name="high", bits=DIGIT, what="greatest narrow code of the operand"),
        )
        mask = Port(name="narrow", bits=1, what="the region is not sensitive")
        code = Port(name="code", bits=DIGIT + 1, signed=True, what="c as a narrow code")
        return Ports(inputs=inputs, outputs=(mask, code))

    def controls(self, clocks: int, streams: int) -> dict[str, Integers]:
        """Regions of `REGION` elements, gathered and then rounded."""
        at = np.broadcast_to(np.arange(clocks)[:, None] % (2 * REGION), (clocks, streams))
        return {
            "first": (at == 0).astype(np.int64),
            "gather": (at < REGION).astype(np.int64),
            "least": np.full_like(at, 32 * REGION),
            "low": np.full_like(at, -7),
            "high": np.full_like(at, 7),
        }

    def model(self, inputs: Values) -> dict[str, Integers]:
        """Masks of sums so far, and codes at once."""
        c = inputs["c"]
        total, mask = np.zeros_like(c[0]), np.zeros_like(c)
        for clock in range(len(c)):
            mask[clock] = total < inputs["least"][clock]
            added = np.where(inputs["first"][clock], 0, total) + np.abs(c[clock])
            total = np.where(inputs["gather"][clock], added & ((1 << self.sum_bits) - 1), total)
        rounded = np.rint(c / (1 << DIGIT)).astype(np.int64)
        return {"narrow": mask, "code": np.minimum(np.maximum(rounded, inputs["low"]), inputs["high"])}

    def build(self, m: Any, io: Any) -> None:
        """As `model`."""
        from amaranth.hdl import Mux, Signal, signed

        total, size = Signal(self.sum_bits, name="total"), Signal(CENTRED, name="size")
        m.d.comb += [size.eq(Mux(io.c[-1], -io.c, io.c)), io.narrow.eq(total < io.least)]
        with m.If(io.gather):
            m.d.sync += total.eq(Mux(io.first, 0, total) + size)

        floor = io.c[DIGIT:].as_signed()
        rounded = Signal(signed(CENTRED - DIGIT + 1), name="rounded")
        m.d.comb += rounded.eq(floor + (io.c[DIGIT - 1] & (io.c[: DIGIT - 1].any() | floor[0])))
        raised = Signal(signed(CENTRED - DIGIT + 1), name="raised")
        m.d.comb += raised.eq(Mux(rounded < io.low, io.low, rounded))
        m.d.comb += io.code.eq(Mux(raised > io.high, io.high, raised))
