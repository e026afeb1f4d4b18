"""An exact product depends on numbers only: not on strides, memory formats, batch size or what lay in memory."""

import dataclasses
import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bitwright.formats import Integer
from bitwright.methods.executor import Executor
from bitwright.methods.products import integer_product, reference_product
from bitwright.methods.protocol import compose
from toys import (
    Calling,
    conv_product,
    convolution_forms,
    einsum_forms,
    linear_forms,
    matmul_forms,
    named_forms,
    network_of,
    normal,
    quantized,
    random_codes,
)

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
    if form == "channels last" and tensor.dim() in (4, 5):
        last = torch.channels_last if tensor.dim() == 4 else torch.channels_last_3d
        return tensor.contiguous(memory_format=last)
    if form == "odd strides":  # the stride of an axis of size 1 means nothing
        tensor = tensor.contiguous()
        strides = [1 if size == 1 else step for size, step in zip(tensor.shape, tensor.stride(), strict=True)]
        return tensor.as_strided(tensor.shape, strides)
    if form == "spread" and tensor.dim() > 1:  # one row, repeated
        return tensor[:1].expand(tensor.shape)
    return tensor


def codes_of(data, shape, *, bits, signed):
    return data.draw(memory(random_codes(Integer(bits=bits, signed=signed), shape, data.draw(seeds)).to(torch.int8)))


def check(view, x, w):
    """Equal to the reference, and the same again among other garbage; y."""
    expected = reference_product(view, x, w)
    for _ in range(2):
        found = integer_product(view, x, w)
        assert torch.equal(found.double(), expected.double())
        torch.full((1 << 16,), -77, dtype=torch.int8)  # what is freed is what the next product finds in memory
    return found


def check_form(data, form):
    """So in any memory, and equal to what torch makes of the same integers in float64."""
    zero_point = data.draw(st.integers(-9, 9))
    x = quantized(codes_of(data, form.x, bits=8, signed=True), bits=8, zero_point=zero_point)
    w = quantized(codes_of(data, form.w, bits=8, signed=True), bits=8)
    found = form.product(x, w, check)
    assert torch.equal(found.double(), form.by_torch(x, w))


class TestMemory:
    @settings(max_examples=300)
    @given(st.data(), linear_forms(k=40))
    def test_linear(self, data, form):
        check_form(data, form)

    @settings(max_examples=300)
    @given(st.data(), matmul_forms(k=20) | named_forms(k=20))
    def test_batched_and_vectors(self, data, form):
        check_form(data, form)

    @settings(max_examples=200)
    @given(st.data(), einsum_forms())
    def test_contractions(self, data, form):
        check_form(data, form)

    @pytest.mark.parametrize("spatial", [1, 2, 3])
    @settings(max_examples=300)
    @given(st.data())
    def test_convolution(self, spatial, data):
        check_form(data, data.draw(convolution_forms((spatial,))))

    @settings(max_examples=100)
    @given(st.data(), convolution_forms(transposed=True))
    def test_transposed_convolution(self, data, form):
        check_form(data, form)


@pytest.mark.parametrize("padding", [(0, 1), (0, 0)])
@pytest.mark.parametrize("kernel", [(1, 3), (3, 1)])
def test_one_row_of_pixels(kernel, padding):
    """At batch 1, one row (or column) of outputs is an overlapping view of the pixels."""
    size = (1, 64) if kernel[0] == 1 else (64, 1)
    padding = padding if kernel[0] == 1 else padding[::-1]
    x = quantized(random_codes(Integer(bits=8), (1, 8, *size), 1).to(torch.int8), bits=8, zero_point=3)
    w = quantized(random_codes(Integer(bits=8), (8, 8, *kernel), 2).to(torch.int8), bits=8)
    wide = dataclasses.replace(x, codes=x.codes.repeat(7, 1, 1, 1))
    alone = check(*conv_product(x, w, padding=padding))
    of_seven = check(*conv_product(wide, w, padding=padding))
    assert torch.equal(of_seven, alone.expand_as(of_seven))


METHODS = {
    "int8": {},
    "int8-token": {},
    "w4a8": {},
    "aqs": {},
    "int8+apsq": {},
    "drift": {"delta": 0.5, "narrow_ends": True},
    "drq": {"threshold": 20.0, "narrow_ends": True},
    "lp8": {},
    "mxfp8": {},
    "nvfp4": {},
}


@settings(max_examples=60)
@given(
    linear_forms() | matmul_forms() | einsum_forms() | convolution_forms() | convolution_forms(transposed=True),
    st.sampled_from(list(METHODS)),
    st.sampled_from(["none", "first", "second"]),
    st.integers(0, 99),
)
def test_execution_of_any_form(form, method, weight, seed):
    """Exact and fast products agree in every step, and 8 bits are as near to float as 8 bits are."""
    x, w = normal(*form.x, seed=seed), normal(*form.w, seed=seed + 1)
    module, inputs = {
        "none": (Calling(lambda m, a, b: form.function(*form.before, a, b, **form.others)), (x, w)),
        "first": (Calling(lambda m, b: form.function(*form.before, m.w, b, **form.others), w=x), (w,)),
        "second": (Calling(lambda m, a: form.function(*form.before, a, m.w, **form.others), w=w), (x,)),
    }[weight]
    network, expected = network_of(module, *inputs), module(*inputs).detach()
    batch = network.example(None)
    assume(bool(expected.any()))  # windows that read nothing but padding have nothing to be judged by
    executor = Executor(network, compose(method, METHODS[method]).calibrate(network, [batch]))
    assert executor.audit(batch) <= {"lp8": math.inf, "mxfp8": 1, "nvfp4": 1}.get(method, 0)
    output = executor.run(batch)
    assert output.shape == expected.shape
    if method in ("int8", "int8-token"):
        most = form.function(*form.before, x.abs(), w.abs(), **form.others).max()
        assert float((output - expected).abs().max()) <= 0.02 * float(most)


def test_padding_of_one_row_whose_stride_is_that_of_channels():
    """Torch takes such pixels for channels-last and pads them in another order of axes."""
    codes = random_codes(Integer(bits=8), (96,), 1).to(torch.int8).as_strided((2, 8, 1, 6), (48, 1, 1, 8))
    x = quantized(codes, bits=8, zero_point=3)
    w = quantized(random_codes(Integer(bits=8), (8, 8, 1, 1), 2).to(torch.int8), bits=8)
    check(*conv_product(x, w, padding=(1, 0)))
