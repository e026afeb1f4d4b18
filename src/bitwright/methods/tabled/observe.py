"""What calibration of a tabled format sees: every static weight, and a tally of each activation's values."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import torch

from bitwright.errors import InputError
from bitwright.methods.integer.observe import said
from bitwright.methods.progress import reported
from bitwright.methods.tabled.tally import Tally, patterns
from bitwright.networks.network import Batch, Network
from bitwright.networks.siblings import placed, unreached
from bitwright.networks.sites import Site
from bitwright.networks.trace import observe
from bitwright.networks.view import GemmView, distinct


@dataclasses.dataclass(kw_only=True)
class Seen:
    """One site.

    Attributes
    ----------
    site : Site
        As first seen.
    stored : torch.Tensor or None
        A static w, as the view has it.
    lead : int
        How many of its axes are groups.
    x_patterns, w_patterns : torch.Tensor
        Counts of the values of x, and of a w that is computed at run time, over all batches.
    x_peak, w_peak : float
        Largest magnitude of either.
    x_low, w_low : float
        Smallest value of either.
    """

    site: Site
    stored: torch.Tensor | None
    lead: int
    x_patterns: torch.Tensor
    w_patterns: torch.Tensor | None
    x_peak: float
    w_peak: float
    x_low: float
    w_low: float

    @functools.cached_property
    def weight(self) -> torch.Tensor | None:
        """A static w, float32."""
        return None if self.stored is None else self.stored.float()

    @functools.cached_property
    def x(self) -> Tally:
        """All values of x."""
        return Tally.from_patterns(self.x_patterns)

    @functools.cached_property
    def w(self) -> Tally:
        """All values of w."""
        if self.weight is not None:
            return Tally.of(self.weight)
        assert self.w_patterns is not None
        return Tally.from_patterns(self.w_patterns)


def observe_values(network: Network, samples: Sequence[Batch]) -> dict[str, Seen]:
    """What every site of `network` reads, in the order in which sites run.

    Raises
    ------
    InputError
        No samples, or NaN or infinity in an operand, naming it.
    """
    if not samples:
        raise InputError(f"{network.name}: calibration needs at least one batch of samples")
    found: dict[str, Seen] = {}

    def watch(site: Site, view: GemmView) -> torch.Tensor:
        if view.x.numel():
            _add(found, site, view)
        return view.float_result()

    for batch in reported(samples, "values"):
        observe(network, batch, watch)
    return found


def with_siblings(network: Network, found: Mapping[str, Seen]) -> tuple[dict[str, Seen], tuple[str, ...]]:
    """`found` and what experts read that no sample reached, and what reports must say of these.

    They have their own weights, and the x of all siblings that were reached (our choice).
    """
    assert network.module is not None
    missing = unreached(network.module, {n: (s.site, s.stored) for n, s in found.items() if s.stored is not None})
    result = {}
    for each in missing:
        first, *others = (found[name] for name in each.of)
        seen = dataclasses.replace(first, site=each.site, stored=each.w, w_peak=float(each.w.abs().max()))
        seen.w_low = float(each.w.min())
        for other in others:
            seen.x_patterns = seen.x_patterns + other.x_patterns
            seen.x_peak, seen.x_low = max(seen.x_peak, other.x_peak), min(seen.x_low, other.x_low)
        result[each.site.name] = each, seen
    return placed(found, result), said(len(missing))


def _add(found: dict[str, Seen], site: Site, view: GemmView) -> None:
    for name, operand in (("x", view.x), ("w", view.w)):
        if not bool(torch.isfinite(operand).all()):
            raise InputError(
                f"{name} of {site.name} holds NaN or infinity on the calibration samples; "
                "quantization needs finite numbers"
            )
    static = view.weight is not None
    (x_low, x_high), (w_low, w_high) = (map(float, torch.aminmax(operand)) for operand in (view.x, view.w))
    now = Seen(
        site=site,
        stored=distinct(view.w.detach()) if static else None,
        lead=view.lead,
        x_patterns=patterns(view.x),
        w_patterns=None if static else patterns(view.w),
        x_peak=max(-x_low, x_high),
        w_peak=max(-w_low, w_high),
        x_low=x_low,
        w_low=w_low,
    )
    seen = found.setdefault(site.name, now)
    if seen is now:
        return
    seen.x_patterns = seen.x_patterns + now.x_patterns
    seen.x_peak, seen.w_peak = max(seen.x_peak, now.x_peak), max(seen.w_peak, now.w_peak)
    seen.x_low, seen.w_low = min(seen.x_low, now.x_low), min(seen.w_low, now.w_low)
    if seen.w_patterns is not None and now.w_patterns is not None:
        seen.w_patterns = seen.w_patterns + now.w_patterns
