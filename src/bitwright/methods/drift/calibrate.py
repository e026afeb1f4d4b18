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
from bitwright.methods.budget import Judge
from bitwright.methods.drift.method import NAME, rule
from bitwright.methods.drift.options import DriftOptions
from bitwright.methods.plan import Plan
from bitwright.methods.precision import MultiplierTime, narrowable, said_loss, smallest, stated
from bitwright.networks.network import Batch, Network
from bitwright.networks.sites import Site
from bitwright.networks.trace import trace

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
        return stated(network, plan, chosen, NAME, {"x_share": options.x_share, "w_share": options.w_share})
    keys = keys_of(network, sites, chosen, options)
    if on_weight_grid(network, options):
        said = (
            f"weights stay wide: they come from a file of 4-bit groups of {network.weight_grid}, in blocks of which "
            "narrow ones would look lossless; another option block lets them be narrow"
        )
        plan = dataclasses.replace(plan, notes=(*plan.notes, said))
    if options.delta is not None:
        return planned(plan, sites, chosen, options, dict.fromkeys(keys, options.delta))
    if network.shape_only:
        raise InputError(f"{network.name} has synthetic operands, by which no accuracy can be judged; give delta")
    search = Search(network, samples, options, plan, sites, chosen)
    deltas = search.by_network()
    if options.delta_by == "kind" and len(deltas) > 1:
        deltas = search.by_kind(deltas)
    found = planned(plan, sites, chosen, options, deltas)
    weights = {**found.weights, **search.judge.biases(found)}
    return dataclasses.replace(found, weights=weights, notes=(*found.notes, search.note(deltas)))


def on_weight_grid(network: Network, options: DriftOptions) -> bool:
    """Whether blocks of the weights lie within the narrow groups of the file that the weights came from."""
    return bool(network.weight_grid and options.block and network.weight_grid % options.block == 0)


def kind_of(site: Site) -> str:
    """conv, linear or attention."""
    return "conv" if site.conv is not None else "linear" if site.static_weight else "attention"


def keys_of(network: Network, sites: Mapping[str, Site], chosen: Sequence[str], options: DriftOptions) -> list[Key]:
    """What has a delta of its own: x and w of every kind, but weights that would look lossless."""
    kinds = dict.fromkeys(kind_of(sites[name]) for name in chosen)
    wide = on_weight_grid(network, options)
    return [(kind, operand) for kind in kinds for operand in "xw" if operand == "x" or kind == "attention" or not wide]


def planned(
    plan: Plan, sites: Mapping[str, Site], chosen: Sequence[str], options: DriftOptions, deltas: Deltas
) -> Plan:
    """`plan` with these deltas, infinite where there is none; a site's own, in `sites`, win."""
    made = dict(plan.sites)
    for name in chosen:
        kind, at = kind_of(sites[name]), options.at(name)
        own = at.delta if at is not options else None
        x_delta, w_delta = (
            deltas.get((kind, operand), math.inf) if own is None or (kind, operand) not in deltas else own
            for operand in "xw"
        )
        made[name] = dataclasses.replace(made[name], precision=rule(at, x_delta, w_delta))
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
        self.judge = Judge(network, samples, plan, correct=options.bias_correction)
        self.keys = keys_of(network, sites, chosen, options)
        self.seen: dict[tuple[float, ...], tuple[float, float]] = {}

    def measure(self, deltas: Deltas) -> tuple[float, float]:
        """Loss, and multiplier time by that of the wide network."""
        key = tuple(deltas[each] for each in self.keys)
        if key not in self.seen:
            time = MultiplierTime()
            loss = self.judge.loss(planned(self.plan, self.sites, self.chosen, self.options, deltas), time)
            self.seen[key] = loss, time.spent / time.wide
        return self.seen[key]

    def by_network(self) -> dict[Key, float]:
        """One delta for all: the smallest on the grid within the budget, by bisection; infinite if none is."""

        def fits(exponent: int) -> bool:
            return self.measure(dict.fromkeys(self.keys, 2 ** (exponent / 2)))[0] <= self.options.budget

        exponent = smallest(fits, *LOG_RANGE)
        return dict.fromkeys(self.keys, math.inf if exponent is None else 2 ** (exponent / 2))

    def by_kind(self, start: Deltas) -> dict[Key, float]:
        """A delta for each kind and operand: halvings from `start`, the cheapest first."""
        deltas = {key: min(delta, 2 ** (LOG_RANGE[1] / 2)) for key, delta in start.items()}
        if self.measure(deltas)[0] > self.options.budget:
            return dict(start)
        open_keys = set(self.keys)
        while open_keys:
            loss, time = self.measure(deltas)
            gains = {}
            for key in sorted(open_keys):
                new_loss, new_time = self.measure({**deltas, key: deltas[key] / 2})
                if new_loss > self.options.budget or deltas[key] / 2 < 2 ** (LOG_RANGE[0] / 2):
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
        return f"{self.plan.method}: {said}, from {len(self.seen)} trials: {said_loss(loss, self.options.budget, time)}"


def _said(delta: float) -> str:
    return f"{delta:.3g}" if math.isfinite(delta) else "infinite"
