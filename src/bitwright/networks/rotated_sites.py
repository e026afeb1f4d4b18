"""Where and how a site's x is rotated, as plans keep it (`bitwright.networks.rotation` does it)."""

import dataclasses
import enum


class Where(enum.StrEnum):
    """Where a site's x is rotated.

    Examples
    --------
    >>> Where("run-time") is Where.RUN_TIME
    True
    """

    STREAM = "stream"
    """In the residual stream: offline."""
    HEADS = "heads"
    """Through the value projection of attention: offline."""
    RUN_TIME = "run-time"
    """As the network runs."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rotation:
    """How a site's x is rotated.

    Attributes
    ----------
    where : Where
        Offline or as the network runs.
    bits : int
        Of fixed-point numbers that a rotation at run time takes x as, whose sums are exact; 0: floating point.
    step : float
        What 1 of such a number is worth.
    block : int
        Channels that a Hadamard matrix rotates together; 0: the largest power of two that divides them, as plans had
        it that state none.
    signs : bool
        Whether a Hadamard matrix has signs of x flipped first (`bitwright.networks.hadamard`).

    Examples
    --------
    >>> Rotation(where=Where.HEADS).at_run_time
    False
    """

    where: Where
    bits: int = 0
    step: float = 0.0
    block: int = 0
    signs: bool = False

    @property
    def at_run_time(self) -> bool:
        """Whether a machine has to do it."""
        return self.where is Where.RUN_TIME
