"""Calibration of partial sums: a scale per tile index, from what would be stored at each step.

The network runs on samples by the plan so far, its sums exact, and every site's tiles and running sums are watched:
first their peaks, then, for the least squared error, what storing them by smaller scales than the peaks ask for would
cost. Both are of unquantized sums, so that one pass serves every group size and phase (our choice).
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bitwright.errors import InputError
from bitwright.formats import PerGroup, Quantized, Saturation
from bitwright.methods.apsq.options import ApsqOptions
from bitwright.methods.apsq.rule import Kind, PartialSums
from bitwright.methods.apsq.watch import Watched, channel_sums, step_errors, step_peaks
from bitwright.methods.execution import Execution
from bitwright.methods.executor import Executor, prepare
from bitwright.methods.plan import Plan
from bitwright.methods.progress import reported
from bitwright.methods.rules import EXACT
from bitwright.networks.network import Batch, Network
from bitwright.networks.siblings import family_of

CANDIDATES = 5  # scales tried: what the peak asks for and its halves; our choice

Floats = npt.NDArray[np.float64]


def calibrate(network: Network, samples: Sequence[Batch], options: ApsqOptions, plan: Plan) -> Plan:
    """`plan` with a rule for the partial sums of every quantized site.

    Raises
    ------
    InputError
        No samples, a glob that matches no site, or weights that are scaled in groups.
    """
    options.check_globs(plan.sites)
    for name in wanted_sites(plan, options):
        operand = plan.sites[name].w
        if operand is not None and isinstance(operand.granularity, PerGroup):
            raise InputError(
                f"weights of {name} are scaled in groups, whose sums have scales of their own: they cannot be "
                "quantized as one; use weights scaled per channel or tensor (of integers: w_granularity=channel)"
            )
    rules = {name: options.at(name).partial_sums() for name in wanted_sites(plan, options)}
    if network.shape_only:
        return with_rules(plan, rules)
    if not samples:
        raise InputError(f"{network.name}: calibration needs at least one batch of samples")
    found = scales_of(network, samples, plan, {name: (rule, options.at(name)) for name, rule in rules.items()})
    families = {
        family: rule
        for name, rule in found.items()
        if rule.kind is Kind.BLOCK or rule.tile_scales is not None
        if (family := family_of(name))
    }
    made = {}
    for name, rule in rules.items():  # an expert that no sample reached stores sums as one beside it does
        scaled = found[name].kind is Kind.BLOCK or found[name].tile_scales is not None
        made[name] = found[name] if scaled else families.get(family_of(name) or "", rule)
    return with_rules(plan, made)


def wanted_sites(plan: Plan, options: ApsqOptions) -> list[str]:
    """Quantized sites, but for those of attention where they are left out."""
    return [
        name
        for name, site in plan.sites.items()
        if site.quantized and (options.psum_attention or not name.endswith((":qk", ":pv")))
    ]


def with_rules(plan: Plan, rules: dict[str, PartialSums]) -> Plan:
    """The plan with these accumulation rules, and all other sites exact."""
    sites = {name: dataclasses.replace(site, accumulation=rules.get(name, EXACT)) for name, site in plan.sites.items()}
    return dataclasses.replace(plan, sites=sites)


def scales_of(
    network: Network, samples: Sequence[Batch], plan: Plan, rules: Mapping[str, tuple[PartialSums, ApsqOptions]]
) -> dict[str, PartialSums]:
    """The rules with scales, those that have some and were reached by the samples."""
    needing = {name: each for name, each in rules.items() if each[0].kind is not Kind.BLOCK}
    rows = {name: options.psum_rows for name, (_, options) in rules.items()}
    run = _Run(network, plan, samples, rows)
    centred = _centred(run, rules)
    by_error = {
        name
        for name, (rule, options) in needing.items()
        if options.psum_calibrator == "mse" and rule.saturation is Saturation.CLIP
    }
    peaks: dict[str, Floats] = {}
    errors: dict[str, Floats] = {}

    def see_peaks(name: str, watched: Watched) -> None:
        if name in needing:
            found = step_peaks(watched, centred[name])
            peaks[name] = np.maximum(*_alike(peaks.get(name, found), found))

    def see_errors(name: str, watched: Watched) -> None:
        if name in by_error:
            rule, tiles = centred[name], watched.tiles(centred[name].tile)
            found = step_errors(watched, rule, candidates(peaks[name][:, :tiles], rule))
            errors[name] = np.add(*_alike(errors.get(name, np.zeros_like(found)), found))

    if needing:
        run.watch(see_peaks)
    if by_error:
        run.watch(see_errors)
    return centred | {name: _with_scales(centred[name], seen, errors.get(name)) for name, seen in peaks.items()}


def _centred(run: "_Run", rules: Mapping[str, tuple[PartialSums, ApsqOptions]]) -> dict[str, PartialSums]:
    """The rules with centres: the mean code of each channel, where products with weights are centred on it."""
    wanted = {name for name, (_, options) in rules.items() if options.psum_centre == "mean"}
    totals: dict[str, Floats] = {}
    counts: dict[str, int] = {}

    def see(name: str, watched: Watched) -> None:
        if name in wanted and watched.view.weight is not None and not (watched.view.lead and not watched.view.spatial):
            total, count = channel_sums(watched)
            totals[name], counts[name] = totals.get(name, 0) + total, counts.get(name, 0) + count

    if wanted:
        run.watch(see)
    means = {name: torch.from_numpy(np.rint(total / counts[name])).to(torch.int32) for name, total in totals.items()}
    return {name: dataclasses.replace(rule, centres=means.get(name)) for name, (rule, _) in rules.items()}


def candidates(peaks: Floats, rule: PartialSums) -> Floats:
    """Scales [2, tiles, candidates] for peaks [2, tiles]: the smallest that fits, and its halves, none below 1."""
    fitting = np.ceil(np.log2(np.maximum(peaks, 1) / rule.high))
    exponents: Floats = np.maximum(fitting[..., None] - np.arange(CANDIDATES), 0)
    return 2.0**exponents


def _with_scales(rule: PartialSums, peaks: Floats, errors: Floats | None) -> PartialSums:
    scales = candidates(peaks, rule)
    best = np.zeros(peaks.shape, dtype=np.int64) if errors is None else np.argmin(errors, axis=2)
    chosen = torch.from_numpy(np.take_along_axis(scales, best[..., None], axis=2)[..., 0].astype(np.float32))
    return dataclasses.replace(rule, tile_scales=chosen[0].clone(), sum_scales=chosen[1].clone())


def _alike(one: Floats, other: Floats) -> list[Floats]:
    """Two arrays over tiles [2, tiles, ..] as long as the longer: attention's reductions vary with the input."""
    tiles = max(one.shape[1], other.shape[1])
    return [np.pad(each, ((0, 0), (0, tiles - each.shape[1]), *[(0, 0)] * (each.ndim - 2))) for each in (one, other)]


class _Run:
    """The network by its plan so far, on all samples, as often as it is watched."""

    def __init__(self, network: Network, plan: Plan, samples: Sequence[Batch], rows: Mapping[str, int]) -> None:
        self.network, self.plan, self.samples, self.rows = prepare(network, plan), plan, samples, rows
        self.weights: dict[tuple[Any, ...], Quantized] = {}

    def watch(self, see: Callable[[str, Watched], None]) -> None:
        """Show every execution of a site to `see`."""

        def tell(work: Execution) -> None:
            if work.view is not None and work.x is not None and work.w is not None and work.site.name in self.rows:
                rows = self.rows[work.site.name]
                see(work.site.name, Watched(view=work.view, x=work.x, w=work.w, rows=rows))

        executor = Executor(self.network, self.plan, listeners=(tell,), prepared=True, weights=self.weights)
        for batch in reported(self.samples, "partial sums"):
            executor.run(batch)
