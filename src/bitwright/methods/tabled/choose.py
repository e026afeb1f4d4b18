"""How methods choose formats tensor by tensor: one walk over a network's sites, one choice per site."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import torch

from bitwright.errors import InputError
from bitwright.methods.plan import Plan, SitePlan
from bitwright.methods.sharing import once
from bitwright.methods.tabled.observe import Seen, observe_values, with_siblings
from bitwright.methods.tabled.tally import Tally
from bitwright.networks.fingerprint import fingerprint
from bitwright.networks.fold import fold_batch_norm
from bitwright.networks.network import Batch, Network
from bitwright.networks.trace import trace


@dataclasses.dataclass(frozen=True, kw_only=True)
class Operand:
    """What a choice is made for.

    Attributes
    ----------
    weight : torch.Tensor or None
        A static weight as the view has it.
    lead : int
        How many of the weight's axes are groups.
    tally : Tally or None
        The values of anything else; neither: shapes only.
    peak, low : float
        Largest magnitude, smallest value.
    static : bool
        A static weight.
    """

    weight: torch.Tensor | None = None
    lead: int = 0
    tally: Tally | None = None
    peak: float = 0.0
    low: float = 0.0
    static: bool = False

    @property
    def seen(self) -> bool:
        """Whether there are numbers."""
        return self.weight is not None or self.tally is not None


Choice = Callable[[str, Operand, Operand], SitePlan]
"""(site, x, w) -> the site's plan."""


def choose(network: Network, samples: Sequence[Batch], plan: Plan, choice: Choice, *, method: str) -> Plan:
    """`plan` with both operands of every site as `choice` says, batch norm folded.

    Raises
    ------
    InputError
        No samples, NaN or infinity in an operand, or synthetic operands, which these methods do not have.

    Examples
    --------
    >>> from bitwright.methods.plan import SitePlan
    >>> from bitwright.networks.load import load
    >>> mine = choose(load("gemm:4x8x2"), [], Plan(method="mine"), lambda site, x, w: SitePlan(), method="mine")
    >>> list(mine.sites)
    ['gemm']
    """
    if network.shape_only:
        if network.distribution:
            raise InputError(
                f"{network.name}: {method} has no synthetic operands; leave --distribution out, or use int8"
            )
        sites = {
            site.name: choice(site.name, Operand(), Operand(static=site.static_weight)) for site in trace(network).sites
        }
        return dataclasses.replace(plan, fingerprint=fingerprint(network), sites=sites)
    folded = fold_batch_norm(network)
    seen, notes = with_siblings(folded, once("values", (network, *samples), lambda: observe_values(folded, samples)))
    return dataclasses.replace(
        plan,
        fingerprint=fingerprint(network),
        sites=_chosen(seen, choice),
        fold_batch_norm=folded.module is not network.module,
        notes=(*plan.notes, *network.notes, *notes),
    )


def _chosen(seen: Mapping[str, Seen], choice: Choice) -> dict[str, SitePlan]:
    return {
        name: choice(
            name,
            Operand(tally=each.x, peak=each.x_peak, low=each.x_low),
            Operand(
                weight=each.weight,
                lead=each.lead,
                tally=None if each.site.static_weight else each.w,
                peak=each.w_peak,
                low=each.w_low,
                static=each.site.static_weight,
            ),
        )
        for name, each in seen.items()
    }
