"""Synthetic operands: drawn numbers in place of those that a network with shapes only does not have.

With them, machines whose costs depend on the operands' values can cost such a network. What they charge then is true of
the distribution, not of the network, and every result says so. All of it is our choice: x is drawn as `DISTRIBUTIONS`
says, w (parameters, keys and values alike) is gaussian. Two things the network itself decides: what comes straight out
of a ReLU is one-sided, and the left operand of attention's PV is exp(score - row maximum) of gaussian scores, causally
masked where the network asks for that; masks that are given as tensors have no numbers either and hide nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from bitwright.errors import InputError, unknown_name
from bitwright.later import later, torch
from bitwright.networks.catalogue import DISTRIBUTIONS
from bitwright.networks.network import Batch, Network
from bitwright.networks.sites import Site
from bitwright.networks.view import GemmView, taps_of, windows_of

if TYPE_CHECKING:
    from bitwright.networks import attention, mode
    from bitwright.networks import rectified as rectification
else:
    attention = later("bitwright.networks.attention")
    mode = later("bitwright.networks.mode")
    rectification = later("bitwright.networks.rectified")

OUTLIER_SHARE = 0.01  # of the input channels, at least one
OUTLIER_SCALE = 20.0
EXPONENTIALS = "exponentials"  # what x of attention's PV is drawn as
CAUSAL = "causal exponentials"


def check_distribution(distribution: str) -> None:
    """Raise `InputError`, with the names that there are, for an unknown one."""
    if distribution not in DISTRIBUTIONS:
        raise unknown_name("distribution", distribution, DISTRIBUTIONS)


def with_distribution(network: Network, distribution: str, seed: int = 0) -> Network:
    """A network with shapes only, given operands; its notes say that they are synthetic.

    Raises
    ------
    InputError
        Unknown distribution, or a network that computes.
    """
    check_distribution(distribution)
    if not network.shape_only:
        raise InputError(
            f"{network.name} has numbers of its own, so no synthetic ones are drawn for it; leave --distribution out."
        )
    note = (
        f"operands are synthetic ({distribution}, seed {seed}): "
        "skip rates and costs that depend on values are not this network's"
    )
    return dataclasses.replace(network, distribution=distribution, distribution_seed=seed, notes=(*network.notes, note))


def describe(network: Network) -> str:
    """The network's synthetic operands in a phrase."""
    return f"synthetic operands ({network.distribution}, seed {network.distribution_seed})"


def draw(kind: str, shape: Sequence[int], *, generator: torch.Generator, axis: int = -1) -> torch.Tensor:
    """Float32 numbers of a distribution, on the CPU.

    Parameters
    ----------
    kind : str
        One of `DISTRIBUTIONS`, or `EXPONENTIALS` or `CAUSAL` for a tensor [..., M, T].
    shape : sequence of int
        Of the result.
    generator : torch.Generator
        Where randomness comes from; it is advanced.
    axis : int
        The channels, for `outliers`.

    Examples
    --------
    >>> float(draw("one-sided", (2, 3), generator=torch.Generator().manual_seed(0)).min())
    0.0
    """
    if kind in (EXPONENTIALS, CAUSAL):
        return _exponentials(shape, generator, causal=kind == CAUSAL)
    if kind == "laplace":  # the difference of two exponentials
        x = torch.empty(*shape).exponential_(generator=generator)
        return x.sub_(torch.empty(*shape).exponential_(generator=generator)).mul_(math.sqrt(0.5))
    x = torch.randn(*shape, generator=generator)
    if kind == "one-sided":
        return x.clamp_min_(0)
    if kind == "outliers":
        channels = x.shape[axis]
        count = max(1, round(OUTLIER_SHARE * channels))
        chosen = torch.randperm(channels, generator=generator)[:count]
        x.movedim(axis, 0)[chosen] *= OUTLIER_SCALE
    return x


def _exponentials(shape: Sequence[int], generator: torch.Generator, *, causal: bool) -> torch.Tensor:
    """One head after the other: a whole layer's scores at once would be several times the result."""
    x = torch.empty(*shape)
    for head in x.view(math.prod(shape[:-2]), *shape[-2:]):
        head.copy_(attention.exponentials(torch.randn(*shape[-2:], generator=generator), is_causal=causal))
    return x


