"""Sums of few significant bits against Fractions, one addition after the other."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bitwright.errors import InputError
from bitwright.formats import AdaptivFloat, Integer, LogPosit, PerTensor, Quantized
from bitwright.methods.narrow import METHOD
from bitwright.methods.narrow.method import looked_up, running_sums
from bitwright.methods.narrow.rule import NarrowSums
from bitwright.methods.plan import OperandPlan, SitePlan
from bitwright.methods.tabled.log_products import reference_log_product
from bitwright.methods.tabled.products import exact_sums
from toys import conv_product, linear_view

LP8, LP4 = LogPosit(n=8, es=1, rs=3), LogPosit(n=4, es=1, rs=2)


def plan_of(x, w, bits):
    operands = (OperandPlan(format=each.format, granularity=PerTensor()) for each in (x, w))
    left, right = operands
    return SitePlan(x=left, w=right, accumulation=NarrowSums(bits=bits))


def drawn(fmt, shape, seed, zero_point=0):
    low, high = (fmt.low, fmt.high) if isinstance(fmt, Integer) else (0, 2**fmt.bits - 1)
    codes = torch.randint(low, high + 1, shape, generator=torch.Generator().manual_seed(seed))
    if isinstance(fmt, LogPosit):
        codes[codes == 2 ** (fmt.bits - 1)] = 0
    stored = codes if isinstance(fmt, Integer) else codes.to(torch.uint8)
    return Quantized(codes=stored, format=fmt, scale=torch.ones(()), zero_point=zero_point)


def rounded(number, bits):
    """To `bits` significant bits, half to even, by Fractions only."""
    if not number:
        return number
    unit = Fraction(1)
    while abs(number) / unit >= 2**bits:
        unit *= 2
    while abs(number) / unit < 2 ** (bits - 1):
        unit /= 2
    return round(number / unit) * unit  # Python rounds halves of Fractions to even


def view_of(x, w):
    return linear_view(x.codes.float(), w.codes.float())


class TestSums:
    @settings(max_examples=40, deadline=None)
    @given(st.integers(2, 12), st.integers(1, 30), st.integers(0, 99))
    def test_of_log_posits(self, bits, k, seed):
        x, w = drawn(LP8, (3, k), seed), drawn(LP4, (2, k), seed + 1)
        found = METHOD.sums(view_of(x, w), x, w, plan_of(x, w, bits))
        for i, j in np.ndindex(3, 2):
            total = Fraction(0)
            for a, b in zip(x.codes[i].tolist(), w.codes[j].tolist(), strict=True):
                total = rounded(total + reference_log_product([a], [b], LP8, LP4), bits)
            assert Fraction(found[i, j].item()) == total

    @settings(max_examples=40, deadline=None)
    @given(
        st.tuples(st.integers(2, 8), st.integers(0, 5)),
        st.tuples(st.integers(2, 8), st.integers(0, 5)),
        st.sampled_from([2, 8, 32]),
        st.integers(0, 999),
    )
    @example((8, 3), (8, 2), 8, 0)  # products of 2^35 were cut to 64 bits of the smallest
    @example((8, 5), (8, 5), 2, 3)  # from 2^-511 to 2^511
    def test_of_wide_log_posits(self, left, right, bits, seed):
        formats = [LogPosit(n=n, es=es, rs=n - 1) for n, es in (left, right)]
        x, w = drawn(formats[0], (2, 12), seed), drawn(formats[1], (3, 12), seed + 1)
        found = METHOD.sums(view_of(x, w), x, w, plan_of(x, w, bits))
        slow = running_sums(view_of(x, w), *looked_up(x, w), bits)
        assert torch.equal(found, slow)
        for i, j in np.ndindex(2, 3):
            total = Fraction(0)
            for a, b in zip(x.codes[i].tolist(), w.codes[j].tolist(), strict=True):
                total = rounded(total + reference_log_product([a], [b], *formats), bits)
            assert Fraction(found[i, j].item()) == total

    def test_what_float64_does_not_hold_breaks_a_tie(self):
        wide = LogPosit(n=8, es=3, rs=7)
        words = {value: word for word, value in enumerate(wide.values())}
        tie = words[2.0**0.25]  # the converter makes it 1.25, half-way between 1 and 1.5
        tiny, one = words[min(value for value in wide.values() if value > 0)], words[1.0]
        x = Quantized(codes=torch.tensor([[tiny, tie]], dtype=torch.uint8), format=wide, scale=torch.ones(()))
        w = dataclasses.replace(x, codes=torch.tensor([[tiny, one]], dtype=torch.uint8))
        found = METHOD.sums(view_of(x, w), x, w, plan_of(x, w, 2)).item()
        exact = reference_log_product([tiny, tie], [tiny, one], wide, wide)
        assert Fraction(found) == rounded(exact, 2) == 1.5

    def test_of_integers_with_a_zero_point(self):
        x, w = drawn(Integer(bits=8, signed=False), (4, 50), 0, zero_point=113), drawn(Integer(bits=4), (3, 50), 1)
        found = METHOD.sums(view_of(x, w), x, w, plan_of(x, w, 6))
        for i, j in np.ndindex(4, 3):
            total = Fraction(0)
            for a, b in zip(x.codes[i].tolist(), w.codes[j].tolist(), strict=True):
                total = rounded(total + (a - 113) * b, 6)
            assert Fraction(found[i, j].item()) == total

    def test_wide_registers_are_exact(self):
        x, w = drawn(LP8, (5, 40), 3), drawn(LP4, (6, 40), 4)
        assert torch.equal(METHOD.sums(view_of(x, w), x, w, plan_of(x, w, 32)), exact_sums(view_of(x, w), x, w))

    @pytest.mark.parametrize("groups", [1, 2, 4])
    def test_kernels_equal_the_slow_twin(self, groups):
        geometry = {"stride": (2, 1), "padding": (1, 1), "groups": groups}
        for fmt, zero_point in ((LP8, 0), (Integer(bits=8, signed=False), 100), (AdaptivFloat(bits=6), 0)):
            x = drawn(fmt, (2, 4, 6, 5), 0, zero_point)
            w = drawn(LP4 if fmt is LP8 else Integer(bits=4), (4, 4 // groups, 3, 3), 1)
            view, x, w = conv_product(x, w, **geometry)
            left, right, table = looked_up(x, w)
            assert torch.equal(METHOD.sums(view, x, w, plan_of(x, w, 7)), running_sums(view, left, right, table, 7))

    def test_wide_words_are_refused(self):
        x = drawn(Integer(bits=12), (2, 4), 0)
        with pytest.raises(InputError, match="at most 8 bits"):
            METHOD.sums(view_of(x, x), x, x, plan_of(x, x, 8))

    def test_fewer_bits_lose_more(self):
        x, w = drawn(LP8, (32, 200), 5), drawn(LP8, (16, 200), 6)
        exact = exact_sums(view_of(x, w), x, w)
        errors = [
            float((METHOD.sums(view_of(x, w), x, w, plan_of(x, w, bits)) - exact).square().mean())
            for bits in (4, 8, 12)
        ]
        assert errors == sorted(errors, reverse=True)
        assert dataclasses.is_dataclass(x.format)
