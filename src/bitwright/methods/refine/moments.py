"""Second moments of what the layers with weights read: how an error of one weight adds to that of another.

The squared error of a layer's output, over the rows x of the samples, is e H e' for the error e of one output's weights
(a row of K), with H = E[x' x]; where a bias takes the mean off, the covariance counts instead. A convolution's rows are
what lies under its kernel, positions outside and channels inside, as its weight's axes are. Rows are taken evenly from
all samples, at most `ROWS` and four times K of them (our choice). x is the float network's, so that the moments of one
site do not depend on how another one is rounded.
"""

import dataclasses
import math
from collections.abc import Collection, Iterator, Mapping, Sequence

import torch

from bitwright.methods.layouts import patches
from bitwright.methods.progress import reported
from bitwright.networks.network import Batch, Network
from bitwright.networks.sites import Site
from bitwright.networks.trace import observe
from bitwright.networks.view import GemmView

ROWS = 8192
ROWS_BY_K = 4
KEPT_MEAN = 0.01
"""Share of the mean's part that stays where it is taken off: samples know it only so well (our choice)."""
BLOCK_BYTES = 2**24


@dataclasses.dataclass(kw_only=True)
class Moments:
    """Of one site's x.

    Attributes
    ----------
    count : int
        Rows so far.
    total : torch.Tensor
        Their sum [groups, K].
    product : torch.Tensor
        The sum of x' x [groups, K, K], float32.
    """

    count: int
    total: torch.Tensor
    product: torch.Tensor

    def mean_product(self, *, centred: bool) -> torch.Tensor:
        """E[x' x], or the covariance where it is `centred`; float64 [groups, K, K]."""
        found = self.product.double() / self.count
        if not centred:
            return found
        mean = self.total.double() / self.count
        return found - (1 - KEPT_MEAN) * mean.unsqueeze(-1) * mean.unsqueeze(-2)


def observe_moments(network: Network, samples: Sequence[Batch], sites: Collection[str]) -> dict[str, Moments]:
    """Moments of the x of `sites` in float; sites that read the very same tensor, one after the other, share theirs.

    Who shares is found on the first batch that reaches a site. Sites whose moments exceed float32 have none.
    """
    found: dict[str, Moments] = {}
    owner: dict[str, str] = {}
    last: list[tuple[torch.Tensor, str]] = []  # kept alive, so that no other tensor has its memory

    def watch(site: Site, view: GemmView) -> torch.Tensor:
        result = view.float_result()
        if site.name not in sites or not view.x.numel():
            return result
        if site.name not in owner:
            same = bool(last) and not view.spatial and _same(last[0][0], view.x)
            owner[site.name] = last[0][1] if same else site.name
        if owner[site.name] == site.name:
            most = max(ROWS, ROWS_BY_K * view.k) // len(samples)
            _add(found, site.name, view, max(1, most))
            last[:] = [(view.x, site.name)]
        return result

    for batch in reported(samples, "second moments"):
        last.clear()
        observe(network, batch, watch)
    finite = {name for name, each in found.items() if bool(each.product.isfinite().all())}
    return {name: found[first] for name, first in owner.items() if first in finite}


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    places = [(x.data_ptr(), x.shape, x.stride(), x.dtype) for x in (one, other)]
    return places[0] == places[1]


def _add(found: dict[str, Moments], name: str, view: GemmView, most: int) -> None:
    for rows in rows_of_x(view, most):
        total, product = rows.sum(1).double(), rows.transpose(1, 2) @ rows
        seen = found.get(name)
        if seen is None:
            found[name] = Moments(count=rows.shape[1], total=total, product=product)
        else:
            seen.count += rows.shape[1]
            seen.total += total
            seen.product += product


def rows_of_x(view: GemmView, most: int) -> Iterator[torch.Tensor]:
    """Rows of x that the product reads, float32 [groups, rows, K] by blocks: every so many, at most about `most`."""
    if not view.spatial:
        rows = view.x.detach().reshape(view.groups, -1, view.channels)
        step = -(-rows.shape[1] // most)
        yield rows[:, step // 2 :: step].float()  # first tokens, which are no usual ones, as often as they are there
        return
    x = view.x.detach()
    images = math.prod(view.rows)
    pixels = math.prod(view.output_size)
    step = -(-images * pixels // most)
    bytes_each = 4 * view.groups * view.k * max(1, pixels // step)
    start = 0
    for block in patches(view, x.reshape(*x.shape[: view.lead], images, *view.size, view.channels), 0, 0):
        here = torch.arange(-start % step, len(block) * pixels, step, device=x.device)
        start += len(block) * pixels
        for part in here.split(max(1, BLOCK_BYTES * len(here) // max(1, bytes_each))):
            places = torch.unravel_index(part, block.shape[: 1 + view.spatial])
            taken = block[places].float().unflatten(-1, (view.groups, view.channels))  # [rows, *kernel, groups, c]
            yield taken.movedim(-2, 0).flatten(2).contiguous()


def moments_bytes(shapes: Mapping[str, tuple[int, int]]) -> int:
    """What moments of sites [groups, K] take, were none of them shared."""
    return sum(4 * groups * k * k for groups, k in shapes.values())