@dataclasses.dataclass(frozen=True, kw_only=True)
class SyntheticSite:
    """A site and how its operands are drawn.

    Attributes
    ----------
    site : Site
        Name and shape.
    shapes : GemmView
        The product, on the meta device.
    kind : str
        What x is drawn as.
    seed : int
        Of the drawing; each operand's generator depends on its shape, operation and role too.
    same_as : str
        The first site with the very same operands, where that is an earlier one.
    """

    site: Site
    shapes: GemmView
    kind: str
    seed: int
    same_as: str = ""

    @property
    def first(self) -> tuple[object, ...]:
        """The first site with these operands, itself or `same_as`, and their shapes: a site's may vary."""
        return self.same_as or self.site.name, self.shapes.x.shape, self.shapes.w.shape

    def view(self) -> GemmView:
        """The product with operands, drawn anew and always alike; its float result has a shape only."""
        shapes, groups = self.shapes, self.shapes.groups
        if shapes.spatial:
            x = windows_of(self._draw("x", self.kind, shapes.images(shapes.x), axis=1), groups)
            w = taps_of(self._draw("w", "gaussian", shapes.filters(shapes.w)), groups)
        else:
            x = self._draw("x", self.kind, shapes.x)
            turned = shapes.w.transpose(-1, -2) if shapes.lead else shapes.w
            w = self._draw("w", "gaussian", turned, shared=shapes.shared)
            w = w.transpose(-1, -2) if shapes.lead else w
        weight = w if self.site.static_weight else None
        return dataclasses.replace(shapes, x=x, w=w, weight=weight, bias=None, compute=self._result)

    def _result(self) -> torch.Tensor:
        """What nobody needs the numbers of: an empty tensor of the result's shape, on the meta device."""
        return self.shapes.float_result()

    def _draw(self, role: str, kind: str, like: torch.Tensor, *, axis: int = -1, shared: int = 1) -> torch.Tensor:
        """One operand; what a broadcast axis or grouped-query heads repeat is drawn once."""
        shape = [size if stride else 1 for size, stride in zip(like.shape, like.stride(), strict=True)]
        if shared > 1:
            shape[-3] //= shared
        generator = _generator(self.seed, kind, self.site.op, role, *shape)
        found = draw(kind, shape, generator=generator, axis=axis)
        found = found.repeat_interleave(shared, dim=-3) if shared > 1 else found
        return found.expand(like.shape)


def _generator(*what: object) -> torch.Generator:
    """A generator of its own for each thing that is drawn, alike in every process."""
    digest = hashlib.sha256(repr(what).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big"))


def synthetic_sites(network: Network, batch: Batch) -> list[SyntheticSite]:
    """Every site of a network with synthetic operands, in the order in which they run on `batch`; nothing is drawn.

    A network without a module needs no batch: an empty one does.
    """
    found: list[SyntheticSite] = []
    first: dict[tuple[object, ...], str] = {}
    for site, view, rectified in _shapes(network, batch):
        kind = _kind(view, network.distribution, rectified=rectified)
        key = (dataclasses.replace(site, name=""), view.lead, view.x.shape, view.w.shape, view.shared, kind)
        name = first.setdefault(key, site.name)
        found.append(
            SyntheticSite(
                site=site,
                shapes=view,
                kind=kind,
                seed=network.distribution_seed,
                same_as="" if name == site.name else name,
            )
        )
    return found


def synthetic_calls(network: Network, batch: Batch) -> Iterator[tuple[Site, GemmView, str]]:
    """Every site with its product and the name of the first site that has the very same tensors ("": itself).

    Tensors are drawn once and kept while a later site needs them.
    """
    sites = synthetic_sites(network, batch)
    left, drawn = Counter(each.first for each in sites), dict[tuple[object, ...], GemmView]()
    for each in sites:
        if each.first not in drawn:
            drawn[each.first] = each.view()
        left[each.first] -= 1
        yield each.site, drawn[each.first] if left[each.first] else drawn.pop(each.first), each.same_as


def _kind(view: GemmView, distribution: str, *, rectified: bool) -> str:
    if view.op == "attention_pv":
        return CAUSAL if view.causal else EXPONENTIALS
    return "one-sided" if rectified else distribution


def _shapes(network: Network, batch: Batch) -> list[tuple[Site, GemmView, bool]]:
    """Every site with its product on the meta device, and whether its x comes straight out of a ReLU."""
    if network.module is None:
        return [(site, _view_of(site), False) for site in network.sites]
    found: list[tuple[Site, GemmView, bool]] = []
    rectified = rectification.Rectified()

    def note(site: Site, view: GemmView) -> torch.Tensor:
        found.append((site, view, (view.x if view.source is None else view.source) in rectified))
        return view.float_result()

    with torch.no_grad(), mode.SiteMode(network.module, note, rectified.watch):
        network.forward(batch)
    return found


def _view_of(site: Site) -> GemmView:
    """The product that a site without a module stands for, on the meta device; attention has one batch element."""

    def of(x: Sequence[int], w: Sequence[int], lead: int = 0) -> GemmView:
        weight = torch.empty(*w, device="meta")
        known = weight if site.static_weight else None
        return GemmView(op=site.op, x=torch.empty(*x, device="meta"), w=weight, lead=lead, weight=known)

    conv, groups = site.conv, site.groups
    if conv is not None:
        view = of(
            (site.m // math.prod(conv.output_size), conv.channels, *conv.input_size),
            (site.n * groups, conv.channels // groups, *conv.kernel),
        )
        return dataclasses.replace(
            view,
            x=windows_of(view.x, groups),
            w=taps_of(view.w, groups),
            lead=int(groups > 1),
            stride=conv.stride,
            padding=conv.padding,
            dilation=conv.dilation,
        )
    if site.op in ("attention_qk", "attention_pv"):
        return of((1, groups, site.m, site.k), (1, groups, site.n, site.k), 2)
    if groups > 1:
        return of((groups, site.m, site.k), (groups, site.n, site.k), 1)
    return of((site.m, site.k), (site.n, site.k))
