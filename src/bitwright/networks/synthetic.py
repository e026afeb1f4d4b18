"""Synthetic operands: drawn numbers in place of those that a network with shapes only does not have.

With them, machines whose costs depend on the operands' values can cost such a network. What they charge then is true of
the distribution, not of the network, and every result says so. All of it is our choice: x is drawn as `DISTRIBUTIONS`
says, w (parameters, keys and values alike) is gaussian. Two things the network itself decides: what comes straight out
of a ReLU is one-sided, and the left operand of attention's PV is exp(score - row maximum) of gaussian scores, causally
masked where the network asks for that; masks that are given as tensors have no numbers either and hide nothing.
"""

import dataclasses
import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence

import torch

from bitwright.errors import InputError, unknown_name
from bitwright.networks.attention import exponentials
from bitwright.networks.calls import Call
from bitwright.networks.catalogue import DISTRIBUTIONS
from bitwright.networks.mode import SiteMode
from bitwright.networks.network import Batch, Network
from bitwright.networks.rectified import Rectified
from bitwright.networks.sites import Site

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
        head.copy_(exponentials(torch.randn(*shape[-2:], generator=generator), is_causal=causal))
    return x


@dataclasses.dataclass(frozen=True, kw_only=True)
class SyntheticCall(Call):
    """A call whose operands are drawn. Nobody needs its result, which therefore has a shape only."""

    def float_result(self) -> torch.Tensor:
        """An empty tensor of the result's shape, on the meta device."""
        shapes = Call(**vars(self) | {"x": self.x.to("meta"), "w": self.w.to("meta")})
        return shapes.float_result()


@dataclasses.dataclass(frozen=True, kw_only=True)
class SyntheticSite:
    """A site and how its operands are drawn.

    Attributes
    ----------
    site : Site
        Name and shape.
    shapes : Call
        The call, on the meta device.
    kind : str
        What x is drawn as.
    seed : int
        Of the drawing; each operand's generator depends on its shape, operation and role too.
    same_as : str
        The first site with the very same operands, where that is an earlier one.
    """

    site: Site
    shapes: Call
    kind: str
    seed: int
    same_as: str = ""

    @property
    def first(self) -> str:
        """The first site with these operands: itself, or `same_as`."""
        return self.same_as or self.site.name

    def call(self) -> SyntheticCall:
        """The call with operands, drawn anew and always alike."""
        shapes = self.shapes
        x = self._draw("x", self.kind, shapes.x, axis=1 if shapes.layout == "conv2d" else -1)
        w = self._draw("w", "gaussian", shapes.w, shared=shapes.shared)
        weight = w if self.site.static_weight else None
        return SyntheticCall(**vars(shapes) | {"x": x, "w": w, "weight": weight, "bias": None})

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
    for site, call, rectified in _shapes(network, batch):
        kind = _kind(call, network.distribution, rectified=rectified)
        key = (dataclasses.replace(site, name=""), call.layout, call.x.shape, call.w.shape, call.shared, kind)
        name = first.setdefault(key, site.name)
        found.append(
            SyntheticSite(
                site=site,
                shapes=call,
                kind=kind,
                seed=network.distribution_seed,
                same_as="" if name == site.name else name,
            )
        )
    return found


def synthetic_calls(network: Network, batch: Batch) -> Iterator[tuple[Site, Call, str]]:
    """Every site with its call and the name of the first site that has the very same tensors ("": itself).

    Tensors are drawn once and kept while a later site needs them.
    """
    sites = synthetic_sites(network, batch)
    left, drawn = Counter(each.first for each in sites), dict[str, Call]()
    for each in sites:
        if each.first not in drawn:
            drawn[each.first] = each.call()
        left[each.first] -= 1
        yield each.site, drawn[each.first] if left[each.first] else drawn.pop(each.first), each.same_as


def _kind(call: Call, distribution: str, *, rectified: bool) -> str:
    if call.op == "attention_pv":
        return CAUSAL if call.causal else EXPONENTIALS
    return "one-sided" if rectified else distribution


def _shapes(network: Network, batch: Batch) -> list[tuple[Site, Call, bool]]:
    """Every site with its call on the meta device, and whether its x comes straight out of a ReLU."""
    if network.module is None:
        return [(site, _call_of(site), False) for site in network.sites]
    found: list[tuple[Site, Call, bool]] = []
    rectified = Rectified()

    def note(site: Site, call: Call) -> torch.Tensor:
        found.append((site, call, call.x in rectified))
        return call.float_result()

    with torch.no_grad(), SiteMode(network.module, note, rectified.watch):
        network.forward(batch)
    return found


def _call_of(site: Site) -> Call:
    """The call that a site without a module stands for, on the meta device; attention has one batch element."""

    def of(layout: str, x: Sequence[int], w: Sequence[int]) -> Call:
        weight = torch.empty(*w, device="meta")
        return Call(
            layout=layout,
            op=site.op,
            x=torch.empty(*x, device="meta"),
            w=weight,
            weight=weight if site.static_weight else None,
        )

    conv, groups = site.conv, site.groups
    if conv is not None:
        images = site.m // math.prod(conv.output_size)
        kernel = (site.n * groups, conv.channels // groups, *conv.kernel)
        call = of("conv2d", (images, conv.channels, *conv.input_size), kernel)
        return dataclasses.replace(
            call, stride=conv.stride, padding=conv.padding, dilation=conv.dilation, groups=groups
        )
    if site.op in ("attention_qk", "attention_pv"):
        return of("batched", (1, groups, site.m, site.k), (1, groups, site.k, site.n))
    if groups > 1:
        return of("batched", (groups, site.m, site.k), (groups, site.k, site.n))
    return of("linear", (site.m, site.k), (site.n, site.k))
