"""What every accelerator must hold: `check_accelerator`.

Each check states a promise of `bitwright.accelerators.protocol.Accelerator`; a broken one is an AssertionError that
says which. Costs are checked on shapes of our choice and on the very codes of the toy networks in formats that the
machine multiplies.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from bitwright.accelerators.cost import Cost
from bitwright.accelerators.protocol import Accelerator
from bitwright.errors import InputError
from bitwright.formats import AdaptivFloat, Flint, Format, Integer, LogPosit, PerTensor, PowerOfTwo
from bitwright.methods.execution import Execution
from bitwright.methods.executor import Executor
from bitwright.methods.plan import FLOAT_SITE, OperandPlan, SitePlan
from bitwright.methods.protocol import compose
from bitwright.methods.rules import Static
from bitwright.networks.sites import Site
from bitwright.testing.networks import toy_networks
from bitwright.testing.requirement import require

WIDTHS = (2, 4, 7, 8, 16)
TABLED = {
    "lp": (LogPosit(n=8, es=2, rs=3), LogPosit(n=4, es=1, rs=2), LogPosit(n=3, es=0, rs=2), LogPosit(n=2, es=0, rs=1)),
    "af": (AdaptivFloat(bits=8), AdaptivFloat(bits=4, exponent_bits=2)),
    "ant": (Flint(bits=4), Flint(bits=4, signed=False), PowerOfTwo(bits=4), Integer(bits=8)),
}
"""By family of formats, those of which any two are multiplied."""
INTEGER_RECIPES = ("int8", "int8-sym", "aqs", "sibia")
TABLED_RECIPES = {"lp4": "lp", "af8": "af", "ant": "ant"}
"""Methods of other formats, and the family of which a machine must multiply the first to be asked about them."""
PRECISION_RECIPES = {"drift": {"delta": 0.5}, "drq": {"threshold": 8.0}}
"""Methods that choose precision at run time, for machines that know their rules."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Unknown:
    """A rule that nobody knows."""

    name: ClassVar[str] = "unknown"


UNKNOWN = _Unknown()
SHAPES = ((1, 1, 1, 1), (1, 7, 5, 3), (1, 64, 48, 40), (6, 9, 33, 17))  # groups, m, k, n
ROUNDING = 1e-9  # relative, of float64 sums in another order


def check_accelerator(accelerator: type[Accelerator] | Accelerator) -> None:
    """Raise AssertionError unless an accelerator, a class or an instance, keeps its promises.

    Examples
    --------
    >>> from bitwright.accelerators.systolic import WeightStationary
    >>> check_accelerator(WeightStationary(rows=8, cols=8))
    """
    machine = accelerator() if isinstance(accelerator, type) else accelerator
    name = type(machine).__name__
    _check_description(name, machine)
    _check_parameters(name, machine)
    supported = _check_support(name, machine)
    _check_area(name, machine)
    works = [*_shape_works(supported), *_code_works(machine)]
    for work in works if not machine.needs_codes else works[len(SHAPES) * len(supported) :]:
        _check_cost(f"{name}: {work.site.name}", machine, work)
    if not machine.needs_codes:
        _check_growth(name, machine, supported[0])


def _check_description(name: str, machine: Accelerator) -> None:
    require(isinstance(machine, Accelerator), f"{name} lacks a part of the protocol bitwright.accelerators.protocol")
    require(machine.summary.strip(), f"{name} has no summary")
    require("\n" not in machine.summary, f"the summary of {name} is longer than one line")
    require(isinstance(machine.needs_codes, bool), f"{name}.needs_codes is {machine.needs_codes!r}, not True or False")
    require(machine.clock_mhz > 0, f"{name} has no clock")
    require(machine.peak_macs_per_cycle > 0, f"{name} has no multipliers")


def _check_parameters(name: str, machine: Accelerator) -> None:
    parameters = machine.parameters()
    require(parameters, f"{name} states no parameters")
    rebuilt = type(machine)(**parameters)
    require(rebuilt.parameters() == parameters, f"{name}: building it again from parameters() changes them")
    for key, value in parameters.items():
        try:
            setattr(machine, key, value)
        except Exception:  # noqa: S112 (whatever it raises, it refuses)
            continue
        raise AssertionError(f"{name}: parameter {key} can be changed after construction; freeze the class")
    try:
        type(machine)(**{**parameters, "no_such_parameter": 1})
    except Exception as error:
        refusal = str(error)
    else:
        raise AssertionError(f"{name} accepts an unknown parameter; a misspelt one would be ignored")
    require("no_such_parameter" in refusal, f"{name} refuses an unknown parameter without naming it")


def _plan(x: Format, w: Format) -> SitePlan:
    return SitePlan(x=OperandPlan(format=x, granularity=PerTensor()), w=OperandPlan(format=w, granularity=PerTensor()))


