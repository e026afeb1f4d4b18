"""Which elements of an operand share one scale (and zero point).

Value types that compare, hash and serialise; the operands of a GEMM are seen as
x: [groups, M, K] and w: [groups, K, N], so that "channel" and "token" have one meaning for every operation.
"""

import dataclasses
import re
from typing import Annotated

from pydantic import StringConstraints

from bitwright.settings import Form, shown

COUNT = re.compile(r"[1-9][0-9]{0,8}")
"""How many elements or rows: more than 10^9 are no sizes of anything."""


@dataclasses.dataclass(frozen=True)
class PerTensor:
    """One scale for the whole operand.

    Examples
    --------
    >>> str(PerTensor())
    'tensor'
    """

    def __str__(self) -> str:
        return "tensor"


@dataclasses.dataclass(frozen=True)
class PerChannel:
    """One scale per output channel of a weight (a column of w).

    For a product of two activations (attention) it is one scale per independent GEMM, that is per head.
    """

    def __str__(self) -> str:
        return "channel"


@dataclasses.dataclass(frozen=True)
class PerToken:
    """One scale per row of x, taken from the row itself at run time."""

    def __str__(self) -> str:
        return "token"


@dataclasses.dataclass(frozen=True)
class PerTokenRange:
    """One scale and one zero point per row of x, from the row's least and largest element at run time."""

    def __str__(self) -> str:
        return "token-range"


@dataclasses.dataclass(frozen=True)
class PerGroup:
    """One scale per row of x, or column of w, and `size` consecutive elements along the reduction axis."""

    size: int

    def __str__(self) -> str:
        return f"group:{self.size}"


@dataclasses.dataclass(frozen=True)
class PerPosition:
    """Two static scales: of the first `first` rows of every sequence of x, and of all others.

    The first tokens of a sequence carry activations a thousand times larger than others' in many language models
    ("massive activations", Sun et al., COLM 2024). A sequence of one row is a decoding step, whose token is no first.
    """

    first: int

    def __str__(self) -> str:
        return f"first:{self.first}"


Granularity = PerTensor | PerChannel | PerToken | PerTokenRange | PerGroup | PerPosition


GroupName = Annotated[str, StringConstraints(pattern=rf"^group:{COUNT.pattern}$"), Form("group:SIZE")]
"""How a `PerGroup` is written."""


def parse_granularity(text: str) -> Granularity:
    """The granularity written `tensor`, `channel`, `token`, `token-range`, `group:SIZE` or `first:ROWS`.

    Raises
    ------
    ValueError
        If `text` is none of these.
    """
    match text.split(":"):
        case ["tensor"]:
            return PerTensor()
        case ["channel"]:
            return PerChannel()
        case ["token"]:
            return PerToken()
        case ["token-range"]:
            return PerTokenRange()
        case ["group", size] if COUNT.fullmatch(size):
            return PerGroup(int(size))
        case ["first", rows] if COUNT.fullmatch(rows):
            return PerPosition(int(rows))
    raise ValueError(
        f"unknown granularity {shown(text)}; expected tensor, channel, token, token-range, group:SIZE or first:ROWS"
    )
