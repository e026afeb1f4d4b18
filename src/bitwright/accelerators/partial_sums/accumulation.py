"""What an accumulation rule means for the machine: how wide a stored partial sum is, and how many of an output live.

A product is added up in np tiles of Pci. All but the last leave something behind that is read again later, so np - 1
are stored: the exact sum (`exact`, no more than one lives), APSQ's running sums and lone tiles (`apsq`, up to a group
of them lives), every tile alone (`psq`, all of them live until the end), or a running sum whose exponent is chosen at
run time and shared by a block of outputs (`block`; eight bits of exponent per block, as in the MX formats).
"""

import dataclasses
from fractions import Fraction
from typing import Literal

from bitwright.methods.apsq.rule import Kind, PartialSums
from bitwright.methods.rules import Exact, Rule

BANKS = 4
"""Partial-sum banks of the RAE (authors' architecture figure), hence the largest group."""
EXPONENT_BITS = 8
Phase = Literal["head", "tail"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stored:
    """How partial sums are stored.

    Attributes
    ----------
    rule : str
        Name of the accumulation rule.
    bits : Fraction
        Of one stored partial sum, its part of a shared exponent included.
    group_size : int or None
        Tiles between two additions of everything stored; None: they are added once, at the end.
    phase : str
        Where the first of these additions falls: on the first tile (`head`) or on the group's last (`tail`).
    """

    rule: str
    bits: Fraction
    group_size: int | None = 1
    phase: Phase = "head"

    @property
    def quantized(self) -> bool:
        """Whether sums are shifted and rounded before they are stored."""
        return self.rule != Exact.name

    @property
    def exponent_is_dynamic(self) -> bool:
        """Whether the largest sum of a block must be found first."""
        return self.rule == Kind.BLOCK

    def live_tiles(self, psum_tiles: int) -> int:
        """Most tiles of one output that are stored at once, of a product of so many tiles.

        Examples
        --------
        >>> Stored(rule="apsq", bits=Fraction(8), group_size=3).live_tiles(96)
        3
        """
        stored = psum_tiles - 1
        if self.group_size is None:
            return stored
        if self.phase == "head":
            return min(stored, self.group_size)
        first_group = min(stored, self.group_size - 1)  # before the first running sum, which takes the place of one
        return max(first_group, min(stored + 1 - self.group_size, self.group_size))


def stored_by(rule: Rule, psum_bits: int) -> Stored:
    """How a rule that `refusal` lets pass stores partial sums; exact ones have `psum_bits`."""
    if not isinstance(rule, PartialSums):
        return Stored(rule=rule.name, bits=Fraction(psum_bits))
    bits = Fraction(rule.bits)
    if rule.kind is Kind.BLOCK:
        return Stored(rule=rule.name, bits=bits + Fraction(EXPONENT_BITS, rule.block))
    if rule.kind is Kind.PSQ:
        return Stored(rule=rule.name, bits=bits, group_size=None)
    return Stored(rule=rule.name, bits=bits, group_size=rule.group_size, phase=rule.phase.value)


def refusal(rule: Rule, *, pci: int) -> str | None:
    """None if an array of processing elements of `pci` products runs a rule, else why not and what would help."""
    if isinstance(rule, Exact):
        return None
    if not isinstance(rule, PartialSums):
        return (
            f"its accumulation rule is {rule.name} and the array knows {', '.join((Exact.name, *Kind))}; "
            "leave that rule out of the method, or choose an accelerator made for it"
        )
    if rule.tile != pci:
        return (
            f"its partial sums are quantized after every {rule.tile} products and a processing element adds {pci}; "
            f"--set apsq.pci={rule.tile} builds such an array, or calibrate again with --option psum_tile={pci}"
        )
    if rule.group_size > BANKS and rule.kind is Kind.APSQ:
        return (
            f"{rule.group_size} partial sums of an output are added at once and the RAE has {BANKS} banks; "
            f"calibrate again with --option group_size={BANKS} or less"
        )
    return None
