"""Which operands a multiplier takes.

Our choice: integers run on integer multipliers at least as wide. An asymmetric unsigned code is held as
code - 2^(bits - 1), so that uint8 fits int8; what that and the zero point add to the product is merged into the bias.
Integers also run on float multipliers that hold them exactly (float16: 11 bits, float32: 24). Run-time precision
and quantized partial sums need circuits that a plain array does not have.
"""

import re
from typing import Literal

from bitwright.methods.plan import SitePlan
from bitwright.methods.rules import Exact, Rule, Static

Mac = Literal["int4", "int8", "int16", "float16", "float32"]
INTEGER_MAC_BITS = {"int4": 4, "int8": 8, "int16": 16}
EXACT_INTEGER_BITS = {"float16": 11, "float32": 24}
MAC_BITS = {"int4": 4, "int8": 8, "int16": 16, "float16": 16, "float32": 32}


def refusal(plan: SitePlan, mac: Mac) -> str | None:
    """None if an array of `mac` multipliers can run the plan, otherwise why not, and what would help."""
    reason = rule_refusal(plan, "a plain array")
    if reason is not None:
        return reason
    for operand, number_type in (("x", plan.x_type), ("w", plan.w_type)):
        if not fits(number_type, mac):
            return f"{operand} is {number_type} and the array multiplies {mac}; {_lever(number_type)}"
    return None


def rule_refusal(plan: SitePlan, array: str, precision: tuple[type[Rule], ...] = (Static,)) -> str | None:
    """None if a plan's precision rule is of these types and its sums are exact: `array` has no other circuits."""
    if not isinstance(plan.precision, precision):
        has = "one" if len(precision) == 1 else f"only these rules: {', '.join(str(rule.name) for rule in precision)}"
        return (
            f"its precision is chosen at run time ({plan.precision.name}) and {array} has {has}; "
            "leave that rule out of the method, or choose an accelerator made for it"
        )
    if not isinstance(plan.accumulation, Exact):
        return (
            f"its partial sums are quantized ({plan.accumulation.name}) and {array} adds them exactly; "
            "leave that rule out of the method, or choose an accelerator made for it"
        )
    return None


def fits(number_type: str, mac: Mac) -> bool:
    """Whether every value of a type ("uint8", "float32") is an exact operand of the multiplier."""
    kind = re.fullmatch(r"u?(int|float)(\d+)", number_type)
    if kind is None:
        return False
    bits = int(kind[2])
    if kind[1] == "int":
        return bits <= (INTEGER_MAC_BITS | EXACT_INTEGER_BITS)[mac]
    return mac in EXACT_INTEGER_BITS and bits <= MAC_BITS[mac]


def _lever(number_type: str) -> str:
    macs: tuple[Mac, ...] = ("int4", "int8", "int16", "float16", "float32")
    for mac in macs:
        if fits(number_type, mac):
            kind = "a float array" if mac in EXACT_INTEGER_BITS else f"an {mac} array"
            return f"--set mac={mac} builds {kind}"
    return "choose an accelerator made for that format, or integers (of formats in blocks, mxint8)"
