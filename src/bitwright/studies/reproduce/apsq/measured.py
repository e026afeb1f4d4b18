"""What is measured of one network, before anything is claimed of it."""

import dataclasses

from bitwright.studies.reproduce.apsq.fit import Weighed
from bitwright.studies.reproduce.apsq.runs import Line


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """One network.

    Attributes
    ----------
    network : str
        Its name.
    arrays : tuple of str
        Those that it is measured on; claims are about the first.
    input : str
        The sizes of its input.
    layers : str
        What is counted, and what of it the reconstruction leaves out.
    lines : tuple of Line
        By array, dataflow and variant.
    weighed : tuple of Weighed
        The lines of the first array, weighed as the published-style fit does.
    notes : tuple of str
        What every report on it must say.
    reason : str
        What went wrong; empty otherwise.
    """

    network: str
    arrays: tuple[str, ...]
    input: str = ""
    layers: str = ""
    lines: tuple[Line, ...] = ()
    weighed: tuple[Weighed, ...] = ()
    notes: tuple[str, ...] = ()
    reason: str = ""

    @property
    def failed(self) -> bool:
        """Whether anything is missing that should be there."""
        return bool(self.reason)

    @property
    def own_lines(self) -> tuple[Line, ...]:
        """Those of the first array."""
        return tuple(line for line in self.lines if line.array == self.arrays[0])
