"""An exact product depends on numbers only: not on strides, memory formats, batch size or what lay in memory."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bitwright.formats import Integer
from bitwright.methods.products import integer_product, reference_product
from bitwright.networks.calls import Call
from toys import quantized, random_codes

seeds = st.integers(0, 2**31 - 1)


@st.composite
def memory(draw, tensor):
    """The same numbers, laid out in memory as views of something else may be."""
    form = draw(st.sampled_from(["plain", "sliced", "turned", "channels last", "odd strides", "spread"]))
    if form == "sliced":
        room = torch.full([2 * size + 1 for size in tensor.shape], 99, dtype=tensor.dtype)
        view = room[tuple(slice(1, None, 2) for _ in tensor.shape)]
        return view.copy_(tensor)
    if form == "turned" and tensor.dim() > 1:
        order = draw(st.permutations(range(tensor.dim())))
        back = [order.index(axis) for axis in range(tensor.dim())]
        return tensor.permute(order).contiguous().permute(back)
    if form == "channels last" and tensor.dim() == 4:
        return tensor.contiguous(memory_format=torch.channels_last)
    if form == "odd strides":  # the stride of an axis of size 1 means nothing
        tensor = tensor.contiguous()
        strides = [1 if size == 1 else step for size, step in zip(tensor.shape, tensor.stride(), strict=True)]
        return tensor.as_strided(tensor.shape, strides)
    if form == "spread" and tensor.dim() > 1:  # one row, repeated
        return tensor[:1].expand(tensor.shape)
    return tensor


def codes_of(data, shape, *, bits, signed):
    return data.draw(memory(random_codes(Integer(bits=bits, signed=signed), shape, data.draw(seeds)).to(torch.int8)))


def sizes(data, count, low=1, high=9):
    """Extents, often 1."""
    return tuple(data.draw(st.sampled_from([1, data.draw(st.integers(low, high))])) for _ in range(count))


def check(call, x, w):
    """Equal to the reference, and the same again among other garbage."""
    expected = reference_product(call, x, w)
    for _ in range(2):
        assert torch.equal(integer_product(call, x, w).double(), expected.double())
        torch.full((1 << 16,), -77, dtype=torch.int8)  # what is freed is what the next product finds in memory


class TestMemory:
    @settings(max_examples=300)
    @given(st.data())
    def test_linear(self, data):
        lead, (k, n) = sizes(data, data.draw(st.integers(0, 3))), sizes(data, 2, high=40)
        x = quantized(codes_of(data, (*lead, k), bits=8, signed=True), bits=8, zero_point=data.draw(st.integers(-9, 9)))
        w = quantized(codes_of(data, (n, k), bits=8, signed=True), bits=8)
        check(Call(layout="linear", op="linear", x=x.codes.float(), w=w.codes.float()), x, w)

    @settings(max_examples=500)
    @given(st.data())
    def test_convolution(self, data):
        kernel, dilation, stride, padding = (sizes(data, 2, high=3) for _ in range(4))
        padding = tuple(data.draw(st.integers(0, size)) for size in padding)
        groups, (per_group, filters, batch) = data.draw(st.sampled_from([1, 1, 1, 2, 3])), sizes(data, 3, high=8)
        least = [max(1, dilation[i] * (kernel[i] - 1) + 1 - 2 * padding[i]) for i in (0, 1)]
        size = tuple(data.draw(st.sampled_from([low, low + 1, low + 6])) for low in least)
        shape = (batch, groups * per_group, *size)
        x = quantized(codes_of(data, shape, bits=8, signed=True), bits=8, zero_point=data.draw(st.integers(-9, 9)))
        w = quantized(codes_of(data, (groups * filters, per_group, *kernel), bits=8, signed=True), bits=8)
        call = Call(
            layout="conv2d",
            op="conv2d",
            x=x.codes.float(),
            w=w.codes.float(),
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
        )
        check(call, x, w)

    @settings(max_examples=200)
    @given(st.data())
    def test_batched(self, data):
        lead, (m, k, n) = sizes(data, data.draw(st.integers(0, 2)), high=3), sizes(data, 3, high=20)
        x = quantized(
            codes_of(data, (*lead, m, k), bits=8, signed=True), bits=8, zero_point=data.draw(st.integers(-9, 9))
        )
        w = quantized(codes_of(data, (*lead, k, n), bits=8, signed=True), bits=8)
        check(Call(layout="batched", op="matmul", x=x.codes.float(), w=w.codes.float()), x, w)


@pytest.mark.parametrize("padding", [(0, 1), (0, 0)])
@pytest.mark.parametrize("kernel", [(1, 3), (3, 1)])
def test_one_row_of_pixels(kernel, padding):
    """At batch 1, one row (or column) of outputs is an overlapping view of the pixels."""
    size = (1, 64) if kernel[0] == 1 else (64, 1)
    padding = padding if kernel[0] == 1 else padding[::-1]
    x = quantized(random_codes(Integer(bits=8), (1, 8, *size), 1).to(torch.int8), bits=8, zero_point=3)
    w = quantized(random_codes(Integer(bits=8), (8, 8, *kernel), 2).to(torch.int8), bits=8)
    call = Call(layout="conv2d", op="conv2d", x=x.codes.float(), w=w.codes.float(), padding=padding)
    check(call, x, w)
    wide = dataclasses.replace(x, codes=x.codes.repeat(7, 1, 1, 1))
    alone = integer_product(call, x, w)
    of_seven = integer_product(dataclasses.replace(call, x=wide.codes.float()), wide, w)
    assert torch.equal(of_seven, alone.expand_as(of_seven))
