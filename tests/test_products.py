"""Exact integer products against the slow reference and against Python's own integers, at the edges of every engine."""

import itertools
import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bitwright.errors import InputError
from bitwright.formats import Integer, Quantized
from bitwright.methods import products
from bitwright.methods.products import accumulator_bound, integer_product, reference_product
from toys import (
    batched_product,
    conv_product,
    convolution_forms,
    einsum_forms,
    generator,
    linear_forms,
    linear_view,
    matmul_forms,
    named_forms,
    quantized,
    random_codes,
)

seeds = st.integers(0, 2**31 - 1)


@st.composite
def operands(draw, x_shape, w_shape, *, signed_w=None):
    """Random operands of random formats, every so often all at one end of their range."""

    def one(shape, seed, signed, zero):
        fmt = Integer(bits=draw(st.integers(2, 16)), signed=signed)
        zero_point = draw(st.integers(fmt.low, fmt.high)) if zero else 0
        codes = random_codes(fmt, shape, seed)
        if draw(st.integers(0, 3)) == 0:
            codes = torch.full(shape, draw(st.sampled_from([fmt.low, fmt.high])))
        return Quantized(codes=codes, format=fmt, scale=torch.ones(()), zero_point=zero_point)

    seed = draw(seeds)
    x = one(x_shape, seed, draw(st.booleans()), draw(st.booleans()))
    signed = draw(st.booleans()) if signed_w is None else signed_w
    return x, one(w_shape, seed + 1, signed, not signed and draw(st.booleans()))


def check(view, x, w):
    """Equality with the reference, which is int64 all the way; y."""
    expected = reference_product(view, x, w)
    found = integer_product(view, x, w)
    assert found.shape == expected.shape == view.output_shape
    assert torch.equal(found.double(), expected.double())
    return found


def check_form(form, x, w):
    """Equality with the reference, and with what torch makes of the same integers in its own layout."""
    found = form.product(x, w, check)
    expected = form.by_torch(x, w)
    assert found.shape == expected.shape
    assert torch.equal(found.double(), expected)


def python_product(x, w):
    """[M, K] by [N, K] in Python's integers, of centred codes."""
    xs = [[int(c) - x.zero_point for c in row] for row in x.codes]
    ws = [[int(c) - w.zero_point for c in row] for row in w.codes]
    return [[sum(a * b for a, b in zip(row, column, strict=True)) for column in ws] for row in xs]


class TestEquality:
    @settings(max_examples=150)
    @given(st.data())
    def test_linear(self, data):
        lead = data.draw(st.lists(st.integers(1, 4), max_size=2).map(tuple))
        k, n = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 6))
        x, w = data.draw(operands((*lead, k), (n, k)))
        view = linear_view(x.codes.float(), w.codes.float())
        found = check(view, x, w)
        assert found.reshape(-1, n).tolist() == python_product(
            quantized(x.codes.reshape(-1, k), bits=16, zero_point=x.zero_point), w
        )

    @settings(max_examples=100)
    @given(st.data(), linear_forms() | matmul_forms() | named_forms())
    def test_matrices_and_vectors(self, data, form):
        check_form(form, *data.draw(operands(form.x, form.w)))

    @settings(max_examples=100)
    @given(st.data(), einsum_forms())
    def test_contractions(self, data, form):
        check_form(form, *data.draw(operands(form.x, form.w)))

    @pytest.mark.parametrize("spatial", [1, 2, 3])
    @settings(max_examples=100)
    @given(st.data())
    def test_convolutions(self, spatial, data):
        form = data.draw(convolution_forms((spatial,)))
        check_form(form, *data.draw(operands(form.x, form.w)))

    @pytest.mark.parametrize("spatial", [1, 2, 3])
    @settings(max_examples=40)
    @given(st.data())
    def test_transposed_convolutions(self, spatial, data):
        form = data.draw(convolution_forms((spatial,), transposed=True))
        check_form(form, *data.draw(operands(form.x, form.w)))

    @settings(max_examples=80)
    @given(st.data())
    def test_batched(self, data):
        lead = data.draw(st.lists(st.integers(1, 3), max_size=2).map(tuple))
        m, k, n = (data.draw(st.integers(1, 9)) for _ in range(3))
        x, w = data.draw(operands((*lead, m, k), (*lead, k, n)))
        found = check(*batched_product(x, w))
        for at in itertools.product(*map(range, lead)):
            rows, columns = (
                quantized(codes, bits=16, zero_point=each.zero_point)
                for codes, each in ((x.codes[at], x), (w.codes[at].t(), w))
            )
            assert found[at].tolist() == python_product(rows, columns)

    def test_reference_by_hand(self):
        """A 2x2 kernel on a 2x3 image with zero point 1 and padding, worked out on paper."""
        x = quantized(torch.tensor([[[[1, 2, 3], [4, 5, 6]]]]), bits=4, signed=False, zero_point=1)
        w = quantized(torch.tensor([[[[1, 2], [3, -4]]]]), bits=4)
        view, x, w = conv_product(x, w, padding=(1, 0), stride=(2, 1))
        # centred: [0 1 2; 3 4 5]; row -1 is padding: 3*0 - 4*1, 3*1 - 4*2; rows 1 and 2 (padding): 1*3 + 2*4, 1*4 + 2*5
        assert reference_product(view, x, w).tolist() == [[[[-4], [-5]], [[11], [14]]]]
        assert integer_product(view, x, w).tolist() == [[[[-4], [-5]], [[11], [14]]]]
        assert view.result(integer_product(view, x, w)).tolist() == [[[[-4, -5], [11, 14]]]]

    def test_images_in_many_blocks(self, monkeypatch):
        monkeypatch.setattr(products, "IM2COL_BYTES", 100)
        x = quantized(random_codes(Integer(bits=8, signed=False), (5, 3, 6, 6), 1), bits=8, signed=False, zero_point=9)
        w = quantized(random_codes(Integer(bits=8), (4, 3, 3, 3), 2), bits=8)
        assert check(*conv_product(x, w, padding=(1, 1))).dtype == torch.int32

    @pytest.mark.parametrize(
        ("bits", "signed", "dtype"),
        [(8, True, torch.int8), (8, False, torch.uint8), (7, False, torch.int8), (8, False, torch.float32)],
    )
    def test_codes_of_any_type(self, bits, signed, dtype):
        codes = random_codes(Integer(bits=bits, signed=signed), (7, 12), 3).to(dtype)
        x = quantized(codes, bits=bits, signed=signed, zero_point=0 if signed else 77)
        w = quantized(random_codes(Integer(bits=8), (5, 12), 4).to(torch.int8), bits=8)
        assert check(linear_view(codes.float(), w.codes.float()), x, w).dtype == torch.int32

    def test_no_rows(self):
        x, w = quantized(torch.zeros(2, 0, 6), bits=8), quantized(torch.ones(3, 6), bits=8)
        assert integer_product(linear_view(x.codes, w.codes), x, w).shape == (2, 0, 3)


