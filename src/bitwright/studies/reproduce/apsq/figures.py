"""What the published figures are about: energies with wide and narrow partial sums, in any unit."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figures:
    """One network, one dataflow.

    Attributes
    ----------
    wide, narrow : float
        Energy with partial sums of 32 and of 8 bits.
    psums : float
        Of `wide`, moving partial sums.
    """

    wide: float
    narrow: float
    psums: float

    @property
    def saving(self) -> float:
        """Energy that narrow partial sums save, in percent.

        Examples
        --------
        >>> Figures(wide=8.0, narrow=2.0, psums=7.2).saving
        75.0
        """
        return 100 * (1 - self.narrow / self.wide)

    @property
    def ratio(self) -> float:
        """Wide by narrow."""
        return self.wide / self.narrow

    @property
    def share(self) -> float:
        """Moving wide partial sums, of all energy, in percent."""
        return 100 * self.psums / self.wide
