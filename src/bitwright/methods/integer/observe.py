"""What calibration sees of a network: ranges of both operands of every site, in float, over the calibration samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from bitwright.errors import InputError
from bitwright.later import torch
from bitwright.methods.progress import reported
from bitwright.methods.sharing import once
from bitwright.networks.network import Batch, Network
from bitwright.networks.siblings import placed, unreached
from bitwright.networks.sites import Site
from bitwright.networks.synthetic import synthetic_calls
from bitwright.networks.trace import observe
from bitwright.networks.view import GemmView, distinct

BINS = 4096
SMALLEST_RANGE = 1e-38
APART = 2
"""A bit of resolution for all others; our choice."""


@dataclasses.dataclass(kw_only=True)
class Ranges:
    """Running ranges of one site.

    Attributes
    ----------
    site : Site
        As first seen.
    x_low, x_high : torch.Tensor
        Of x: per channel [K] for linear layers with a weight (smoothing needs it), else scalars.
    first_low, first_high : torch.Tensor or None
        The same of the first rows of sequences, where these are observed apart; x_low and x_high are without them.
    w_low, w_high : torch.Tensor or None
        Of a w that is computed at run time: per head [H, 1, 1] (values: per column too, [H, N, 1]), or scalars.
    weight : torch.Tensor or None
        A static w, as the view has it.
    layout : str
        The call's layout.
    histogram : torch.Tensor or None
        Counts of x in equal bins over [min x_low, max x_high].
    same_as : str
        An earlier site with the very same operands (synthetic ones), whose plan this one's can be.
    first : int
        How many rows are observed apart.
    """

    site: Site
    x_low: torch.Tensor
    x_high: torch.Tensor
    w_low: torch.Tensor | None = None
    w_high: torch.Tensor | None = None
    weight: torch.Tensor | None = None
    lead: int = 0
    histogram: torch.Tensor | None = None
    same_as: str = ""
    first: int = 0
    first_low: torch.Tensor | None = None
    first_high: torch.Tensor | None = None

    @property
    def x_range(self) -> tuple[float, float]:
        """The whole tensor's range; without the first rows where these have scales of their own."""
        low, high = float(self.x_low.min()), float(self.x_high.max())
        return (low, high) if self.first_range is None else self._outer((low, high)) if not self.apart else (low, high)

    @property
    def first_range(self) -> tuple[float, float] | None:
        """Of the first rows, where they are observed apart."""
        if self.first_low is None or self.first_high is None:
            return None
        return float(self.first_low.min()), float(self.first_high.max())

    @property
    def apart(self) -> bool:
        """Whether the first rows have a scale of their own: they reach `APART` times as far as the others."""
        first = self.first_range
        peak = max(float(self.x_high.max()), -float(self.x_low.min()))
        return first is not None and max(first[1], -first[0]) > APART * peak > 0

    def _outer(self, inner: tuple[float, float]) -> tuple[float, float]:
        first = self.first_range or inner
        return min(inner[0], first[0]), max(inner[1], first[1])


def observe_ranges(
    network: Network, samples: Sequence[Batch], found: dict[str, Ranges] | None = None, *, first: int = 0
) -> dict[str, Ranges]:
    """Ranges of every site of `network`, in the order in which the sites run; those `found` before are widened.

    The `first` rows of every sequence that a linear layer reads are observed apart.

    Raises
    ------
    InputError
        If an operand is NaN or infinite, naming the site.
    """
    found = {} if found is None else found

    def watch(site: Site, view: GemmView) -> torch.Tensor:
        if not view.x.numel():
            return view.float_result()
        if site.name in found:
            _widen(found[site.name], _ranges(site, view, first))
        else:
            found[site.name] = _with_weight(_ranges(site, view, first), view)
        return view.float_result()

    for batch in reported(samples, "ranges"):
        observe(network, batch, watch)
    return found


