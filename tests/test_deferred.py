"""Results of sites whose values wait: the same codes and the same values as when each pass runs at once."""

import dataclasses
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bitwright.errors import InputError
from bitwright.formats import Integer, SlicedUnsigned
from bitwright.methods.executor import Executor
from bitwright.methods.integer.pending import PendingSums
from bitwright.methods.protocol import compose
from bitwright.networks.deferred import Deferred, filled
from bitwright.networks.load import load


class Chain(nn.Module):
    """Convolutions with what stands between them given by the test."""

    def __init__(self, between, stride=1):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, stride=stride, groups=8, bias=False)
        self.last = nn.Conv2d(8, 5, 1)
        self.between = between
        self.example_inputs = (torch.randn(2, 3, 9, 7, generator=torch.Generator().manual_seed(0)),)

    def forward(self, x):
        return self.last(self.between(self.depthwise(F.pad(self.between(self.first(x)), (1, 0, 2, 1)))))


def clamp_in_place(x):
    x.clamp_(-0.5, 0.5)
    return x


def read_after(x):
    """Clamps another tensor, then changes the first, which shares its sums."""
    clamped = F.relu(x)
    x.add_(100.0)
    return clamped + x.mean() * 0


def twice(x):
    return F.relu6(F.hardtanh(x, -0.25, 0.75)) + torch.clamp(x, max=0.1)


def scripted(x):
    return SCRIPT(x)


with warnings.catch_warnings(action="ignore"):
    SCRIPT = torch.jit.script(nn.Sequential(nn.ReLU(), nn.Sigmoid()))
BETWEEN = {
    "relu": F.relu,
    "relu6 in place": lambda x: F.relu6(x, inplace=True),
    "hardtanh": lambda x: F.hardtanh(x, -0.5, 0.25),
    "clamp": lambda x: x.clamp(min=-0.125),
    "clamp in place": clamp_in_place,
    "method": lambda x: x.relu().clamp_(max=0.5),
    "nothing": lambda x: x,
    "sigmoid": torch.sigmoid,
    "read after": read_after,
    "twice": twice,
    "scripted": scripted,
    "copied": lambda x: torch.from_numpy(x.numpy().copy()),
    "in a list": lambda x: torch.cat([x[:, :4], F.relu(x)[:, 4:]], 1),
    "slice": lambda x: F.relu(x)[:, :, 1:],
    "tensor limits": lambda x: torch.clamp(x, torch.tensor(-0.5), torch.tensor(0.5)),
}


@pytest.fixture(scope="module", params=BETWEEN)
def executed(request):
    torch.manual_seed(1)
    network = load(Chain(BETWEEN[request.param]))
    plan = compose("int8", {}).calibrate(network, [network.example(_shape())])
    return network, plan


def _shape():
    from bitwright.networks.network import InputShape

    return InputShape()


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_bits_as_pass_by_pass(request, executed, threads):
    """A listener asks for values at once; without one they wait. A second pass knows that scales fit."""
    network, plan = executed
    batch = network.example(_shape())
    before = torch.get_num_threads()
    request.addfinalizer(lambda: torch.set_num_threads(before))
    torch.set_num_threads(threads)
    at_once = Executor(network, plan, listeners=[lambda _: None]).run(batch)
    waiting = Executor(network, plan)
    for _ in range(2):
        result = waiting.run(batch)
        assert type(result) is torch.Tensor
        assert torch.equal(result.view(torch.int32), at_once.view(torch.int32))


def test_values_between_clamps_are_not_computed(monkeypatch):
    """What this is for: between sites that are only clamped and padded, no floats are made."""
    network = load(Chain(F.relu6))
    batch = network.example(_shape())
    executor = Executor(network, compose("int8", {}).calibrate(network, [batch]))
    executor.run(batch)
    fills = []
    monkeypatch.setattr(
        PendingSums, "fill", lambda self, memory, fill=PendingSums.fill: (fills.append(1), fill(self, memory))
    )
    executor.run(batch)
    assert len(fills) == 1  # the network's result


@pytest.mark.parametrize("limits", [(-1.0, 1.0), (-float("inf"), float("inf")), (0.0, 6.0), (2.0, 2.0)])
@pytest.mark.parametrize("fmt", [Integer(bits=8), Integer(bits=8, signed=False), SlicedUnsigned(split=5)])
def test_codes_from_sums(limits, fmt):
    """All columns, sides and clamps: what encoding the padded floats gives."""
    generator = torch.Generator().manual_seed(3)
    acc = torch.randint(-(2**20), 2**20, (2 * 3 * 5, 37), dtype=torch.int32, generator=generator)
    step = torch.rand(37, generator=generator) * 2**-18
    bias = torch.randn(37, generator=generator)
    scale, zero = torch.tensor(0.0173), 0 if fmt.signed else 5
    values = (acc.float() * step + bias).clamp(*limits).view(2, 3, 5, 37)
    for sides in ((0, 0, 0, 0), (1, 2, 0, 3)):
        recipe = PendingSums(acc=acc, step=step, bias=bias).clamped(*limits)
        padded = values
        if any(sides):
            recipe = recipe.padded(sides, torch.Size([2, 37, 3, 5]))
            padded = F.pad(values, (0, 0, *sides))
        memory = torch.empty(padded.shape)
        codes = recipe.codes(memory, fmt, scale, zero)
        assert torch.equal(codes.float(), fmt.encode(padded / scale, zero).float())
        recipe.fill(memory)
        assert torch.equal(memory, padded)


def test_relatives_are_filled_before_their_sums_are_overwritten():
    acc = torch.arange(-6, 6, dtype=torch.int32).view(3, 4)
    values = acc.float()
    first = Deferred.of(acc.view(torch.float32), PendingSums(acc=acc, step=torch.ones(1), bias=None))
    second = F.relu(first)
    third = filled((second,))[0].clone()
    fourth = torch.clamp(first, -1.0, 1.0)
    assert torch.equal(first + 0, values)
    assert torch.equal(third, values.relu())
    assert torch.equal(fourth + 0, values.clamp(-1, 1))
    assert dataclasses.is_dataclass(PendingSums)


def test_sums_beyond_float32_do_not_wait():
    """An infinite value must be seen, and named, by the next site."""
    torch.manual_seed(0)
    network = load(Chain(F.relu))
    batch = network.example(_shape())
    plan = compose("int8", {}).calibrate(network, [batch])
    site = plan.sites["first"]
    huge = dataclasses.replace(site, w=dataclasses.replace(site.w, scale=site.w.scale * (1e38 / site.w.scale.max())))
    plan = dataclasses.replace(plan, sites={**plan.sites, "first": huge}, fingerprint=None)
    executor = Executor(network, plan)
    executor._fitting.update(plan.sites)
    with pytest.raises(InputError, match="NaN or infinity"):
        executor.run(batch)