def _plans() -> dict[str, SitePlan]:
    """Plans by name: float, integers of all widths, and pairs of other formats."""
    plans = {"float": FLOAT_SITE}
    pairs: list[tuple[Format, Format]] = [
        (Integer(bits=x_bits, signed=signed), Integer(bits=w_bits))
        for x_bits, w_bits in itertools.product(WIDTHS, WIDTHS)
        for signed in (True, False)
    ]
    for family in TABLED.values():
        pairs += itertools.product(family, family)
    return plans | {f"{x.name} by {w.name}": _plan(x, w) for x, w in pairs}


def _check_support(name: str, machine: Accelerator) -> list[SitePlan]:
    """The plans that a machine runs."""
    supported = []
    for kind, plan in _plans().items():
        reason = _reason(name, kind, machine, plan)
        if reason is None:
            supported.append(plan)
            for strange in (
                dataclasses.replace(plan, precision=UNKNOWN),
                dataclasses.replace(plan, accumulation=UNKNOWN),
            ):
                require(_reason(name, kind, machine, strange), f"{name} supports a rule that it cannot know")
        else:
            _check_refusal(f"{name}, {kind}", machine, plan)
    require(supported, f"{name} supports neither float nor integers of {WIDTHS} bits nor {', '.join(TABLED)}")
    return supported


def _reason(name: str, kind: str, machine: Accelerator, plan: SitePlan) -> str | None:
    reason = machine.supports(plan)
    worded = reason is None or (isinstance(reason, str) and reason.strip())
    require(worded, f"{name}.supports answers {reason!r} for {kind}; None, or a reason in words, is expected")
    require(reason is None or "\n" not in reason, f"{name}: a reason is one clause, not {reason!r}")
    return reason


def _check_refusal(what: str, machine: Accelerator, plan: SitePlan) -> None:
    try:
        machine.run(Execution(site=_site(1, 8, 8, 8), plan=plan))
    except InputError:
        return
    raise AssertionError(f"{what}: not supported, but run() costs it all the same; raise InputError with the reason")


def _check_area(name: str, machine: Accelerator) -> None:
    area = machine.area()
    require(area.components_um2, f"{name} has no area")
    for component, value in area.components_um2.items():
        require(math.isfinite(value), f"{name}: the area of {component} is {value}")
        require(value > 0, f"{name}: the area of {component} is {value}; leave out what is not modelled")
        require(area.sources.get(component, "").strip(), f"{name}: the area of {component} has no source")
    require(machine.area() == area, f"{name}: its area is different each time")


def _site(groups: int, m: int, k: int, n: int) -> Site:
    return Site(
        name=f"{groups} x {m} x {k} x {n}",
        op="linear",
        m=m,
        k=k,
        n=n,
        groups=groups,
        x_elements=groups * m * k,
        w_elements=groups * k * n,
    )


def _shape_works(plans: list[SitePlan]) -> Iterator[Execution]:
    for plan in plans:
        for shape in SHAPES:
            yield Execution(site=_site(*shape), plan=plan)


def _code_works(machine: Accelerator) -> Iterator[Execution]:
    """What a machine would hear of the toy networks, as far as it supports them."""
    for recipe in (*INTEGER_RECIPES, *TABLED_RECIPES, *PRECISION_RECIPES):
        family = TABLED.get(TABLED_RECIPES.get(recipe, ""))
        if family is None or machine.supports(_plan(family[0], family[0])) is None:
            yield from (work for work in _heard(recipe) if machine.supports(work.plan) is None)


@functools.cache
def _heard(recipe: str) -> tuple[Execution, ...]:
    """Everything that the toy networks execute by a method, the same for all machines."""
    options = {} if recipe in TABLED_RECIPES else {"smoothing": "none", **PRECISION_RECIPES.get(recipe, {})}
    method, works = compose(recipe, options), list[Execution]()
    for network, samples in toy_networks().values():
        plan = method.calibrate(network, samples)
        Executor(network, plan, listeners=[works.append]).run(samples[0])
    return tuple(works)


def _check_cost(what: str, machine: Accelerator, work: Execution) -> None:
    cost = machine.run(work)
    _check_work(what, machine, work, cost)
    _check_energy(what, cost)
    require(machine.run(work) == cost, f"{what}: the same work costs something else the second time")
    require(type(machine)(**machine.parameters()).run(work) == cost, f"{what}: an equal machine gives another cost")
    if not machine.needs_codes and _static(work):
        bare = dataclasses.replace(work, x=None, w=None)
        require(machine.run(bare) == cost, f"{what}: the cost depends on codes, though needs_codes is False")
    _check_sum(what, cost)


