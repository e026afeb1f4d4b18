"""Small networks that once went wrong, each with what must hold of it; the ones that lie beside the project too."""

import importlib.util
import math
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import bitwright
from bitwright.errors import InputError
from bitwright.networks.network import Network
from bitwright.networks.trace import trace

SECONDS = 30  # a calibration of a few dozen numbers that takes longer does not return


class Rows(nn.Module):
    """A convolution whose output is one row of pixels."""

    def __init__(self):
        super().__init__()
        self.along = nn.Conv2d(8, 8, kernel_size=(1, 3), padding=(0, 1))

    def forward(self, image):
        return self.along(image)


class Attends(nn.Module):
    """Self-attention under a mask that every sequence shares."""

    def __init__(self):
        super().__init__()
        self.project = nn.Linear(32, 32)

    def forward(self, hidden, mask):
        heads = self.project(hidden)
        return functional.scaled_dot_product_attention(heads, heads, heads, attn_mask=mask)


class Encodes(nn.Module):
    """An encoder of sequences that are padded to one length."""

    def __init__(self, *, nested=True):
        super().__init__()
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=nested)

    def forward(self, hidden, padding):
        return self.encoder(hidden, src_key_padding_mask=padding)


class Grouped(nn.Module):
    """Four experts of one grouped product, each for four of sixteen tokens."""

    def __init__(self):
        super().__init__()
        self.experts = nn.Parameter(torch.randn(4, 64, 64))
        self.last = nn.Linear(64, 8)

    def forward(self, tokens):
        ends = torch.arange(4, 17, 4, dtype=torch.int32)
        return self.last(functional.grouped_mm(tokens, self.experts, offs=ends))


class Routed(nn.Module):
    """Experts of very different size: slices of one parameter, or (`listed`) modules of their own."""

    def __init__(self, *, listed):
        super().__init__()
        self.gate = nn.Linear(32, 8, bias=False)
        sizes = torch.logspace(-2, 1, 8)
        weights = torch.randn(8, 32, 32) * sizes[:, None, None] / math.sqrt(32)
        self.listed = nn.ModuleList([nn.Linear(32, 32, bias=False) for _ in range(8)]) if listed else None
        self.sliced = None if listed else nn.Parameter(weights)
        for module, weight in zip(self.listed or (), weights, strict=False):
            module.weight.data = weight

    def forward(self, tokens):
        chosen = self.gate(tokens).argmax(-1)
        output = torch.zeros_like(tokens)
        for expert in chosen.unique().tolist():
            mine = chosen == expert
            weight = self.listed[expert].weight if self.sliced is None else self.sliced[expert]
            output[mine] = functional.linear(tokens[mine], weight)
        return output


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def sqnr(module, inputs, **options):
    """The score of int8, with at most 16 samples to judge."""
    return bitwright.evaluate(bitwright.load(module, inputs=inputs), "int8", limit=16, **options)


def is_a_site_or_refused(module, inputs):
    """Never a score of infinity."""
    try:
        network = module if inputs is None else bitwright.load(module, inputs=inputs)
        return math.isfinite(bitwright.evaluate(network, "int8", limit=8).score.value)
    except InputError as error:
        return "quantizes nothing" in str(error)


def routed_db(network):
    """int8 calibrated on all experts together and judged by few tokens at a time, of the median token.

    One that quantization sends to another expert says nothing of the experts, so it is no mean.
    """
    every, few = [torch.randn(256, 32)], [torch.randn(3, 32) for _ in range(32)]
    rows = bitwright.evaluate(network, "int8", samples=few, calibration_samples=every).statistics
    return float(np.median(10 * np.log10(rows[:, 0] / rows[:, 1])))


def padding():
    mask = torch.zeros(2, 6, dtype=torch.bool)
    mask[1, 3:] = True
    return torch.randn(2, 6, 32), mask


def test_tokens_differ_and_their_interval_has_a_width():
    """Judged once by 64 times the same input."""
    module = nn.Sequential(nn.Embedding(50, 32), nn.Linear(32, 50))
    found = sqnr(module, torch.arange(6)[None])
    assert found.score.value_interval.low < found.score.value < found.score.value_interval.high
    assert len({tuple(row) for row in found.statistics.tolist()}) == 16
    assert "tokens below 50" in found.score.tested_on


