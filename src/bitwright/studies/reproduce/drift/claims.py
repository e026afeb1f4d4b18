"""What is said of Drift, and what of it can be checked here.

Public are the authors' abstract (DAC 2024, DOI 10.1145/3649329.3655986) and no other figure, table of energy, of area
or of accuracy. The rival of the headline is not named, so every rival has a row.
"""

from collections.abc import Mapping

from bitwright.studies.reproduce.claims import Claim
from bitwright.studies.reproduce.drift.arrays import BITFUSION, EYERISS, ROW_GROUPS, SEQ, drq_name
from bitwright.studies.reproduce.drift.bounds import equal_share

SPEEDUP, SAVING = 2.85, 3.12
ABSTRACT = (
    "abstract of DOI 10.1145/3649329.3655986: over existing precision-flexible accelerators with statically quantized "
    "models; which one it does not say"
)
DERIVED = "derived from the abstract's figure, not published"
INT8 = "int8"
RIVALS: Mapping[str, str] = {
    INT8: "static INT8 on the same bit groups",
    BITFUSION: "BitFusion, static INT8",
    **{drq_name(groups): f"DRQ at G = {groups}" for groups in ROW_GROUPS},
    EYERISS: "Eyeriss, 16 bits",
    SEQ: "the same four products in turn on the whole array (seq)",
}
SPEEDUPS = {
    rival: Claim(claim=f"speed-up over {said}", source=ABSTRACT, published=SPEEDUP, unit="x")
    for rival, said in RIVALS.items()
}
SAVINGS = {
    rival: Claim(claim=f"energy saving over {said}", source=ABSTRACT, published=SAVING, unit="x")
    for rival, said in RIVALS.items()
}
FLUID = Claim(
    claim="speed-up over static INT8 on an equal array, of multipliers alone, at the stated shares",
    source="abstract, as above, beside 1 / ((1 - a/2)(1 - b/2)), which is derived here",
    published=SPEEDUP,
    unit="x",
    headline=False,
)
SHARE = Claim(
    claim="share of each operand that must be narrow for the speed-up on an equal array; measured: reached in budget",
    source=f"{DERIVED}: 1 / ((1 - a/2)(1 - b/2)) with a = b",
    published=100 * equal_share(SPEEDUP),
    unit="%",
    headline=False,
)
ENERGY_SHARE = Claim(
    claim="share of each operand that must be narrow for the energy saving on an equal array",
    source=f"{DERIVED}: as if all energy were multiplier time; measured: from the parts of energy here, at best",
    published=100 * equal_share(SAVING),
    unit="%",
    headline=False,
)
BUDGET = Claim(
    claim="speed-up of multipliers over static INT8 within the budget of accuracy",
    source=ABSTRACT,
    published=SPEEDUP,
    unit="x",
    headline=False,
)
DISTORTION = Claim(
    claim="relative squared error of narrow sub-tensors, 1 - u / sinh(u) with u = 1 / (2 delta)",
    source="derived for Laplace data, not published; applied to the deviations measured here",
    published=None,
    unit="%",
    headline=False,
)
OF_SHAPES = (*SPEEDUPS.values(), *SAVINGS.values(), FLUID, ENERGY_SHARE)
OF_WEIGHTS = (BUDGET, SHARE, DISTORTION)
"""Asked of each network with weights."""

CLAIMS = (*OF_SHAPES, *OF_WEIGHTS)
"""Everything that is asked."""
