"""What the headline figures need, in closed form: our own computation, nothing of the paper's.

Where shares a of the rows and b of the columns are narrow, products take (1 - a/2)(1 - b/2) of the multiplier time of
8 by 8 bits: the fluid bound, with every multiplier busy in every cycle.
"""

import dataclasses
import math
from collections.abc import Mapping

TIMED = ("mac", "leakage")
"""Components of energy that shrink with multiplier time at best."""
MOVED = ("dram", "sram_input", "sram_weight")
"""Those that shrink with the bits of operands at best."""
STEPS = 60


def fluid_speedup(x_share: float, w_share: float) -> float:
    """Speed-up over 8 by 8 bits with every multiplier busy.

    Examples
    --------
    >>> round(fluid_speedup(0.8, 0.8), 2), fluid_speedup(1, 1), fluid_speedup(0, 0)
    (2.78, 4.0, 1.0)
    """
    return 1 / ((1 - x_share / 2) * (1 - w_share / 2))


def equal_share(speedup: float) -> float:
    """The share of each operand that such a speed-up needs, if both have the same; more than 1 is out of reach.

    Examples
    --------
    >>> round(equal_share(2.85), 3), round(equal_share(3.12), 3), equal_share(4)
    (0.815, 0.868, 1.0)
    """
    return 2 * (1 - 1 / math.sqrt(speedup))


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnergyParts:
    """Energy of the static network in parts that shrink differently, in pJ.

    Attributes
    ----------
    timed, moved, kept : float
        What shrinks with multiplier time, with bits of operands, and not at all.
    """

    timed: float
    moved: float
    kept: float

    @classmethod
    def of(cls, parts_pj: Mapping[str, float]) -> "EnergyParts":
        """From energies by component."""
        timed, moved = (sum(parts_pj.get(name, 0.0) for name in names) for names in (TIMED, MOVED))
        return cls(timed=timed, moved=moved, kept=sum(parts_pj.values()) - timed - moved)

    @property
    def total(self) -> float:
        """All parts."""
        return self.timed + self.moved + self.kept

    def best_saving(self, share: float) -> float:
        """The largest saving with that share of both operands narrow.

        Examples
        --------
        >>> EnergyParts(timed=4.0, moved=2.0, kept=0.0).best_saving(1)
        3.0
        """
        left = 1 - share / 2
        return self.total / (self.timed * left**2 + self.moved * left + self.kept)

    def share_for(self, saving: float) -> float | None:
        """The smallest share of both operands that allows a saving; None if none does.

        Examples
        --------
        >>> round(EnergyParts(timed=1.0, moved=0.0, kept=0.0).share_for(3.12), 3)
        0.868
        >>> EnergyParts(timed=1.0, moved=1.0, kept=0.0).share_for(3.12) is None
        True
        """
        if self.best_saving(1) < saving:
            return None
        low, high = 0.0, 1.0
        for _ in range(STEPS):
            middle = (low + high) / 2
            low, high = (low, middle) if self.best_saving(middle) >= saving else (middle, high)
        return high
