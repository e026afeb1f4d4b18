"""Sums of few significant bits against Fractions, one addition after the other."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
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
