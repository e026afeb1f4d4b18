"""Root mean square errors of weights in log posits and their rivals, layer by layer.

As published, the poster's box plot says neither of which network nor at which width; here every layer of a network with
numbers is rounded at 4, 6 and 8 bits. Our choices, each per tensor: log posits and LNS (log posits with rs = 1, uniform
in log2) take the fields of least error; posits have no scale and take the best es of 0, 1 and 2; AdaptivFloat has the
bias of its largest magnitude and the best of 2, 3 and 4 exponent bits; integers are symmetric up to the largest
magnitude.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import torch

from bitwright.formats import AdaptivFloat, Integer, LogPosit, Posit, RegimeRule, TableFormat, adaptivfloat_scale
from bitwright.methods.lpq.fields import least_error, tables
from bitwright.networks.network import Network
from bitwright.networks.sites import Site
from bitwright.networks.trace import example_batch, observe
from bitwright.networks.view import GemmView
from bitwright.studies.reproduce.claims import Claim
from bitwright.studies.reproduce.lp import claims as published

WIDTHS = (4, 6, 8)
SHOWN = 6
"""Bits of the figure in a claim's row; the other widths stand in its reason."""
MAX_ES = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightError:
    """One layer in one format.

    Attributes
    ----------
    site : str
        The layer.
    kind : str
        Of `published.KINDS`.
    bits : int
        Of a word.
    rmse : float
        Root mean square of the errors.
    relative : float
        The same by the root mean square of the weights.
    """

    site: str
    kind: str
    bits: int
    rmse: float
    relative: float


def weight_errors(network: Network) -> tuple[WeightError, ...]:
    """Of every layer of a network with numbers; none of one with shapes only."""
    if network.shape_only:
        return ()
    weights: dict[str, torch.Tensor] = {}

    def watch(site: Site, view: GemmView) -> torch.Tensor:
        if view.weight is not None:
            weights[site.name] = view.w.detach().float().reshape(-1)
        return view.float_result()

    observe(network, example_batch(network), watch)
    return tuple(error for name, values in weights.items() for error in _errors(name, values))


def _errors(site: str, values: torch.Tensor) -> Iterator[WeightError]:
    size = float(values.square().mean().sqrt()) or 1.0
    for bits in WIDTHS:
        for kind, rounded in _rounded(values, bits).items():
            rmse = float((rounded - values).square().mean().sqrt())
            yield WeightError(site=site, kind=kind, bits=bits, rmse=rmse, relative=rmse / size)


def _rounded(values: torch.Tensor, bits: int) -> dict[str, torch.Tensor]:
    """`values` in a word of `bits` of each kind."""
    peak, one = float(values.abs().max()), torch.ones(())
    flat = [pair for pair in tables(bits, MAX_ES) if pair == (0, 1)] + [(es, 2) for es in range(MAX_ES)]
    floats = [AdaptivFloat(bits=bits, exponent_bits=e) for e in (2, 3, 4) if e < bits]
    whole = Integer(bits=bits, narrow=True)
    step = peak / whole.high or 1.0
    return {
        "LP": _log_posit(values, bits, tables(bits, MAX_ES)),
        "posit": _best(values, [Posit(n=bits, es=es) for es in (0, 1, 2)], [one] * 3),
        "AdaptivFloat": _best(values, floats, [torch.tensor(adaptivfloat_scale(peak, fmt)) for fmt in floats]),
        "LNS": _log_posit(values, bits, flat),
        "integer": whole.encode(values / step) * step,
    }


def _log_posit(values: torch.Tensor, bits: int, choices: Sequence[tuple[int, int]]) -> torch.Tensor:
    fields = least_error(values, bits, max_es=MAX_ES, rule=RegimeRule.CAPPED, choices=choices)
    fmt: LogPosit = fields.format(RegimeRule.CAPPED)
    return fmt.lookup().rounded(values, fields.scale)


def _best(values: torch.Tensor, formats: Sequence[TableFormat], scales: Sequence[torch.Tensor]) -> torch.Tensor:
    """In the one of `formats` that loses least."""
    tried = [fmt.lookup().rounded(values, scale) for fmt, scale in zip(formats, scales, strict=True)]
    return min(tried, key=lambda rounded: float((rounded - values).square().sum()))


def quartiles(errors: Sequence[float]) -> tuple[float, float, float, float, float]:
    """Least, first quartile, median, third quartile, largest."""
    found = torch.tensor(sorted(errors), dtype=torch.float64).quantile(torch.tensor([0, 0.25, 0.5, 0.75, 1]).double())
    least, first, median, third, largest = found.tolist()
    return least, first, median, third, largest


def error_claims(errors: Sequence[tuple[str, WeightError]]) -> list[Claim]:
    """The poster's medians beside those over the layers of all networks, which `errors` go with."""
    found = []
    networks = ", ".join(dict.fromkeys(network for network, _ in errors))
    for kind, claim in published.ERRORS.items():
        median = {
            bits: quartiles([each.rmse for _, each in errors if (each.kind, each.bits) == (kind, bits)])[2]
            for bits in WIDTHS
        }
        share = quartiles([each.relative for _, each in errors if (each.kind, each.bits) == (kind, SHOWN)])[2]
        told = "; ".join(f"{bits} bits: {median[bits]:.4f}" for bits in WIDTHS)
        reason = (
            f"The chart does not say of which network and width it is; medians over layers here: {told}. At {SHOWN} "
            f"bits that is {share:.1%} of the weights' own root mean square, which no scale changes."
        )
        found.append(
            claim.found(median[SHOWN], {"networks": networks, "bits": str(SHOWN), "scales": "per tensor"}, reason)
        )
    return found