def with_siblings(network: Network, found: Mapping[str, Ranges]) -> tuple[dict[str, Ranges], tuple[str, ...]]:
    """`found` and the ranges of experts that no sample reached, and what reports must say of these.

    They have their own weights, and the x of all siblings that were reached (our choice).
    """
    assert network.module is not None
    static = {name: (seen.site, seen.weight) for name, seen in found.items() if seen.weight is not None}
    result = {}
    missing = unreached(network.module, {name: (site, w) for name, (site, w) in static.items() if w is not None})
    for each in missing:
        first, *others = (found[name] for name in each.of)
        widened = dataclasses.replace(first, site=each.site, weight=each.w)
        for other in others:
            _widen(widened, other)
        histograms = [found[name].histogram for name in each.of]
        if all(counts is not None for counts in histograms):
            ranges = [found[name].x_range for name in each.of]
            widened.histogram = _together([counts for counts in histograms if counts is not None], ranges, widened)
        result[each.site.name] = each, widened
    return placed(found, result), said(len(missing))


def said(missing: int) -> tuple[str, ...]:
    """What reports say of sites that no calibration sample reached; nothing where there are none."""
    if not missing:
        return ()
    return (
        f"calibration did not reach {missing} experts' products: they have scales of their own weights, and the range "
        "of x of the experts beside them",
    )


def _together(histograms: Sequence[torch.Tensor], ranges: Sequence[tuple[float, float]], whole: Ranges) -> torch.Tensor:
    """Counts over the range of `whole` of histograms over ranges within it, each bin's at its middle."""
    total, (low, high) = torch.zeros(BINS, dtype=torch.float64), whole.x_range
    for counts, (start, stop) in zip(histograms, ranges, strict=True):
        middles = start + (torch.arange(BINS) + 0.5) * ((stop - start) / BINS)
        places = ((middles - low) * (BINS / max(high - low, SMALLEST_RANGE))).long().clamp(0, BINS - 1)
        total.index_add_(0, places, counts.double())
    return total


def shared_ranges(network: Network, work: Network, samples: Sequence[Batch], *, first: int = 0) -> dict[str, Ranges]:
    """`observe_ranges` of `work`, a copy of `network` that computes the same, shared by all such copies.

    The first batch is observed in any case: it finds the weights, which are the copy's own.
    """
    own: dict[str, Ranges] = {}

    def make() -> Mapping[str, Ranges]:
        own.update(observe_ranges(work, samples, first=first))
        return {name: dataclasses.replace(seen, weight=None) for name, seen in own.items()}

    kept = once(("ranges", first), (network, *samples), make)
    if own:
        return own
    found = observe_ranges(work, samples[:1], first=first)
    if set(found) != set(kept):  # sites that the first batch does not reach
        return observe_ranges(work, samples, first=first)
    for name, seen in found.items():
        _widen(seen, kept[name])
    return found


def observe_synthetic(network: Network, batch: Batch, *, histograms: bool) -> dict[str, Ranges]:
    """Ranges of the synthetic operands of a network without numbers; those of equal sites are found once."""
    found: dict[str, Ranges] = {}
    for site, view, same_as in synthetic_calls(network, batch):
        if same_as:
            found[site.name] = dataclasses.replace(found[same_as], site=site, same_as=same_as)
            continue
        seen = found[site.name] = _with_weight(_ranges(site, view), view)
        if histograms:
            seen.histogram = _counts(view.x, seen)
    return found


def histograms_of(network: Network, samples: Sequence[Batch], ranges: Mapping[str, Ranges]) -> dict[str, torch.Tensor]:
    """A second pass that counts the x of every site within the ranges found by the first."""
    found: dict[str, torch.Tensor] = {}

    def watch(site: Site, view: GemmView) -> torch.Tensor:
        if not view.x.numel():
            return view.float_result()
        seen = ranges[site.name]
        counts = _counts(view.x[:, seen.first :] if seen.apart and view.x.dim() == 3 else view.x, seen)
        found[site.name] = found[site.name] + counts if site.name in found else counts
        return view.float_result()

    for batch in reported(samples, "histograms"):
        observe(network, batch, watch)
    return found


