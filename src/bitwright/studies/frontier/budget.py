"""A budget of accuracy as users write it: `1%`, the largest relative loss from the float network that they accept."""

import math

from bitwright.errors import InputError


def parse_budget(text: str) -> float:
    """The share of 1 that a percentage stands for.

    Raises
    ------
    InputError
        What is not a number with a percent sign, more than 0 and less than 100.

    Examples
    --------
    >>> parse_budget("1.5%")
    0.015
    """
    number, percent, rest = text.strip().partition("%")
    try:
        value = float(number) if percent and not rest else math.nan
    except ValueError:
        value = math.nan
    if not 0 < value < 100:
        raise InputError(
            f"the budget {text!r} is not understood; write a percentage of more than 0 and less than 100, such as 1%"
        )
    return value / 100


def check_budget(share: float) -> float:
    """A budget that was given as a share of 1; raises `InputError` unless it is more than 0 and less than 1."""
    if not 0 < share < 1:
        raise InputError(
            f"the budget is {share}; as a number it is a share of more than 0 and less than 1: 0.01 for 1%"
        )
    return share
