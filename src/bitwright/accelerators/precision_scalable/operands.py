"""Which number types a packed array multiplies, by the names that plans give them (int8, lp4, flint4)."""

import dataclasses
import re
from collections.abc import Mapping

from bitwright.accelerators.systolic.operands import rule_refusal
from bitwright.methods.plan import SitePlan
from bitwright.methods.rules import Rule, Static


@dataclasses.dataclass(frozen=True, kw_only=True)
class Types:
    """What an array takes.

    Attributes
    ----------
    kinds : mapping
        By kind of number (`int`, `uint`, `lp`), the most bits of it.
    said : str
        The same in words.
    lever : str
        What makes such operands.
    """

    kinds: Mapping[str, int]
    said: str
    lever: str

    def __contains__(self, number_type: str) -> bool:
        found = re.fullmatch(r"([a-z]+)(\d+)", number_type)
        return found is not None and 2 <= int(found[2]) <= self.kinds.get(found[1], 0)


def refusal(plan: SitePlan, types: Types, precision: tuple[type[Rule], ...] = (Static,)) -> str | None:
    """None if an array of these types and precision rules can run the plan, otherwise why not, and what would help."""
    reason = rule_refusal(plan, "the array", precision)
    if reason is not None:
        return reason
    for operand, number_type in (("x", plan.x_type), ("w", plan.w_type)):
        if number_type not in types:
            return f"{operand} is {number_type} and the array multiplies {types.said}; {types.lever}"
    return None
