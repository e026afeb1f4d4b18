"""What all exports of shapes share: a network's products, one by one, and what is said of those that are not told."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bitwright.errors import InputError
from bitwright.methods.plan import Plan
from bitwright.networks.network import Network
from bitwright.networks.sites import Site
from bitwright.networks.trace import Trace, trace
from bitwright.words import counted

MOST_LAYERS = 20_000
OPERAND_BITS = 8
SUM_BITS = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exported:
    """What an export wrote.

    Attributes
    ----------
    files : tuple of Path
        The files.
    layers : int
        Layers in them.
    macs : int
        Multiply-accumulates of these layers.
    notes : tuple of str
        What they do not tell of the network.
    """

    files: tuple[Path, ...]
    layers: int
    macs: int
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Widths:
    """Bits of a layer's operands, of its sums and of its outputs."""

    x: int = OPERAND_BITS
    w: int = OPERAND_BITS
    sums: int = SUM_BITS
    y: int = OPERAND_BITS


def products_of(network: Network) -> Trace:
    """The products of one inference of a network, on its own example.

    Raises
    ------
    InputError
        It has none.
    """
    traced = trace(network)
    if not traced.sites:
        raise InputError(
            f"{network.name} has no products that could be written; a network with at least one is expected"
        )
    return traced


def widths_of(site: Site, plan: Plan | None) -> Widths:
    """Widths of a plan's operands; without a plan, of 8-bit ones."""
    if plan is None:
        return Widths()
    of_site = plan.site(site.name)
    return Widths(x=of_site.x_bits, w=of_site.w_bits, y=of_site.x_bits)


def runs(sites: Sequence[Site], parts: Callable[[Site], int] = lambda _: 1) -> Iterator[tuple[str, Site]]:
    """Every run of every site with a name of its own, as often as `parts` says.

    Raises
    ------
    InputError
        There are more than `MOST_LAYERS`.
    """
    total = sum(site.count * parts(site) for site in sites)
    if total > MOST_LAYERS:
        raise InputError(
            f"{total:,} layers would be written, one for each run of a product; at most {MOST_LAYERS:,} are, so take a "
            "shorter sequence or a smaller batch"
        )
    taken: set[str] = set()
    for site in sites:
        for run, part in itertools.product(range(site.count), range(parts(site))):
            name = f"{site.name}.{run + 1}" if site.count > 1 else site.name
            name = f"{name}.g{part}" if parts(site) > 1 else name
            while name in taken:
                name = f"{name}+"
            taken.add(name)
            yield name, site


def is_depthwise(site: Site) -> bool:
    """Whether every channel of a convolution has its own filters."""
    return site.conv is not None and site.groups == site.conv.channels and site.groups > 1


def left_out(traced: Trace, *, tells_sources: bool = False) -> tuple[str, ...]:
    """What a file of products does not tell; `tells_sources`: it does tell what is constant."""
    kinds = [each.name for each in traced.others if each.work or each.macs]
    computed = [] if tells_sources else [site.name for site in traced.sites if not site.static_weight]
    shared = [site.name for site in traced.sites if site.conv is None and _is_shared(site)]
    notes = (
        (kinds, f"what is no product is not in the file: {counted(len(kinds), 'kind')} of operators"),
        (
            computed,
            f"that w is computed at run time is not in the file, as it is of {counted(len(computed), 'product')}",
        ),
        (shared, f"that groups share an operand is not in the file, as they do in {counted(len(shared), 'product')}"),
    )
    return tuple(note for names, note in notes if names)


def _is_shared(site: Site) -> bool:
    return site.x_elements < site.groups * site.m * site.k or site.w_elements < site.groups * site.k * site.n
