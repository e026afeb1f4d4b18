"""What is measured of one network, before anything is claimed of it."""

import dataclasses

from bitwright.studies.reproduce.lp.errors import WeightError
from bitwright.studies.reproduce.lp.runs import Line


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """One network.

    Attributes
    ----------
    network : str
        Its name.
    input : str
        The sizes of its input.
    attention : float
        Share of its products that have no weights, 0 .. 1.
    lines : tuple of Line
        By arrays and mix.
    errors : tuple of WeightError
        Of its weights, where it has numbers.
    notes : tuple of str
        What every report on it must say.
    reason : str
        What went wrong; empty otherwise.
    """

    network: str
    input: str = ""
    attention: float = 0.0
    lines: tuple[Line, ...] = ()
    errors: tuple[WeightError, ...] = ()
    notes: tuple[str, ...] = ()
    reason: str = ""

    @property
    def failed(self) -> bool:
        """Whether anything is missing that should be there."""
        return bool(self.reason)

    @property
    def arrays(self) -> tuple[str, ...]:
        """The sets of arrays it was measured on."""
        return tuple(dict.fromkeys(line.arrays for line in self.lines))

    def line(self, arrays: str, mix: str) -> Line:
        """The one of these."""
        return next(line for line in self.lines if (line.arrays, line.mix) == (arrays, mix))
