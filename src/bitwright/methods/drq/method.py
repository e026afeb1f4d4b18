"""The method `drq` as the registry knows it: sensitive regions of x at 8 by 8 bits, the others at 4 by 4.

Every x that is narrow multiplies a narrow w, so that a sum has two products: of the sensitive part of x with w, and of
the rest with w without its low-order bits.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from bitwright.errors import InputError
from bitwright.formats import Quantized
from bitwright.methods.drq.options import DrqOptions
from bitwright.methods.drq.regions import dropped, narrow_elements, narrow_images, narrow_rows
from bitwright.methods.plan import Part, Plan, SitePlan
from bitwright.methods.products import integer_product
from bitwright.networks.calls import Call
from bitwright.networks.network import Batch, Network

NAME = "drq"


class DrqMethod:
    """8 bits that drop to 4, x and w together, where a region of x is small."""

    summary = "regions of small activations at 4 by 4 bits, the others at 8 by 8 (DRQ); a+drq"
    fills = frozenset({Part.PRECISION})
    options = DrqOptions
    recipes: Mapping[str, Mapping[str, Any]] = {}
    on = "int8"

    def calibrate(self, network: Network, samples: Sequence[Batch], options: DrqOptions, plan: Plan) -> Plan:
        """See `bitwright.methods.drq.calibrate`."""
        from bitwright.methods.drq.calibrate import calibrate

        return calibrate(network, samples, options, plan)

    def narrow_x(self, call: Call, x: Quantized, plan: SitePlan) -> Quantized:
        """x with narrow regions."""
        chosen = plan.precision.options
        if x.format.bits > 8:
            raise InputError(f"drq drops 4 of at most 8 bits, and x is {x.format.name}; use codes of at most 8 bits")
        if call.layout == "conv2d":
            return narrow_images(x, float(chosen["threshold"]), int(chosen["region"]))
        return narrow_rows(x, float(chosen["threshold"]), int(chosen["block"]))

    def narrow_w(self, call: Call, w: Quantized, plan: SitePlan) -> Quantized:  # noqa: ARG002
        """w as it is: which of its codes are narrow depends on the x that they meet."""
        return w

    def sums(self, call: Call, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:  # noqa: ARG002
        """Exact sums of both products."""
        (sensitive, wide), (rest, narrow) = _products(call, x, w)
        return integer_product(call, sensitive, wide) + integer_product(call, rest, narrow)

    def fast_sums(self, call: Call, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:  # noqa: ARG002
        """The same by float32 products."""
        (sensitive, wide), (rest, narrow) = _products(call, x, w)
        first = call.product(sensitive.centred(), wide.centred())
        return first + call.product(rest.centred(), narrow.centred())


def _products(
    call: Call, x: Quantized, w: Quantized
) -> tuple[tuple[Quantized, Quantized], tuple[Quantized, Quantized]]:
    """What is multiplied with what: sensitive x by wide w, the rest of x by narrow w."""
    narrow = narrow_elements(x, images=call.layout == "conv2d")
    nothing = torch.tensor(x.zero_point, dtype=x.codes.dtype, device=x.codes.device)
    sensitive = dataclasses.replace(x, codes=torch.where(narrow, nothing, x.codes))
    rest = dataclasses.replace(x, codes=torch.where(narrow, x.codes, nothing))
    return (sensitive, w), (rest, dataclasses.replace(w, codes=dropped(w), sums=None))


METHOD = DrqMethod()
