"""Which widths a network's sites have on each machine.

The widths per layer behind the published figures are not public, so mixes are stated, never fitted. `8 bits` and
`4 bits` are what every machine does without choosing. `mixed` gives shares of the products other widths, spread
evenly over the network in the order of execution; the shares are options. LPA's activations are twice as wide as its
weights, at most 8 bits (recollected); its attention has 8 bits, as it has no weights. AdaptivFloat always has 8 bits.
"""

from collections.abc import Mapping, Sequence

import pydantic

from bitwright.formats import AdaptivFloat, Flint, Format, Integer, LogPosit, PerTensor
from bitwright.methods.plan import OperandPlan, Plan, SitePlan
from bitwright.networks.sites import Site

EIGHT, FOUR, MIXED = "8 bits", "4 bits", "mixed"
MIXES: Mapping[str, str] = {
    EIGHT: "all operands of 8 bits",
    FOUR: "LPA: weights of 4 bits, activations of 8, attention 8 by 8; ANT and BitFusion: 4 by 4; AdaptivFloat: 8 by 8",
    MIXED: "shares of products at other widths, as the options say",
}
ARTIFACT_WIDE = {"resnet50": 0.58, "vit-base": 0.96}
"""Share of products with 8 bits in the ANT artifact's lists of layers for BitFusion (its bench files, counted)."""
OTHERWISE = 0.5
Widths = tuple[int, int]
"""Of x and of w."""


class MixOptions(pydantic.BaseModel):
    """Shares of a network's products, 0 to 1, in the mix `mixed`."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    lpa_narrow: float = pydantic.Field(0.25, ge=0, le=1, description="on LPA, weights of 2 bits; our choice")
    lpa_wide: float = pydantic.Field(0.1, ge=0, le=1, description="on LPA, weights of 8 bits; our choice")
    ant_wide: float = pydantic.Field(0.1, ge=0, le=1, description="on ANT, 8 by 8 bits; our choice")
    bitfusion_wide: float | None = pydantic.Field(
        None, ge=0, le=1, description="on BitFusion, 8 by 8 bits; None: the ANT artifact's, or half where it has none"
    )

    @pydantic.model_validator(mode="after")
    def _check_lpa(self) -> "MixOptions":
        if self.lpa_narrow + self.lpa_wide > 1:
            raise ValueError("lpa_narrow and lpa_wide are shares of one whole")
        return self

    def bitfusion_share(self, network: str) -> float:
        """Of the network of that name."""
        return ARTIFACT_WIDE.get(network, OTHERWISE) if self.bitfusion_wide is None else self.bitfusion_wide

    @property
    def in_words(self) -> str:
        """All shares, for reports."""
        shares = {key: f"{share}" for key, share in self.model_dump().items()}
        if self.bitfusion_wide is None:
            known = ", ".join(f"{network} {share}" for network, share in ARTIFACT_WIDE.items())
            shares["bitfusion_wide"] = f"the ANT artifact's ({known}; {OTHERWISE} elsewhere)"
        return ", ".join(f"{key}={share}" for key, share in shares.items())


def widths_of(machine: str, mix: str, sites: Sequence[Site], options: MixOptions, network: str) -> dict[str, Widths]:
    """By site, the widths that a machine multiplies in a mix."""
    if machine == "adaptivfloat" or mix == EIGHT:
        return {site.name: (8, 8) for site in sites}
    if machine == "lpa":
        return _lpa(mix, sites, options)
    share = options.ant_wide if machine == "ant" else options.bitfusion_share(network)
    wide = spread(sites, share) if mix == MIXED else set()
    return {site.name: (8, 8) if site.name in wide else (4, 4) for site in sites}


def _lpa(mix: str, sites: Sequence[Site], options: MixOptions) -> dict[str, Widths]:
    weighted = [site for site in sites if site.static_weight]
    narrow: set[str] = set()
    wide: set[str] = set()
    if mix == MIXED:
        wide = spread(weighted, options.lpa_wide)
        rest = [site for site in weighted if site.name not in wide]
        narrow = spread(rest, options.lpa_narrow / (1 - options.lpa_wide) if options.lpa_wide < 1 else 0)
    bits = {site.name: 2 if site.name in narrow else 8 if site.name in wide else 4 for site in weighted}
    return {
        site.name: (min(8, 2 * bits[site.name]), bits[site.name]) if site.static_weight else (8, 8) for site in sites
    }


def spread(sites: Sequence[Site], share: float) -> set[str]:
    """Names of sites with that share of all products or nearly, spread evenly over their order.

    A site is taken where that brings the share of what has passed nearer to the one asked for.
    """
    taken: set[str] = set()
    macs_taken, macs_seen = 0, 0
    for site in sites:
        macs_seen += site.macs
        if macs_taken + site.macs / 2 < share * macs_seen:
            taken.add(site.name)
            macs_taken += site.macs
    return taken


def plan_of(machine: str, mix: str, widths: Mapping[str, Widths]) -> Plan:
    """Formats without scales: all that costs depend on."""
    sites = {
        name: SitePlan(x=_operand(machine, x_bits), w=_operand(machine, w_bits))
        for name, (x_bits, w_bits) in widths.items()
    }
    return Plan(method=f"{mix} on {machine}", sites=sites)


def _operand(machine: str, bits: int) -> OperandPlan:
    return OperandPlan(format=_format(machine, bits), granularity=PerTensor())


def _format(machine: str, bits: int) -> Format:
    """A format of the machine's; its other fields cost nothing."""
    if machine == "lpa":
        return LogPosit(n=bits, es=min(2, bits - 2), rs=1)
    if machine == "adaptivfloat":
        return AdaptivFloat(bits=bits)
    return Flint(bits=bits) if machine == "ant" and bits == 4 else Integer(bits=bits)
