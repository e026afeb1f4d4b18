"""Calibration of `drift`: the smallest deltas whose narrow sub-tensors stay within the budget.

The samples are those of calibration, without labels, never the test's. One delta for the network is found by bisection.
By kind, each kind of layer (convolution, linear, attention) has one for x and one for w: from the network's, the step
down that saves most multiplier time per loss is taken until none fits the budget. Our choices, like the grid: half
powers of two for the network, powers of two by kind.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

from bitwright.errors import InputError
from bitwright.methods.budget import shared_judge
from bitwright.methods.drift.options import DriftOptions
from bitwright.methods.drift.rule import Drift, finite
from bitwright.methods.plan import Plan
from bitwright.methods.precision import NOTHING_NARROW, MultiplierTime, narrowable, said_loss, smallest, stated
from bitwright.methods.sharing import once
from bitwright.networks.network import Batch, Network
from bitwright.networks.sites import Site
from bitwright.networks.trace import trace
from bitwright.words import counted

LOG_RANGE = (-8, 8)
"""The search goes from 2**-4 to 2**4 steps, in half powers of two."""
LEAST_LOSS = 1e-6

Key = tuple[str, str]
"""Kind of layer and operand."""
Deltas = Mapping[Key, float]


def calibrate(network: Network, samples: Sequence[Batch], options: DriftOptions, plan: Plan) -> Plan:
    """`plan` with a precision rule at every site that may become narrow.

    Raises
    ------
    InputError
        Operands that are no integers of at most 8 bits, a network with shapes only without stated shares, or synthetic
        operands, which nothing can be judged by, without a delta.
    """
    sites = {site.name: site for site in trace(network).sites}
    options.check_globs(sites)
    chosen = narrowable(sites, plan, ends=options.narrow_ends)
    if network.shape_only and not network.distribution:
        return stated(network, plan, {name: _stated(options.at(name)) for name in chosen}, ("x_share", "w_share"))
    grid = network.weight_grid or 0
    if any(on_grid(sites[name], options.at(name), grid) for name in chosen):
        said = (
            f"weights stay wide: they come from a file of 4-bit groups of {grid}, in blocks of which narrow ones would "
            "look lossless; another option block lets them be narrow"
        )
        plan = dataclasses.replace(plan, notes=(*plan.notes, said))
    if not chosen:
        return dataclasses.replace(plan, notes=(*plan.notes, f"{plan.method}: {NOTHING_NARROW}"))
    if options.delta is not None:
        keys = keys_of(sites, chosen, options, grid)
        return planned(plan, sites, chosen, options, dict.fromkeys(keys, options.delta), grid)
    if network.shape_only:
        raise InputError(f"{network.name} has synthetic operands, by which no accuracy can be judged; give delta")
    search = Search(network, samples, options, plan, sites, chosen)
    deltas = search.by_network()
    if options.delta_by == "kind" and len(deltas) > 1:
        deltas = search.by_kind(deltas)
    found = search.planned(deltas)
    return dataclasses.replace(found, notes=(*found.notes, search.note(deltas)), promise=options.budget)


def _stated(options: DriftOptions) -> Drift:
    """The rule of a site without numbers: shares as stated."""
    return Drift(
        x_share=options.x_share,
        w_share=options.w_share,
        block=options.block,
        region=options.region,
        conversion=options.conversion,
    )


def on_grid(site: Site, options: DriftOptions, grid: int) -> bool:
    """Whether blocks of a site's weights lie within the narrow groups of `grid` of the file that they came from."""
    return bool(site.static_weight and grid and options.block and grid % options.block == 0)


def kind_of(site: Site) -> str:
    """conv, linear or attention."""
    return "conv" if site.conv is not None else "linear" if site.static_weight else "attention"


def keys_of(sites: Mapping[str, Site], chosen: Sequence[str], options: DriftOptions, grid: int) -> list[Key]:
    """What has a delta of its own: x and w of every kind, but weights that would look lossless."""
    keys: dict[Key, None] = {}
    for name in chosen:
        keys[kind_of(sites[name]), "x"] = None
        if not on_grid(sites[name], options.at(name), grid):
            keys[kind_of(sites[name]), "w"] = None
    return list(keys)


