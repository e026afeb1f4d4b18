"""The plan of a GGUF file: its own blocks of codes, scales and minima, and activations rounded as it is run.

A block's real is scale * code + minimum, so that a product is, block by block of the reduction, scale x * (scale w *
sum(code x * code w) + minimum * sum(code x)). llama.cpp rounds activations to 8 bits by max |x| / 127 of as many
elements as a block has (Q8_0, Q8_1: 32; Q8_K: 256); it keeps the scales of the first two in float16, here they are
float32, and exact halves go to even codes. What is no product by a matrix of blocks stays float, attention included.
"""

import dataclasses
from collections import Counter

import torch

from bitwright.formats import Integer, PerGroup
from bitwright.methods.integer.gemm import encode_w
from bitwright.methods.plan import FLOAT_SITE, OperandPlan, Plan, SitePlan
from bitwright.networks.fingerprint import fingerprint
from bitwright.networks.gguf_blocks import Scales
from bitwright.networks.gguf_file import GgufFile, Weights
from bitwright.networks.mode import SiteMode
from bitwright.networks.network import Network
from bitwright.networks.sites import Site
from bitwright.networks.trace import example_batch
from bitwright.networks.view import GemmView

ACTIVATION_BITS = 8
ROUNDED = (
    "activations are rounded to 8 bits by max |x| / 127 of every block of the reduction as the network runs, as "
    "llama.cpp does, with scales in float32 (it keeps those of blocks of 32 in float16)"
)


def plan_of_blocks(network: Network, file: GgufFile, plan: Plan) -> Plan:
    """The plan that a GGUF file's blocks state for its network.

    Raises
    ------
    InputError
        The file is not there any more, or damaged.
    """
    assert network.module is not None
    weights, sites = file.weights(), dict[str, SitePlan]()
    left: Counter[str] = Counter()

    def handle(site: Site, view: GemmView) -> torch.Tensor:
        if site.name not in sites:
            found = _site_plan(view, weights)
            left[found if isinstance(found, str) else ""] += 1
            sites[site.name] = FLOAT_SITE if isinstance(found, str) else found
        return view.float_result()

    with torch.no_grad(), SiteMode(network.module, handle):
        network.forward(example_batch(network))
    told = [f"{count} of {len(sites)} products are float: {why}" for why, count in left.most_common() if why]
    rounded = [ROUNDED] if left[""] else []
    return dataclasses.replace(
        plan,
        fingerprint=fingerprint(network),
        sites=sites,
        notes=(*plan.notes, *network.notes, *rounded, *told),
    )


def _site_plan(view: GemmView, weights: Weights) -> SitePlan | str:
    """The plan of a product by blocks, or why it is float."""
    if view.weight is None:
        return "both operands are activations"
    if not view.plain or view.w.dim() != 2:
        return "their weights are no matrices"
    found = weights.scales(view.w)
    if found is None:
        return "their weights are no blocks in the file"
    if isinstance(found, str):
        return f"codes of {found} are no integers with a scale, or not read"
    plan = site_plan(found)
    codes = encode_w(view, plan)
    if not torch.equal(codes.dequantize(), view.w.float()):
        return "codes, scales and minima do not give the file's numbers in float32"
    return plan


def site_plan(scales: Scales) -> SitePlan:
    """Operands of a product by blocks of these scales; blocks of zeros have a scale of 1.

    Unsigned codes are held as signed ones, and half their range as the code of zero.
    """
    kind = scales.kind
    scale = torch.from_numpy(scales.scale.copy())
    w = OperandPlan(
        format=Integer(bits=kind.bits, signed=True),
        granularity=PerGroup(kind.size),
        scale=torch.where(scale == 0, 1.0, scale),
        zero_point=-(2 ** (kind.bits - 1)) if kind.unsigned else 0,
        minimum=None if scales.minimum is None else torch.from_numpy(scales.minimum.copy()),
        scale_bits=kind.scale_bits,
    )
    x = OperandPlan(format=Integer(bits=ACTIVATION_BITS, signed=True, narrow=True), granularity=PerGroup(kind.block))
    return SitePlan(x=x, w=w)
