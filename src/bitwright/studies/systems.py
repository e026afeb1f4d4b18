"""Systems: which methods go with which machines, and the operating points that each system is offered at, as data.

A system is its machines, and the methods with options (widths, group sizes, splits on or off) among which an engineer
would choose for it. Which points they are is our choice; whatever a method or machine refuses stands in the
table with its reason. Searched formats (`bitwright search`) and trained plans take hours and are not among them:
a saved one joins with `--plan`.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bitwright.errors import InputError
from bitwright.methods.protocol import method_names

Choice = tuple[str, Mapping[str, Any]]
"""A method and its options."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class System:
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
    first : (str, tuple of str) or None
        The method and the machines that stand for it at a first look; None: it is not among the first.
    """

    about: str
    machines: tuple[str, ...]
    choices: tuple[Choice, ...]
    budgets: tuple[float, ...] = ()
    first: tuple[str, tuple[str, ...]] | None = None

    def offered(self, budget: float, kind: str) -> tuple[Choice, ...]:
        """The choices for a user's budget and a kind of networks.

        Examples
        --------
        >>> SYSTEMS["drift"].offered(0.03, "language")
        (('int8-token+drift', {'budget': 0.015}), ('int8-token+drift', {'budget': 0.06}))
        """
        choices = (*self.choices[:1], *self.choices[1:][-1:]) if kind in LARGE else self.choices
        named = [(method.format(on=ON.get(kind, "")), options) for method, options in choices]
        if not self.budgets:
            return tuple(named)
        shares = [min(share * budget, LARGEST_BUDGET) for share in self.budgets]
        return tuple((method, {**options, "budget": share}) for method, options in named for share in shares)


def methods_of(system: System) -> list[str]:
    """Its methods by name, for networks that are no language models.

    Examples
    --------
    >>> methods_of(SYSTEMS["panacea"]), methods_of(SYSTEMS["drift"])
    (['aqs', 'aqs-w4'], ['drift'])
    """
    return list(dict.fromkeys(method.format(on="") for method, _ in system.choices))


def machines_of(system: System, machines: Sequence[str], kinds: Mapping[str, str]) -> tuple[str, ...]:
    """Those of `machines` that are the system's; `kinds` says of machines from files which registered one they are.

    Examples
    --------
    >>> machines_of(SYSTEMS["drift"], ["lpa", "mine", "drift"], {"mine": "seq"})
    ('drift', 'mine')
    """
    by_kind = {kind: [name for name in machines if kinds.get(name, name) == kind] for kind in system.machines}
    return tuple(name for names in by_kind.values() for name in names)


def sensible_pairs(
    kind: str, machines: Sequence[str] | None = None, kinds: Mapping[str, str] | None = None
) -> dict[str, tuple[str, ...]]:
    """What is compared where nobody names methods: method -> machines, for a kind of networks.

    Without machines the four systems and static INT8, each on its own; else of every system that has one of `machines`
    (of those `kinds`) its first method, and int8 on machines that no system has.

    Examples
    --------
    >>> list(sensible_pairs("image"))
    ['int8', 'aqs', 'int8+apsq-gs4', 'lp6', 'drift']
    >>> sensible_pairs("language", ["simd", "seq"])
    {'int8': ('simd',), 'int8-token': ('simd',), 'w4a8': ('simd',), 'int8-token+drift': ('seq',)}
    """
    found: dict[str, tuple[str, ...]] = {}
    for system in SYSTEMS.values():
        method, own = system.first or (system.choices[0][0], ())
        if machines is not None:
            own = machines_of(system, machines, kinds or {})
        if own:
            found[method.format(on=ON.get(kind, ""))] = own
    alone = [machine for machine in machines or () if not any(machine in of for of in found.values())]
    return found | {"int8": (*found.get("int8", ()), *alone)} if alone else found


def system_of(method: str, machine: str, kinds: Mapping[str, str]) -> str:
    """The system that a pair belongs to, empty if to none; `kinds` as in `machines_of`.

    Examples
    --------
    >>> system_of("aqs", "panacea", {}), system_of("lp6", "mine", {"mine": "lpa"}), system_of("aqs", "lpa", {})
    ('panacea', 'lp', '')
    """
    kind = kinds.get(machine, machine)
    for name, system in SYSTEMS.items():
        own = {*methods_of(system), *([system.first[0]] if system.first else [])}
        if kind in system.machines and (method in own or method in {each.format(on="int8-token+") for each in own}):
            return name
    return ""


def refuse_systems(methods: Iterable[str]) -> None:
    """Raise `InputError`, with what is meant, for a system's name where a method is asked for."""
    known = method_names()
    for method in methods:
        said = "" if method in known else method_meant(method)
        if said:
            raise InputError(f"no method {method!r}: {said}")


