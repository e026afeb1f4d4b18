"""Families: the operating points that a system is offered at, as data.

A family is a system: its machines, and the methods with options (widths, group sizes, splits on or off) among which an
engineer would choose for it. Which points they are is our choice; whatever a method or machine refuses stands in the
table with its reason. Searched formats (`bitwright search`) and trained plans take hours and are not among them:
a saved one joins with `--plan`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

Choice = tuple[str, Mapping[str, Any]]
"""A method and its options."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
    """A system and its operating points.

    Attributes
    ----------
    about : str
        What it is, in a phrase.
    machines : tuple of str
        Accelerators on which every point is costed.
    choices : tuple of (str, mapping)
        Methods with their options; `{on}` in a method's name stands for what `ON` says of a kind of networks.
    budgets : tuple of float
        Multiples of the user's budget to which every choice is searched; empty: no choice has a budget.
    """

    about: str
    machines: tuple[str, ...]
    choices: tuple[Choice, ...]
    budgets: tuple[float, ...] = ()

    def offered(self, budget: float, kind: str) -> tuple[Choice, ...]:
        """The choices for a user's budget and a kind of networks.

        Examples
        --------
        >>> FAMILIES["drift"].offered(0.03, "language")
        (('int8-token+drift', {'budget': 0.015}), ('int8-token+drift', {'budget': 0.06}))
        """
        choices = (*self.choices[:1], *self.choices[1:][-1:]) if kind in LARGE else self.choices
        named = [(method.format(on=ON.get(kind, "")), options) for method, options in choices]
        if not self.budgets:
            return tuple(named)
        shares = [min(share * budget, LARGEST_BUDGET) for share in self.budgets]
        return tuple((method, {**options, "budget": share}) for method, options in named for share in shares)


def methods_of(family: Family) -> list[str]:
    """Its methods by name, for networks that are no language models.

    Examples
    --------
    >>> methods_of(FAMILIES["panacea"]), methods_of(FAMILIES["drift"])
    (['aqs', 'aqs-w4'], ['drift'])
    """
    return list(dict.fromkeys(method.format(on="") for method, _ in family.choices))


def method_meant(name: str) -> str:
    """What to write instead of a system's name where a method is asked for; empty if it names no system.

    Examples
    --------
    >>> method_meant("panacea")
    "panacea is a system; its methods are aqs, aqs-w4 and its machines panacea (see 'bitwright systems')"
    >>> method_meant("aqs")
    ''
    """
    family = FAMILIES.get(name)
    if family is None:
        return ""
    methods, machines = ", ".join(methods_of(family)), ", ".join(family.machines)
    return f"{name} is a system; its methods are {methods} and its machines {machines} (see 'bitwright systems')"


ON: Mapping[str, str] = {"language": "int8-token+"}
"""What precision that is chosen at run time stands on, where that is not int8: static scales lose language models more
than most budgets (SmolLM2 calibrated on 8 windows, 1,024 tokens: perplexity rises by 13 %, with scales per token by
3 %)."""
LARGE = frozenset({"language"})
"""Kinds of networks that take a minute or more per choice: they get the first and the last one of a family only."""
LARGEST_BUDGET = 0.9
BASELINE = "int8"
"""The family that all others are measured by: the best static INT8 machine."""

APSQ_ARRAYS = ("apsq", "apsq-is", "apsq-os")

FAMILIES: Mapping[str, Family] = {
    BASELINE: Family(
        about="static INT8 with exact sums, on dense arrays and on APSQ's",
        machines=("systolic-ws", "systolic-os", "simd", "bitfusion", *APSQ_ARRAYS),
        choices=(("int8", {}), ("int8-sym", {})),
    ),
    "int8-token": Family(
        about="INT8 with activations scaled per token at run time, on dense arrays; finding the scales is not priced",
        machines=("systolic-ws", "systolic-os", "simd", "bitfusion"),
        choices=(("int8-token", {}),),
    ),
    "bitfusion": Family(
        about="BitFusion with narrower integers at all sites",
        machines=("bitfusion",),
        choices=(("w4a8", {}), ("int", {"w_bits": 4, "w_calibrator": "mse"})),
    ),
    "mixed": Family(
        about="BitFusion with 4 bits at the sites that bear it, searched to the budget",
        machines=("bitfusion",),
        choices=(("mixed", {}),),
        budgets=(1,),
    ),
    "panacea": Family(
        about="Panacea with AQS-GEMM, DBS on or off, 7- or 4-bit weights",
        machines=("panacea",),
        choices=(
            ("aqs", {"dbs": False}),
            ("aqs", {"dbs": True}),
            ("aqs-w4", {"dbs": False}),
            ("aqs-w4", {"dbs": True}),
        ),
    ),
    "sibia": Family(
        about="Sibia with signed bit slices",
        machines=("sibia",),
        choices=(("sibia", {}), ("sibia", {"x_bits": 10}), ("sibia", {"x_bits": 10, "w_bits": 4})),
    ),
    "apsq": Family(
        about="INT8 with partial sums quantized inside the accumulation (APSQ) in groups of 1 to 4",
        machines=APSQ_ARRAYS,
        choices=tuple((f"int8+apsq-gs{size}", {}) for size in (1, 2, 3, 4)),
    ),
    "lp": Family(
        about="LPA with log posits of one width",
        machines=("lpa",),
        choices=tuple(("lpq", {"w_bits": bits}) for bits in (4, 5, 6, 8)),
    ),
    "ant": Family(
        about="ANT's adaptive types", machines=("ant",), choices=(("ant", {}), ("ant-w4a8", {}), ("ant8", {}))
    ),
    "adaptivfloat": Family(
        about="AdaptivFloat", machines=("adaptivfloat",), choices=(("af5", {}), ("af6", {}), ("af8", {}))
    ),
    "drift": Family(
        about="Drift's array with run-time precision searched to half and twice the budget, since what samples promise "
        "may be missed; seq is its rival without cuts",
        machines=("drift", "seq"),
        choices=(("{on}drift", {}),),
        budgets=(0.5, 2),
    ),
    "drq": Family(
        about="DRQ's array with regions searched to the budget",
        machines=("drq",),
        choices=(("{on}drq", {}),),
        budgets=(1,),
    ),
    "combined": Family(
        about="operands of one system with the partial sums of another",
        machines=APSQ_ARRAYS,
        choices=(("aqs+apsq", {}), ("lpq+apsq", {})),
    ),
}
