"""Compiled kernels against the torch operators they stand for, bit for bit."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bitwright.formats import Integer, Rounding, Saturation
from bitwright.methods import kernels
from bitwright.methods.integer.scales import least_error
from bitwright.methods.products import reference_product
from toys import conv_product, generator, normal, quantized, random_codes

FORMATS = [Integer(bits=bits, **kind) for bits in (2, 5, 8) for kind in ({}, {"narrow": True}, {"signed": False})]


class TestLeastError:
    @pytest.mark.parametrize("fmt", FORMATS, ids=str)
    @pytest.mark.parametrize("shape", [(7, 33), (1, 5000), (300, 1), (4, 0), (0, 4)])
    def test_equals_the_format(self, fmt, shape):
        w = normal(*shape, seed=1).abs() if not fmt.signed else normal(*shape, seed=1)
        scales = torch.rand(len(w), 9, generator=generator(2)) / fmt.high + 1e-3
        assert kernels.can_search(w, fmt)
        found = kernels.least_error(w, scales, fmt)
        assert torch.equal(found, least_error(w, scales, fmt))
        errors = (w.unsqueeze(1) - fmt.encode(w.unsqueeze(1) / scales.unsqueeze(2)) * scales.unsqueeze(2)).double()
        assert torch.equal(found, errors.square().sum(2).argmin(1, keepdim=True)) or shape[1] == 0

    def test_the_first_of_equals(self):
        w, scales = torch.tensor([[2.0, -4.0]]), torch.tensor([[3.0, 2.0, 1.0, 2.0]])
        assert kernels.least_error(w, scales, Integer(bits=8)).tolist() == [[1]]  # 2 and 1 have no error

    def test_cases_that_torch_computes(self):
        assert not kernels.can_search(torch.ones(2, 2), Integer(bits=8, rounding=Rounding.HALF_UP))
        assert not kernels.can_search(torch.ones(2, 2).double(), Integer(bits=8))


class TestEncode:
    @pytest.mark.parametrize("fmt", FORMATS, ids=str)
    @pytest.mark.parametrize("scale", [1.0, 0.25, 0.1, 3e-5, 7e4])
    def test_equals_the_format(self, fmt, scale):
        """Ties, both ends, values that divide inexactly, and more of them than a thread takes at once."""
        steps = torch.cat([torch.arange(-700, 700) / 4, normal(2 * kernels.BLOCK + 5) * 50])
        x, s = steps * scale, torch.tensor(scale)
        for zero_point in {0, fmt.low, fmt.high, (fmt.low + fmt.high) // 2}:
            codes = kernels.encode(x, fmt, s, zero_point)
            assert codes.dtype == (torch.int8 if fmt.signed else torch.uint8)
            assert torch.equal(codes.float(), fmt.encode(x / s, zero_point))

    @pytest.mark.parametrize(
        "x",
        [
            normal(2, 3, 4, 5).to(memory_format=torch.channels_last),
            normal(6, 4).t(),
            normal(6, 8)[:, ::2],
            normal(1, 4).expand(3, 4),
            normal(2, 3, 1, 1),
        ],
        ids=["channels last", "transposed", "gaps", "expanded", "pixel"],
    )
    def test_any_layout(self, x):
        fmt, before = Integer(bits=8), x.clone()
        codes = kernels.encode(x, fmt, torch.tensor(0.02), 3)
        assert torch.equal(codes.float(), fmt.encode(x / 0.02, 3))
        assert torch.equal(x, before)

    @pytest.mark.parametrize(
        ("fmt", "x", "scale"),
        [
            (Integer(bits=9), normal(3), torch.tensor(1.0)),
            (Integer(bits=8, rounding=Rounding.FLOOR), normal(3), torch.tensor(1.0)),
            (Integer(bits=8, saturation=Saturation.WRAP), normal(3), torch.tensor(1.0)),
            (Integer(bits=8), normal(3).double(), torch.tensor(1.0)),
            (Integer(bits=8), normal(3), torch.ones(3)),
            (Integer(bits=8), torch.empty(0), torch.tensor(1.0)),
        ],
    )
    def test_what_it_leaves_to_torch(self, fmt, x, scale):
        assert not kernels.can_encode(x, fmt, scale)
        assert kernels.can_encode(normal(3), Integer(bits=8), torch.tensor(1.0))


@settings(max_examples=60)
@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 4), st.integers(4, 7), st.integers(4, 7)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    zero_point=st.integers(-128, 127),
)
def test_depthwise_equals_the_reference(*, shape, kernel, stride, padding, dilation, zero_point):
    x = quantized(random_codes(Integer(bits=8), shape, 1), bits=8, zero_point=zero_point)
    w = quantized(random_codes(Integer(bits=8), (shape[1], 1, *kernel), 2), bits=8)
    geometry = {"stride": stride, "padding": padding, "dilation": dilation}
    if any(shape[2 + i] + 2 * padding[i] <= dilation[i] * (kernel[i] - 1) for i in (0, 1)):
        return
    found = kernels.depthwise(
        x.codes.to(torch.int8).permute(0, 2, 3, 1).contiguous(),
        w.codes.to(torch.int8)[:, 0].permute(1, 2, 0).contiguous(),
        zero_point,
        **geometry,
    )
    view, x, w = conv_product(x, w, groups=shape[1], **geometry)
    assert torch.equal(found.permute(0, 3, 1, 2).long(), view.result(reference_product(view, x, w)))


@pytest.mark.parametrize("columns", [1, 7])
@pytest.mark.parametrize("bias", [False, True])
def test_scale_columns_equals_torch(columns, bias):
    acc = torch.randint(-(2**31), 2**31 - 1, (5, 300, 7), generator=generator(3)).to(torch.int32)
    scale, shift = normal(columns).abs() * math.pi, normal(7) if bias else None
    expected = acc.float() * scale + (shift if bias else 0.0)
    assert torch.equal(kernels.scale_columns(acc.clone(), scale, shift), expected)


def test_threads_stay_as_the_user_set_them():
    kernels.encode(normal(10), Integer(bits=8), torch.tensor(1.0), 0)
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5, 7), (2, 3, 4, 9), (65, 300)])
def test_a_scale_per_row_encodes_as_torch_does(shape, signed):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator) * 3
    scale = torch.rand((*shape[:-1], 1), generator=generator) + 0.01
    x.view(-1, shape[-1])[:, 0] = 2.5 * scale.view(-1)  # a tie in every row
    fmt = Integer(bits=8, signed=signed, narrow=signed)
    assert kernels.can_encode(x, fmt, scale)
    codes = kernels.encode(x, fmt, scale, 0)
    assert codes.dtype == (torch.int8 if signed else torch.uint8)
    assert torch.equal(codes.float(), fmt.encode(x / scale))
