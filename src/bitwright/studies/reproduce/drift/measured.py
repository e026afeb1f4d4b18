"""What is measured of one network, before anything is claimed of it."""

import dataclasses

from bitwright.studies.reproduce.drift.distortion import Bin
from bitwright.studies.reproduce.drift.ladder import Ladder
from bitwright.studies.reproduce.drift.runs import Stated


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """One network.

    Attributes
    ----------
    network : str
        Its name.
    input : str
        Of the network as shapes.
    has_weights : bool
        Whether it has a ladder, or was asked to.
    stated : Stated or None
        On all machines at stated shares.
    ladder : Ladder or None
        Of a network with weights.
    costed_on : str
        What machines ran in the ladder.
    distortions : tuple of Bin
        Of a network with weights.
    notes : tuple of str
        What every report on it must say.
    reason : str
        What went wrong; empty otherwise.
    """

    network: str
    input: str = ""
    has_weights: bool = False
    stated: Stated | None = None
    ladder: Ladder | None = None
    costed_on: str = ""
    distortions: tuple[Bin, ...] = ()
    notes: tuple[str, ...] = ()
    reason: str = ""

    @property
    def failed(self) -> bool:
        """Whether anything is missing that should be there."""
        return bool(self.reason) or (self.ladder is not None and any(rung.reason for rung in self.ladder.rungs))
