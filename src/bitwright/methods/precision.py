"""What methods of two precisions share: where they apply, stated shares, multiplier time, the search of a limit."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from bitwright.errors import InputError
from bitwright.methods.classes import NARROW_BITS, WIDE_BITS
from bitwright.methods.execution import Execution
from bitwright.methods.plan import Plan
from bitwright.methods.rules import SubTensors
from bitwright.networks.network import Network
from bitwright.networks.sites import Site

NOTHING_NARROW = "no site may become narrow"


def narrowable(sites: Mapping[str, Site], plan: Plan, *, ends: bool) -> list[str]:
    """The sites that may become narrow: quantized ones but depthwise convolutions and, by default, the ends.

    `ends`: the first and the last layer with a weight too. A depthwise reduction is as long as its kernel and has one
    column, which leaves an array nothing to pack.

    Raises
    ------
    InputError
        Operands that are no integers of at most 8 bits.
    """
    layers = [site.name for site in sites.values() if site.static_weight]
    kept = set() if ends or not layers else {layers[0], layers[-1]}
    found = []
    for name, site in sites.items():
        made = plan.site(name)
        if not made.quantized or name in kept or _depthwise(site):
            continue
        for operand in (made.x, made.w):
            if operand is not None and operand.integer.bits > WIDE_BITS:
                raise InputError(
                    f"{name}: codes of {operand.format.name} cannot drop to {NARROW_BITS} bits; "
                    f"use operands of at most {WIDE_BITS} bits"
                )
        found.append(name)
    return found


def _depthwise(site: Site) -> bool:
    return site.conv is not None and site.groups > 1 and site.groups == site.conv.channels


def stated(network: Network, plan: Plan, rules: Mapping[str, SubTensors], shares: Sequence[str]) -> Plan:
    """`plan` with rules that state `shares`, for a network without numbers.

    Raises
    ------
    InputError
        Where a share is not given.
    """
    asked = {name: [share for rule in rules.values() for share in _share(rule, name)] for name in shares}
    missing = [name for name, found in asked.items() if len(found) < len(rules)]
    if missing:
        raise InputError(
            f"{network.name} has shapes but no numbers, so nothing decides what becomes narrow; "
            f"state shares, such as {' '.join(f'--option {name}=0.8' for name in missing)}"
        )
    made = dict(plan.sites)
    for name, rule in rules.items():
        made[name] = dataclasses.replace(made[name], precision=rule)
    given = {name: sorted(set(found)) for name, found in asked.items()}
    said = "; ".join(f"{name} {', '.join(f'{each:g}' for each in found)}" for name, found in given.items())
    note = f"narrow shares are assumed, not measured: {said}" if rules else f"{plan.method}: {NOTHING_NARROW}"
    return dataclasses.replace(plan, sites=made, notes=(*plan.notes, note))


def _share(rule: SubTensors, name: str) -> list[float]:
    """What a rule states, if it does."""
    share = rule.x_share if name == "x_share" else rule.w_share
    return [] if share is None else [share]


@dataclasses.dataclass
class MultiplierTime:
    """A listener that counts 4-bit products: those spent, and those of everything wide."""

    spent: int = 0
    wide: int = 0

    def __call__(self, work: Execution) -> None:
        """Count one execution of a site."""
        for (x_bits, w_bits), macs in work.classes.macs.items():
            self.spent += work.runs * macs * (x_bits // NARROW_BITS) * (w_bits // NARROW_BITS)
            self.wide += work.runs * macs * (WIDE_BITS // NARROW_BITS) ** 2


def smallest(fits: Callable[[int], bool], low: int, high: int) -> int | None:
    """The smallest of `low` .. `high` that fits, if whatever is larger than a fit fits too; None if none does.

    Examples
    --------
    >>> smallest(lambda n: n >= 3, 0, 10), smallest(lambda n: False, 0, 10)
    (3, None)
    """
    fails, found = low - 1, high + 1
    while found - fails > 1:
        middle = (fails + found) // 2
        if fits(middle):
            found = middle
        else:
            fails = middle
    return found if found <= high else None


def said_loss(loss: float, budget: float, time: float) -> str:
    """What a search found, for reports: `loss` and `budget` relative, `time` by that of the wide network."""
    return (
        f"expected accuracy falls by at most {100 * max(loss, 0.0):.2g} % of the static plan's, as the calibration "
        f"samples say with 95 % confidence (budget {100 * budget:g} %), for {100 * time:.3g} % of its multiplier time"
    )