def method_meant(name: str) -> str:
    """What to write instead of a system's name where a method is asked for; empty if it names no system.

    Examples
    --------
    >>> method_meant("panacea")
    "panacea is a system; its methods are aqs, aqs-w4 and its machines panacea (see 'bitwright systems')"
    >>> method_meant("aqs")
    ''
    """
    system = SYSTEMS.get(name)
    if system is None:
        return ""
    methods, machines = ", ".join(methods_of(system)), ", ".join(system.machines)
    return f"{name} is a system; its methods are {methods} and its machines {machines} (see 'bitwright systems')"


ON: Mapping[str, str] = {"language": "int8-token+"}
"""What precision that is chosen at run time stands on, where that is not int8: static scales lose language models more
than most budgets (SmolLM2 calibrated on 8 windows, 1,024 tokens: perplexity rises by 13 %, with scales per token by
3 %)."""
LARGE = frozenset({"language"})
"""Kinds of networks that take a minute or more per choice: they get the first and the last one of a system only."""
LARGEST_BUDGET = 0.9
STATIC = ("int8", "int4-weights")
"""The systems that all others are measured by: static integers, with weights of 8 or of 4 bits, on dense machines."""

APSQ_ARRAYS = ("apsq", "apsq-is", "apsq-os")

SYSTEMS: Mapping[str, System] = {
    "int8": System(
        about="static INT8 with exact sums, on dense arrays and on APSQ's",
        machines=("systolic-ws", "systolic-os", "simd", "bitfusion", *APSQ_ARRAYS),
        choices=(("int8", {}), ("int8-sym", {})),
        first=("int8", ("systolic-ws", "systolic-os")),
    ),
    "int8-token": System(
        about="INT8 with activations scaled per token at run time, on dense arrays; finding the scales is not priced",
        machines=("systolic-ws", "systolic-os", "simd", "bitfusion"),
        choices=(("int8-token", {}),),
    ),
    "int4-weights": System(
        about="static integers of 4-bit weights and 8-bit activations, on dense arrays; bitfusion is faster with them, "
        "the others store and move them as 4 bits",
        machines=("systolic-ws", "systolic-os", "simd", "bitfusion"),
        choices=(("w4a8", {}), ("int", {"w_bits": 4, "w_calibrator": "mse"})),
    ),
    "mixed": System(
        about="BitFusion with 4 bits at the sites that bear it, searched to the budget",
        machines=("bitfusion",),
        choices=(("mixed", {}),),
        budgets=(1,),
    ),
    "panacea": System(
        about="Panacea with AQS-GEMM, DBS on or off, 7- or 4-bit weights; rotated where accuracy gains by it, or "
        "never, for more slices that are skipped",
        machines=("panacea",),
        choices=(
            ("aqs", {"dbs": False}),
            ("aqs", {"dbs": True}),
            ("aqs", {"rotation": "none"}),
            ("aqs-w4", {"dbs": False}),
            ("aqs-w4", {"dbs": True}),
        ),
        first=("aqs", ("panacea",)),
    ),
    "sibia": System(
        about="Sibia with signed bit slices",
        machines=("sibia",),
        choices=(("sibia", {}), ("sibia", {"x_bits": 10}), ("sibia", {"x_bits": 10, "w_bits": 4})),
    ),
    "apsq": System(
        about="INT8 with partial sums quantized inside the accumulation (APSQ) in groups of 1 to 4",
        machines=APSQ_ARRAYS,
        choices=tuple((f"int8+apsq-gs{size}", {}) for size in (1, 2, 3, 4)),
        first=("int8+apsq-gs4", ("apsq",)),
    ),
    "lp": System(
        about="LPA with log posits of one width",
        machines=("lpa",),
        choices=tuple(("lpq", {"w_bits": bits}) for bits in (4, 5, 6, 8)),
        first=("lp6", ("lpa",)),
    ),
    "ant": System(
        about="ANT's adaptive types", machines=("ant",), choices=(("ant", {}), ("ant-w4a8", {}), ("ant8", {}))
    ),
    "adaptivfloat": System(
        about="AdaptivFloat", machines=("adaptivfloat",), choices=(("af5", {}), ("af6", {}), ("af8", {}))
    ),
    "drift": System(
        about="Drift's array with run-time precision searched to half and twice the budget, since what samples promise "
        "may be missed; seq is its rival without cuts",
        machines=("drift", "seq"),
        choices=(("{on}drift", {}),),
        budgets=(0.5, 2),
        first=("{on}drift", ("drift",)),
    ),
    "drq": System(
        about="DRQ's array with regions searched to the budget",
        machines=("drq",),
        choices=(("{on}drq", {}),),
        budgets=(1,),
    ),
    "combined": System(
        about="operands of one system with the partial sums of another",
        machines=APSQ_ARRAYS,
        choices=(("aqs+apsq", {}), ("lpq+apsq", {})),
    ),
}