def _counts(x: torch.Tensor, seen: Ranges) -> torch.Tensor:
    low, high = seen.x_range
    counts = torch.histc(x.detach().float().cpu(), BINS, low, high) if low < high else torch.ones(BINS)
    return counts.double()  # to be added up: float32 counts no further than 2**24


def _ranges(site: Site, view: GemmView, first: int = 0) -> Ranges:
    """What one call of a site shows of its activations."""
    x = view.x.detach()
    result = Ranges(site=site, x_low=x, x_high=x, lead=view.lead)
    if first and view.plain and view.weight is not None and x.dim() == 3 and x.shape[1] > first:
        head, x = x[:, :first], x[:, first:]
        low, high = torch.aminmax(head.reshape(-1, head.shape[-1]), dim=0)
        _check_finite(site, "x", low, high)
        result.first, result.first_low, result.first_high = first, low.float(), high.float()
    if view.plain and view.weight is not None:
        low, high = torch.aminmax(x.reshape(-1, x.shape[-1]), dim=0)
    else:
        low, high = torch.aminmax(x)
    result.x_low, result.x_high = low.float(), high.float()
    _check_finite(site, "x", low, high)
    if view.weight is None:
        w_low, w_high = torch.aminmax(view.w) if view.lead < 2 else _per_head(view.w, columns=view.op == "attention_pv")
        _check_finite(site, "w", w_low, w_high)
        result.w_low, result.w_high = w_low.float(), w_high.float()
    return result


def _with_weight(seen: Ranges, view: GemmView) -> Ranges:
    """What is seen of a site for the first time: its weight is looked at once."""
    if view.weight is not None:
        seen.weight = distinct(view.w.detach())
        if seen.weight.numel() and not all(bool(end.isfinite()) for end in torch.aminmax(seen.weight)):
            raise InputError(f"the weight of {seen.site.name} holds NaN or infinity; quantization needs finite numbers")
    return seen


def _per_head(w: torch.Tensor, *, columns: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Minimum and maximum [H, 1, 1] of w [..., H, N, K], or [H, N, 1] by `columns`."""
    heads = w.movedim(-3, 0).movedim(-2, 1)
    flat = heads.reshape(*heads.shape[:2], -1) if columns else heads.reshape(len(heads), 1, -1)
    low, high = torch.aminmax(flat, dim=-1, keepdim=True)
    return low, high


def _widen(seen: Ranges, now: Ranges) -> None:
    seen.x_low, seen.x_high = _union(seen.x_low, seen.x_high, now.x_low, now.x_high)
    if seen.first_low is None and now.first_low is not None:  # sequences before were too short to tell rows apart
        seen.first, seen.first_low, seen.first_high = now.first, now.first_low, now.first_high
    elif seen.first_low is not None and now.first_low is not None:
        assert seen.first_high is not None
        assert now.first_high is not None
        seen.first_low, seen.first_high = _union(seen.first_low, seen.first_high, now.first_low, now.first_high)
    if seen.w_low is not None and now.w_low is not None and seen.w_high is not None and now.w_high is not None:
        seen.w_low, seen.w_high = _union(seen.w_low, seen.w_high, now.w_low, now.w_high)


def _union(
    low: torch.Tensor, high: torch.Tensor, other_low: torch.Tensor, other_high: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The range that covers two; of the whole tensor where the number of channels or heads is not constant."""
    if low.shape != other_low.shape:
        low, high, other_low, other_high = low.min(), high.max(), other_low.min(), other_high.max()
    return torch.minimum(low, other_low), torch.maximum(high, other_high)


def _check_finite(site: Site, operand: str, low: torch.Tensor, high: torch.Tensor) -> None:
    if not bool(torch.isfinite(low).all() and torch.isfinite(high).all()):
        raise InputError(
            f"{operand} of {site.name} holds NaN or infinity on the calibration samples; "
            "quantization needs finite numbers"
        )
