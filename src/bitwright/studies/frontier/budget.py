"""A budget as users write it: `1%`, the largest relative loss that they accept, or `20dB`, the least SQNR."""

import math

from bitwright.errors import InputError
from bitwright.tasks.budget import RATIO, Budget


def parse_budget(text: str) -> Budget:
    """What a budget in words asks for.

    Raises
    ------
    InputError
        What is neither a percentage of more than 0 and less than 100 nor decibels of more than 0.

    Examples
    --------
    >>> parse_budget("1.5%").words, parse_budget("20dB").words
    ('a loss of at most 1.5 %', 'an SQNR of at least 20 dB')
    """
    given = text.strip()
    if given.endswith("dB") and not given[:-2].endswith(" "):
        value = _number(given[:-2])
        if 0 < value < math.inf:
            return Budget(limit=value, constraint=RATIO)
    elif given.endswith("%"):
        value = _number(given[:-1])
        if 0 < value < 100:
            return Budget(limit=value / 100)
    raise InputError(
        f"the budget {text!r} is not understood; write a percentage of more than 0 and less than 100, such as 1%, for "
        "the largest relative loss, or decibels of more than 0, such as 20dB, for the least SQNR"
    )


def parse_share(text: str) -> float:
    """The share of 1 that a percentage stands for, where nothing else can be constrained.

    Raises
    ------
    InputError
        What is not a percentage of more than 0 and less than 100.

    Examples
    --------
    >>> parse_share("1.5%")
    0.015
    """
    given = text.strip()
    value = _number(given[:-1]) if given.endswith("%") else math.nan
    if not 0 < value < 100:
        raise InputError(
            f"the budget {text!r} is not understood; write a percentage of more than 0 and less than 100, such as 1%"
        )
    return value / 100


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def check_budget(budget: float | str) -> Budget:
    """A budget as Python takes it: in words, or a relative loss as a share of 1.

    Raises
    ------
    InputError
        Words that `parse_budget` refuses, and a number that is not more than 0 and less than 1.
    """
    if isinstance(budget, str):
        return parse_budget(budget)
    if not 0 < budget < 1:
        raise InputError(
            f"the budget is {budget}; as a number it is a share of more than 0 and less than 1: 0.01 for 1%, and in "
            "words it is 1% or 20dB"
        )
    return Budget(limit=budget)