def _check_work(what: str, machine: Accelerator, work: Execution, cost: Cost) -> None:
    site = work.site
    require(cost.macs_dense == site.macs, f"{what}: {cost.macs_dense} dense MACs, the site has {site.macs}")
    require(cost.macs_executed + cost.macs_skipped == cost.macs_dense, f"{what}: executed and skipped MACs are not all")
    require(min(cost.macs_executed, cost.macs_skipped) >= 0, f"{what}: negative MACs")
    require(cost.compute_cycles > 0, f"{what}: it computes in no time")
    require(cost.cycles >= cost.compute_cycles, f"{what}: fewer cycles in all than compute cycles")
    if _static(work) and 8 in (work.plan.x_bits, work.plan.w_bits) and min(work.plan.x_bits, work.plan.w_bits) >= 8:
        needed = cost.macs_executed / machine.peak_macs_per_cycle
        require(
            cost.compute_cycles >= needed, f"{what}: {cost.compute_cycles} compute cycles, the peak allows {needed}"
        )
    if not machine.needs_codes and _static(work):
        _check_raw_operands(what, work, cost)
    moved = cost.traffic_bytes.get("dram_read", 0) + cost.traffic_bytes.get("dram_write", 0)
    require(cost.unique_bytes > 0, f"{what}: {cost.unique_bytes} distinct bytes")
    require(moved >= cost.unique_bytes, f"{what}: {moved} bytes of DRAM traffic for {cost.unique_bytes} distinct ones")
    require(min(cost.traffic_bytes.values()) >= 0, f"{what}: negative traffic")


def _static(work: Execution) -> bool:
    """Whether precision is that of the plan; otherwise codes decide on it, on any machine."""
    return isinstance(work.plan.precision, Static)


def _check_raw_operands(what: str, work: Execution, cost: Cost) -> None:
    """A machine that does not see values cannot compress them."""
    plan, site = work.plan, work.site
    operands = (site.x_elements * plan.x_bits + site.w_elements * plan.w_bits) / 8
    require(
        cost.unique_bytes >= operands,
        f"{what}: {cost.unique_bytes} distinct bytes, the operands alone are {operands}",
    )
    require(cost.traffic_bytes.get("dram_read", 0) >= operands, f"{what}: less is read from DRAM than the operands are")


def _check_energy(what: str, cost: Cost) -> None:
    require(cost.events, f"{what}: nothing has a price, energy would be zero")
    for event in cost.events:
        label = f"{what}: {event.component} {event.name}"
        require(math.isfinite(event.count), f"{label}: a count of {event.count}")
        require(event.count >= 0, f"{label}: a count of {event.count}")
        require(math.isfinite(event.price_pj), f"{label}: a price of {event.price_pj} pJ")
        require(event.price_pj > 0, f"{label}: a price of {event.price_pj} pJ; nothing is free")
        require(event.source.strip(), f"{label}: the price has no source")
        require(event.unit.strip(), f"{label}: the count has no unit")
    priced = sum(event.count * event.price_pj for event in cost.events)
    require(priced > 0, f"{what}: it takes no energy")
    for total in (cost.total_energy_pj, sum(cost.energy_pj.values())):
        require(math.isclose(total, priced, rel_tol=ROUNDING), f"{what}: {total} pJ, but counts by prices are {priced}")


def _check_sum(what: str, cost: Cost) -> None:
    require(_numbers(cost + Cost()) == _numbers(cost), f"{what}: adding nothing changes the cost")
    twice = _numbers(cost + cost)
    for key, value in _numbers(cost).items():
        require(
            math.isclose(twice[key], 2 * value, rel_tol=ROUNDING), f"{what}: {key} of twice the cost is {twice[key]}"
        )


def _numbers(cost: Cost) -> Mapping[str, float]:
    """A cost's figures by name."""
    plain: dict[str, Any] = {
        field.name: getattr(cost, field.name)
        for field in dataclasses.fields(cost)
        if field.name not in {"traffic_bytes", "busy_cycles", "events"}
    }
    busy = {f"busy {name}": cycles for name, cycles in cost.busy_cycles.items()}
    return {**plain, **busy, **cost.traffic_bytes, **{f"pj {k}": v for k, v in cost.energy_pj.items()}}


def _check_growth(name: str, machine: Accelerator, plan: SitePlan) -> None:
    """A longer m, k or n, or more groups, never makes anything smaller."""
    for shape in SHAPES:
        small = machine.run(Execution(site=_site(*shape), plan=plan))
        for axis, axis_name in enumerate(("groups", "m", "k", "n")):
            longer = tuple(2 * size if i == axis else size for i, size in enumerate(shape))
            large = machine.run(Execution(site=_site(*longer), plan=plan))
            for figure in ("cycles", "compute_cycles", "unique_bytes", "total_energy_pj"):
                before, after = getattr(small, figure), getattr(large, figure)
                require(
                    after >= before * (1 - ROUNDING),
                    f"{name}: {figure} falls from {before} to {after} when {axis_name} of {shape} doubles",
                )
