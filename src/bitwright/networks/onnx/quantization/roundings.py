"""How QONNX's quantizers round, by the names that it has for it (the qonnx package, `resolve_rounding_mode`)."""

from collections.abc import Callable

import torch

from bitwright.formats import Rounding, round_to_integer
from bitwright.networks.onnx.node import Node

HALF_EVEN = "HALF_EVEN"
BIPOLAR = "BIPOLAR"
"""-1 of what is below 0, else 1."""
SAME = {"ROUND": HALF_EVEN}
"""What another name means."""


def _by(rule: Rounding) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: round_to_integer(x, rule)


ROUNDINGS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    HALF_EVEN: torch.round,
    "CEIL": torch.ceil,
    "FLOOR": torch.floor,
    "UP": lambda x: torch.copysign(x.abs().ceil(), x),
    "DOWN": torch.trunc,
    "HALF_UP": _by(Rounding.HALF_AWAY),
    "HALF_DOWN": lambda x: torch.copysign((x.abs() - 0.5).ceil(), x),
    BIPOLAR: lambda x: torch.where(x < 0, -1.0, 1.0),
}
"""UP and HALF_UP are away from 0, DOWN and HALF_DOWN towards it."""


def rounding_of(node: Node) -> str:
    """How a Quant rounds.

    Raises
    ------
    InputError
        By a name that is not known.
    """
    given = node.text("rounding_mode", "ROUND").upper()
    name = SAME.get(given, given)
    if name not in ROUNDINGS or name == BIPOLAR:
        known = ", ".join((*SAME, *(each for each in ROUNDINGS if each != BIPOLAR)))
        raise node.refusal(f"rounds by {given}, which is not known; {known} are")
    return name