def extremes(k, bits, signed, zero_point=0, rows=3):
    """All codes at each end, and at ends that alternate."""
    fmt = Integer(bits=bits, signed=signed)
    low, high = torch.full((k,), fmt.low), torch.full((k,), fmt.high)
    mixed = torch.where(torch.arange(k) % 2 == 0, low, high)
    return quantized(torch.stack([low, high, mixed][:rows]), bits=bits, signed=signed, zero_point=zero_point)


def corner_sums(x, w):
    """The nine sums of `extremes` by `extremes`, from the counts of equal terms."""
    k = x.codes.shape[1]
    ends_x = [x.format.low - x.zero_point, x.format.high - x.zero_point]
    ends_w = [w.format.low - w.zero_point, w.format.high - w.zero_point]

    def terms(ends, row):
        even, odd = ((ends[row],) * 2) if row < 2 else ends
        return even, odd

    evens, odds = -(-k // 2), k // 2
    return [
        [evens * a[0] * b[0] + odds * a[1] * b[1] for b in (terms(ends_w, j) for j in range(3))]
        for a in (terms(ends_x, i) for i in range(3))
    ]


class TestEngines:
    """Every engine up to its bound: k just below and above 2**24 and 2**31 over the largest product of two codes."""

    def engine(self, x, w):
        found = integer_product(linear_view(x.codes.float(), w.codes.float()), x, w)
        assert [[int(value) for value in row] for row in found] == corner_sums(x, w)
        return found.dtype

    @pytest.mark.parametrize("zero_point", [0, 1, 128, 255])
    @pytest.mark.parametrize("k", [1, 2, 7, 1024, 4097])
    def test_unsigned_by_signed_int8(self, k, zero_point):
        assert self.engine(extremes(k, 8, False, zero_point), extremes(k, 8, True)) == torch.int32

    @pytest.mark.parametrize("k", [1, 32, 4096])
    def test_signed_int8(self, k):
        assert self.engine(extremes(k, 8, True), extremes(k, 8, True)) == torch.int32

    def test_int8_near_the_end_of_32_bits(self):
        """2**31 / (128 * 128) = 131072 terms of -128 by -128 no longer fit."""
        assert self.engine(extremes(131071, 8, True), extremes(131071, 8, True)) == torch.int32
        assert self.engine(extremes(131072, 8, True), extremes(131072, 8, True)) == torch.float64

    def test_int8_with_a_zero_point_near_the_end_of_32_bits(self):
        """2**31 / (255 * 128) = 65793.0...; stored codes stay small, but the true sum would not fit."""
        assert self.engine(extremes(65793, 8, False), extremes(65793, 8, True)) == torch.int32
        assert self.engine(extremes(65794, 8, False), extremes(65794, 8, True)) == torch.float64

    def test_unsigned_weights_take_another_way(self):
        assert self.engine(extremes(100, 8, False), extremes(100, 8, False, 3)) == torch.float32

    @pytest.mark.parametrize(("bits", "largest"), [(12, 2**22), (9, 2**16), (10, 2**18)])
    def test_float32_up_to_24_bits(self, bits, largest):
        """Products of two most negative codes are `largest`; 2**24 / largest of them are one too many."""
        k = 2**24 // largest
        assert self.engine(extremes(k - 1, bits, True), extremes(k - 1, bits, True)) == torch.float32
        assert self.engine(extremes(k, bits, True), extremes(k, bits, True)) == torch.float64

    @pytest.mark.parametrize("k", [1, 2, 3, 1000, 5001])
    def test_16_bits_beyond_32(self, k):
        assert self.engine(extremes(k, 16, False, 5), extremes(k, 16, True)) == torch.float64

    def test_bound_is_reached(self):
        x, w = extremes(9, 8, False, 200), extremes(9, 6, True)
        sums = itertools.chain(*corner_sums(x, w))
        assert max(abs(s) for s in sums) == accumulator_bound(9, x, w) == 9 * 200 * 32

    def test_refuses_beyond_53_bits(self):
        """2**53 / (2**15 * 2**15) = 2**23 products of two 16-bit codes."""
        k = 2**23
        one = torch.zeros(1).expand(1, k)
        x = quantized(one, bits=16)
        with pytest.raises(InputError, match=r"a sum of 8388608 products of int16 by int16 could exceed 2\*\*53"):
            integer_product(linear_view(one, one), x, x)

    def test_float_engines_also_for_convolutions_and_attention(self):
        g = generator(5)
        for bits, groups in ((9, 1), (9, 2), (8, 2), (12, 1)):
            fmt = Integer(bits=bits)
            x = quantized(torch.randint(fmt.low, fmt.high + 1, (2, 8, 9, 9), generator=g), bits=bits)
            w = quantized(torch.full((4, 8 // groups, 3, 3), fmt.low), bits=bits)
            check(*conv_product(x, w, padding=(1, 1), groups=groups))


class TestSettings:
    """What a user may have switched on for float products does not touch exact ones."""

    def cases(self):
        for bits in (8, 10, 16):
            fmt = Integer(bits=bits)
            x, w = (quantized(random_codes(fmt, (17, 40), seed), bits=bits) for seed in (1, 2))
            yield linear_view(x.codes.float(), w.codes.float()), x, w
            x, w = (quantized(random_codes(fmt, shape, 3), bits=bits) for shape in ((1, 8, 12, 12), (8, 8, 3, 3)))
            yield conv_product(x, w, padding=(1, 1))

    @pytest.mark.parametrize("precision", ["medium", "high"])
    def test_reduced_precision(self, precision):
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision(precision)
        try:
            for case in self.cases():
                check(*case)
            assert torch.get_float32_matmul_precision() == precision
        finally:
            torch.set_float32_matmul_precision(before)

    def test_autocast(self):
        with torch.autocast("cpu", torch.bfloat16):
            for case in self.cases():
                check(*case)
            assert torch.is_autocast_enabled("cpu")

    def test_a_processor_without_vnni(self):
        """Its int8 kernel clips the sums of two products to 16 bits; oneDNN can be told to behave like one."""
        code = """if True:
            import torch
            from toys import linear_view, quantized
            from bitwright.methods.products import integer_product
            for k in (1, 2, 9, 64, 300):
                for a in (-128, 127):
                    for b in (-128, 127):
                        x, w = quantized(torch.full((20, k), a), bits=8), quantized(torch.full((8, k), b), bits=8)
                        found = integer_product(linear_view(x.codes, w.codes), x, w)
                        assert found.dtype == torch.int32 and bool((found == k * a * b).all()), (k, a, b)
            """
        environment = {
            **os.environ,
            "ONEDNN_MAX_CPU_ISA": "AVX2",
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)

    def test_without_onednn(self):
        with torch.backends.mkldnn.flags(enabled=False, allow_tf32=None):
            for case in self.cases():
                check(*case)


class TestFloats:
    """int8 products of processors without int8 instructions."""

    @pytest.mark.parametrize("k", [1, 2, 1022, 1023, 1024, 3000])
    def test_sums_in_float32_are_those_of_integers(self, k):
        x, w = (torch.randint(-128, 128, (5, k), generator=generator(i)).to(torch.int8) for i in range(2))
        assert torch.equal(products._by_floats(x, w), (x.long() @ w.long().t()).int())

    def test_largest_sums_are_exact(self):
        x = torch.full((2, 3000), -128, dtype=torch.int8)
        x[1, ::2] = 127
        assert torch.equal(products._by_floats(x, x), (x.long() @ x.long().t()).int())

    @pytest.mark.parametrize("floats", [True, False])
    def test_whichever_is_faster_gives_the_same(self, floats, monkeypatch):
        monkeypatch.setattr(products, "_floats_are_faster", lambda: floats)
        x, w = (torch.randint(-128, 128, (7, 96), generator=generator(i)).to(torch.int8) for i in range(2))
        assert torch.equal(products._int_mm(x, w), (x.long() @ w.long().t()).int())