def test_a_mask_has_no_batch_axis():
    found = sqnr(Attends(), (torch.randn(2, 6, 32), torch.ones(6, 6).tril().bool()))
    assert len(found.statistics) == 2 * 16  # the example has two sequences
    assert found.off_by == 0
    assert found.score.value > 30


@pytest.mark.filterwarnings("ignore:.*nested tensors:UserWarning")
def test_padded_batches_score_as_without_the_fast_path():
    torch.manual_seed(1)
    nested = sqnr(Encodes(), padding()).score.value
    torch.manual_seed(1)
    plain = sqnr(Encodes(nested=False), padding()).score.value
    assert nested == pytest.approx(plain, abs=3)
    assert nested > 30


def test_finite_half_precision_is_not_refused():
    module = nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)).half()
    assert sqnr(module, (torch.rand(64, 256) * 20).half()).score.value > 20


def test_slices_are_as_good_as_modules_whichever_comes_first():
    found = []
    for listed in (True, False):
        torch.manual_seed(1)
        found.append(routed_db(Routed(listed=listed)))
    assert found[0] > 30
    assert found[1] == pytest.approx(found[0], abs=3)


def test_experts_of_a_grouped_product_are_counted():
    found = trace(bitwright.load(Grouped(), inputs=torch.randn(16, 64)))
    assert found.macs + sum(other.macs for other in found.others) == 16 * 64 * 64 + 16 * 64 * 8


def test_one_row_of_outputs_is_exact():
    found = sqnr(Rows(), torch.randn(1, 8, 1, 64))
    assert found.off_by == 0
    assert found.score.value > 30


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore:.*non-leaf:UserWarning")
def test_what_was_traced_is_a_site_or_is_refused():
    example = torch.randn(8, 64)
    assert is_a_site_or_refused(torch.jit.trace(nn.Linear(64, 10).eval(), example), example)


INPLACE = """
    import torch, bitwright
    torch.set_num_threads(1)
    module = torch.nn.Sequential(torch.nn.LayerNorm(32), torch.nn.Dropout(0.2, inplace=True), torch.nn.Linear(32, 4))
    bitwright.calibrate(bitwright.load(module, inputs=torch.randn(2, 32)), "int8")
"""


def test_calibration_returns_behind_a_dropout_in_place():
    subprocess.run([sys.executable, "-c", textwrap.dedent(INPLACE)], check=True, timeout=SECONDS)


# The same kinds, as they were found


def case(name):
    beside = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    path = Path(os.environ.get("BITWRIGHT_SHARED_DATA", beside)).parent / "cases" / "networks.py"
    if not path.exists():
        pytest.skip("the networks that fail are not beside the project: set BITWRIGHT_SHARED_DATA to the folder data")
    spec = importlib.util.spec_from_file_location("cases_beside", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return bitwright.load(getattr(module, name)()[0], inputs=getattr(module, name)()[1])


@pytest.mark.shared
@pytest.mark.parametrize("name", ["tokens", "masked", "one_row"])
def test_cases_beside_the_project(name):
    network = case(name)
    assert isinstance(network, Network)
    found = bitwright.evaluate(network, "int8", limit=8)
    assert found.off_by == 0
    assert found.score.value_interval.low < found.score.value_interval.high
    assert found.score.value > 30


@pytest.mark.shared
@pytest.mark.filterwarnings("ignore:.*nested tensors:UserWarning")
@pytest.mark.parametrize(("name", "least_db"), [("padded", 30), ("half_precision", 20)])
def test_cases_beside_the_project_by_their_noise(name, least_db):
    assert bitwright.evaluate(case(name), "int8", limit=16).score.value > least_db


@pytest.mark.shared
def test_the_routed_case_beside_the_project():
    assert routed_db(case("expert_order")) > 35


@pytest.mark.shared
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore:.*non-leaf:UserWarning")
def test_the_traced_case_beside_the_project_never_looks_perfect():
    assert is_a_site_or_refused(case("traced"), None)