def planned(
    plan: Plan, sites: Mapping[str, Site], chosen: Sequence[str], options: DriftOptions, deltas: Deltas, grid: int
) -> Plan:
    """`plan` with these deltas; a site's own, in `sites`, win, and weights on the grid of their file stay wide."""
    made = dict(plan.sites)
    for name in chosen:
        kind, at = kind_of(sites[name]), options.at(name)
        own = at.delta if at is not options else None
        x_delta = deltas[kind, "x"] if own is None else own
        w_delta = math.inf
        if not on_grid(sites[name], at, grid):
            w_delta = deltas[kind, "w"] if own is None else own
        rule = Drift(
            x_delta=finite(x_delta), w_delta=finite(w_delta), block=at.block, region=at.region, conversion=at.conversion
        )
        made[name] = dataclasses.replace(made[name], precision=rule)
    return dataclasses.replace(plan, sites=made)


class Search:
    """Deltas on a grid of half powers of two, judged on the calibration samples."""

    def __init__(
        self,
        network: Network,
        samples: Sequence[Batch],
        options: DriftOptions,
        plan: Plan,
        sites: Mapping[str, Site],
        chosen: Sequence[str],
    ) -> None:
        if not samples:
            raise InputError(f"{network.name}: calibration needs at least one batch of samples")
        self.options, self.plan, self.sites, self.chosen = options, plan, sites, chosen
        self.judge = shared_judge(network, samples, plan, correct=options.bias_correction)
        self.grid = network.weight_grid or 0
        self.keys = keys_of(sites, chosen, options, self.grid)
        self.tried: set[tuple[float, ...]] = set()
        asked = options.model_dump_json(exclude={"budget", "delta_by"})
        self.seen: dict[tuple[float, ...], tuple[float, float]] = once(
            ("losses", asked), (network, plan.sites, *samples), dict
        )

    def measure(self, deltas: Deltas) -> tuple[float, float]:
        """Loss, and multiplier time by that of the wide network."""
        key = tuple(deltas[each] for each in self.keys)
        self.tried.add(key)
        if key not in self.seen:
            time = MultiplierTime()
            loss = self.judge.loss(self.planned(deltas), time)
            self.seen[key] = loss, time.spent / time.wide
        return self.seen[key]

    def planned(self, deltas: Deltas) -> Plan:
        """The plan with these deltas, biases as they are."""
        return planned(self.plan, self.sites, self.chosen, self.options, deltas, self.grid)

    def by_network(self) -> dict[Key, float]:
        """One delta for all: the smallest on the grid within the budget, by bisection; infinite if none is."""

        def fits(exponent: int) -> bool:
            return self.measure(dict.fromkeys(self.keys, 2 ** (exponent / 2)))[0] <= self.options.budget

        exponent = smallest(fits, *LOG_RANGE)
        return dict.fromkeys(self.keys, math.inf if exponent is None else 2 ** (exponent / 2))

    def by_kind(self, start: Deltas) -> dict[Key, float]:
        """A delta for each kind and operand: halvings from `start`, the cheapest first."""
        deltas = {key: min(delta, 2 ** (LOG_RANGE[1] / 2)) for key, delta in start.items()}
        if not self.measure(deltas)[0] <= self.options.budget:
            return dict(start)
        open_keys = set(self.keys)
        while open_keys:
            loss, time = self.measure(deltas)
            gains = {}
            for key in sorted(open_keys):
                new_loss, new_time = self.measure({**deltas, key: deltas[key] / 2})
                if not new_loss <= self.options.budget or deltas[key] / 2 < 2 ** (LOG_RANGE[0] / 2):
                    open_keys.remove(key)
                else:
                    gains[key] = (time - new_time) / max(new_loss - loss, LEAST_LOSS)
            if gains:
                deltas[max(gains, key=lambda key: gains[key])] /= 2
        return deltas

    def note(self, deltas: Deltas) -> str:
        """What was found, for reports."""
        loss, time = self.measure(deltas)
        values = set(deltas.values())
        said = (
            f"delta {_said(next(iter(values)))}"
            if len(values) == 1
            else "delta " + ", ".join(f"{_said(deltas[key])} for {key[1]} of {key[0]}" for key in self.keys)
        )
        found = said_loss(loss, self.options.budget, time)
        return f"{self.plan.method}: {said}, from {counted(len(self.tried), 'trial')}: {found}"


def _said(delta: float) -> str:
    return f"{delta:.3g}" if math.isfinite(delta) else "infinite"
