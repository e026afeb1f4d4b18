"""What calibration of a tabled format sees: every static weight, and a draw of each activation's values."""

import dataclasses
import zlib
from collections.abc import Sequence

import torch

from bitwright.errors import InputError
from bitwright.networks.calls import Call
from bitwright.networks.network import Batch, Network
from bitwright.networks.sites import Site
from bitwright.networks.trace import observe

DRAWN = 4096  # values of each run-time operand, over all batches; our choice


@dataclasses.dataclass(kw_only=True)
class Seen:
    """One site.

    Attributes
    ----------
    site : Site
        As first seen.
    x : torch.Tensor
        float32 [values]: drawn evenly from x over all batches.
    w : torch.Tensor
        float32 [values] of a w that is computed at run time; else the weight itself, in the call's layout.
    x_peak, w_peak : float
        Largest magnitude of either.
    x_low, w_low : float
        Smallest value of either.
    """

    site: Site
    x: torch.Tensor
    w: torch.Tensor
    x_peak: float
    w_peak: float
    x_low: float
    w_low: float


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
    share = -(-DRAWN // len(samples))

    def watch(site: Site, call: Call) -> torch.Tensor:
        if call.x.numel():
            _add(found, site, call, share)
        return call.float_result()

    for batch in samples:
        observe(network, batch, watch)
    return found


def _add(found: dict[str, Seen], site: Site, call: Call, share: int) -> None:
    for name, operand in (("x", call.x), ("w", call.w)):
        if not bool(torch.isfinite(operand).all()):
            raise InputError(
                f"{name} of {site.name} holds NaN or infinity on the calibration samples; "
                "quantization needs finite numbers"
            )
    static = call.weight is not None
    now = Seen(
        site=site,
        x=_draw(call.x, share, site.name),
        w=call.w.detach().float() if static else _draw(call.w, share, site.name),
        x_peak=float(call.x.abs().max()),
        w_peak=float(call.w.abs().max()),
        x_low=float(call.x.min()),
        w_low=float(call.w.min()),
    )
    seen = found.setdefault(site.name, now)
    if seen is now:
        return
    seen.x = torch.cat([seen.x, now.x])
    seen.x_peak, seen.w_peak = max(seen.x_peak, now.x_peak), max(seen.w_peak, now.w_peak)
    seen.x_low, seen.w_low = min(seen.x_low, now.x_low), min(seen.w_low, now.w_low)
    if not static:
        seen.w = torch.cat([seen.w, now.w])


def _draw(tensor: torch.Tensor, count: int, name: str) -> torch.Tensor:
    """`count` elements chosen at random, with repetition; the same for the same name."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    flat = tensor.detach().reshape(-1)
    chosen = torch.randint(len(flat), (count,), generator=generator).to(flat.device)
    return flat[chosen].float()
