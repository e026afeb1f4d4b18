"""Networks and calls that several tests use."""

import torch

from bitwright.formats import Integer, Quantized
from bitwright.networks.calls import Call
from bitwright.networks.mode import SiteMode
from bitwright.networks.network import Network


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed))


def network_of(module, *inputs):
    """A network of a module and its positional inputs."""
    batch = {f"input_{i}": value for i, value in enumerate(inputs)}
    return Network(
        name="toy",
        kind="tensor",
        module=module.eval(),
        run=lambda module, batch: module(*batch.values()),
        example=lambda shape: dict(batch),
    )


class Calling(torch.nn.Module):
    """A module that calls a function of its inputs and its parameters, which are given by name."""

    def __init__(self, function, **parameters):
        super().__init__()
        self.function = function
        for name, value in parameters.items():
            setattr(self, name, value if isinstance(value, torch.nn.Module) else torch.nn.Parameter(value))

    def forward(self, *inputs):
        return self.function(self, *inputs)


def sites_of(module, *inputs, handler=None):
    """The output of `module` in the mode, and its sites and calls in order."""
    found = []

    def compute(site, call):
        found.append((site, call))
        return (handler or (lambda site, call: call.float_result()))(site, call)

    with SiteMode(module, compute):
        output = module(*inputs)
    return output, found


def random_codes(fmt, shape, seed):
    return torch.randint(fmt.low, fmt.high + 1, shape, generator=generator(seed))


def quantized(codes, *, bits, signed=True, zero_point=0, scale=None, **others):
    return Quantized(
        codes=codes,
        format=Integer(bits=bits, signed=signed),
        scale=torch.ones(()) if scale is None else scale,
        zero_point=zero_point,
        **others,
    )


def linear_call(x, w, bias=None):
    return Call(layout="linear", op="linear", x=x, w=w, bias=bias)
