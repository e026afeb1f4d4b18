"""Exact products of tabled formats against integers of Python."""

import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bitwright.errors import InputError
from bitwright.formats import AdaptivFloat, Flint, Integer, LogPosit, PowerOfTwo, Quantized, RegimeRule, converter_table
from bitwright.methods.lpq.fields import least_error
from bitwright.methods.tabled.log_products import (
    INT64_BITS,
    _occurring,
    _windows,
    grouped,
    looked_up,
    pair_of,
    reference_log_product,
    rounded_sum,
)
from bitwright.methods.tabled.products import dyadic_product, exact_sums, fast_sums
from bitwright.methods.tabled.tally import Tally, patterns
from toys import batched_product, columns_of, conv_product, from_rows, im2col, linear_view


def operand(fmt, shape, seed):
    """Words without NaR."""
    low = fmt.low if isinstance(fmt, Integer) else 0
    words = torch.randint(low, low + 2**fmt.bits, shape, generator=torch.Generator().manual_seed(seed))
    if isinstance(fmt, LogPosit):
        words[words == 2 ** (fmt.bits - 1)] = 0
    return Quantized(codes=words.to(torch.int8 if low else torch.uint8), format=fmt, scale=torch.ones(()))


def view_of(x, w):
    return linear_view(x.codes.float(), w.codes.float())


WINDOWS = {  # size, kernel and the rest of the geometry, by the number of axes
    1: ((6,), (3,), {"stride": (), "padding": (2,), "dilation": (2,)}),
    2: ((4, 5), (3, 2), {"stride": (1,), "padding": (1, 2), "dilation": (1, 2)}),
    3: ((2, 3, 2), (2, 1, 2), {"stride": (2, 1), "padding": (1, 0, 1), "dilation": (1, 1, 2)}),
}


@st.composite
def log_posits(draw):
    n = draw(st.integers(2, 8))
    return LogPosit(n=n, es=draw(st.integers(0, 4)), rs=draw(st.integers(1, n - 1)))


SEEDS = st.integers(0, 99)
DYADIC = [
    *(AdaptivFloat(bits=bits, exponent_bits=e) for bits, e in ((8, 3), (6, 3), (4, 2), (3, 1))),
    *(Flint(bits=bits, signed=signed) for bits in (3, 4, 5) for signed in (True, False)),
    *(PowerOfTwo(bits=bits, signed=signed) for bits in (3, 4) for signed in (True, False)),
    Integer(bits=4),
    Integer(bits=8, signed=False),
]


def with_codes(held, codes):
    return dataclasses.replace(held, codes=codes)


def negated(held):
    """Words of the negatives."""
    return (2**held.format.bits - held.codes.int()).remainder(2**held.format.bits).to(torch.uint8)


def reference(x, w, rows, columns):
    """Every row with every column, each sum exact until it is rounded once."""
    return torch.tensor(
        [
            [float(reference_log_product(row.tolist(), column.tolist(), x.format, w.format)) for column in columns]
            for row in rows
        ],
        dtype=torch.float64,
    )


def both_engines(view, x, w):
    """Sums by groups of fractions, and looked up where 63 bits hold them."""
    pair = pair_of(x.format, w.format)
    found = [grouped(view, x, w, pair), exact_sums(view, x, w)]
    return [*found, looked_up(view, x, w, pair)] if pair.sum_bits(view.k) < INT64_BITS else found


def reals(held):
    """Fractions of an operand's values."""
    if isinstance(held.format, Integer):
        return [[Fraction(code) for code in row] for row in held.codes.int().tolist()]
    table = held.format.table().tolist()
    return [[Fraction(table[code]) for code in row] for row in held.codes.tolist()]


class TestLogProducts:
    @settings(max_examples=60, deadline=None)
    @given(log_posits(), log_posits(), st.integers(1, 40), st.integers(0, 99))
    def test_equal_the_reference(self, x_format, w_format, k, seed):
        x, w = operand(x_format, (3, k), seed), operand(w_format, (2, k), seed + 1)
        view, pair = view_of(x, w), pair_of(x_format, w_format)
        exact = [
            [float(reference_log_product(row.tolist(), column.tolist(), x_format, w_format)) for column in w.codes]
            for row in x.codes
        ]
        expected = torch.tensor(exact, dtype=torch.float64)
        assert torch.equal(grouped(view, x, w, pair), expected)
        assert torch.equal(exact_sums(view, x, w), expected)
        if pair.sum_bits(k) < INT64_BITS:
            assert torch.equal(looked_up(view, x, w, pair), expected)

    @settings(max_examples=25, deadline=None)
    @given(st.sampled_from([(8, 4, 7), (8, 5, 7), (7, 4, 6), (8, 4, 3)]), log_posits(), st.integers(2, 60), SEEDS)
    def test_several_windows(self, wide, other, k, seed):
        """Exponents span more than 53 bits: sums of windows, whose words come in pairs that cancel."""
        n, es, rs = wide
        x_format = LogPosit(n=n, es=es, rs=rs)
        pair = pair_of(x_format, other)
        assert len(list(_windows(pair, 2 * k))) > 1
        x, w = operand(x_format, (2, k), seed), operand(other, (2, k), seed + 1)
        x, w = with_codes(x, torch.cat([x.codes, x.codes], 1)), with_codes(w, torch.cat([w.codes, negated(w)], 1))
        x.codes[:, 0] = torch.tensor([1, 2**n - 1], dtype=torch.uint8)  # the smallest magnitudes decide ties
        expected = reference(x, w, x.codes, w.codes)
        assert torch.equal(grouped(view_of(x, w), x, w, pair), expected)
        turned = view_of(w, x)
        assert torch.equal(grouped(turned, w, x, pair_of(other, x_format)), expected.t())

    @pytest.mark.parametrize(("spread", "most"), [(0, 1), (30, 4), (120, 49)])
    def test_windows_are_of_words_that_occur(self, spread, most):
        """The widest format has thousands, each with hundreds of fractions, which took minutes; data fill a few."""
        fmt, generator = LogPosit(n=16, es=5, rs=15), torch.Generator().manual_seed(0)
        pair = pair_of(fmt, fmt)
        assert len(list(_windows(pair, 30))) > 2000
        scales = torch.linspace(-spread / 2, spread / 2, 30).exp2()  # of which both operands have all
        x, w = (
            Quantized(
                codes=fmt.encode(torch.randn(2, 30, generator=generator) * scales), format=fmt, scale=torch.ones(())
            )
            for _ in range(2)
        )
        assert len(list(_windows(_occurring(pair, x, w), 30))) <= most
        assert torch.equal(grouped(view_of(x, w), x, w, pair), reference(x, w, x.codes, w.codes))

    @settings(max_examples=30, deadline=None)
    @given(log_posits(), log_posits(), st.integers(1, 20), SEEDS)
    def test_integers_hold_the_whole_sum(self, x_format, w_format, k, seed):
        """The table of products times the unit is the products of the reference, without any rounding."""
        pair = pair_of(x_format, w_format)
        if pair.sum_bits(k) >= INT64_BITS:
            return
        x, w = operand(x_format, (k,), seed).codes.tolist(), operand(w_format, (k,), seed + 1).codes.tolist()
        total = sum(int(pair.products[b, a]) for a, b in zip(x, w, strict=True))
        assert abs(total) < 2 ** pair.sum_bits(k)
        assert total * Fraction(2) ** pair.unit == reference_log_product(x, w, x_format, w_format)

    @settings(max_examples=40, deadline=None)
    @given(log_posits(), log_posits(), st.integers(1, 20), SEEDS)
    @example(LogPosit(n=8, es=5, rs=7), LogPosit(n=8, es=5, rs=7), 9, 0)  # infinite and NaN in float32
    def test_fast_sums_are_near(self, x_format, w_format, k, seed):
        """However wide the formats: each term rounds by at most 2^-24 in the product and once more in each sum."""
        x, w = operand(x_format, (3, k), seed), operand(w_format, (2, k), seed + 1)
        view = view_of(x, w)
        values = pair_of(x_format, w_format).reals[w.codes.long().unsqueeze(0), x.codes.long().unsqueeze(1)]
        apart = (fast_sums(view, x, w).double() - exact_sums(view, x, w)).abs()
        assert bool((apart <= (k + 2) * 2.0**-22 * values.abs().sum(-1)).all())

    @settings(max_examples=10, deadline=None)
    @given(log_posits(), log_posits(), SEEDS)
    def test_batched_equal_the_reference(self, x_format, w_format, seed):
        x, w = operand(x_format, (2, 3, 4, 5), seed), operand(w_format, (2, 3, 5, 2), seed + 1)
        for i, j in np.ndindex(2, 3):
            expected = reference(x, w, x.codes[i, j], w.codes[i, j].t())
            for found in both_engines(*batched_product(x, w)):
                assert torch.equal(found[i, j], expected)

    @settings(max_examples=24, deadline=None)
    @given(log_posits(), log_posits(), st.sampled_from([1, 2, 3]), st.sampled_from([1, 2, 4]), st.integers(1, 2), SEEDS)
    def test_convolutions_equal_the_reference(self, x_format, w_format, spatial, groups, stride, seed):
        """Plain, grouped and depthwise, of one to three axes; what pads is zero."""
        size, kernel, geometry = WINDOWS[spatial]
        geometry = geometry | {"stride": (stride, *geometry["stride"]), "groups": groups}
        x = operand(x_format, (2, 4, *size), seed)
        w = operand(w_format, (4 if groups == 4 else 6, 4 // groups, *kernel), seed + 1)
        view, *operands = conv_product(x, w, **geometry)
        rows, columns = im2col(x.codes, kernel, **geometry), columns_of(w.codes, groups)
        sums = torch.stack([reference(x, w, *group) for group in zip(rows, columns, strict=True)])
        for found in both_engines(view, *operands):
            assert torch.equal(view.result(found), from_rows(sums, 2, view.output_size))

    def test_zeros(self):
        fmt = LogPosit(n=6, es=1, rs=3)
        x, w = operand(fmt, (2, 5), 0), with_codes(operand(fmt, (3, 5), 1), torch.zeros(3, 5, dtype=torch.uint8))
        for found in (*both_engines(view_of(x, w), x, w), fast_sums(view_of(x, w), x, w)):
            assert torch.equal(found.double(), torch.zeros(2, 3, dtype=torch.float64))

    def test_the_fast_product_differs_by_its_rounding_only(self):
        fmt = LogPosit(n=8, es=1, rs=3)
        x, w = operand(fmt, (4, 30), 0), operand(fmt, (3, 30), 1)
        view = view_of(x, w)
        exact, fast = exact_sums(view, x, w), fast_sums(view, x, w).double()
        size = x.format.decode(x.codes).abs().double() @ w.format.decode(w.codes).abs().double().t()
        assert bool(((fast - exact).abs() <= size * 2.0**-15).all())

    @pytest.mark.parametrize("spatial", [1, 2, 3])
    def test_layouts(self, spatial):
        fmt = LogPosit(n=5, es=1, rs=3)
        size, kernel, geometry = WINDOWS[spatial]
        image, pair = operand(LogPosit(n=8, es=1, rs=3), (2, 4, *size), 0), pair_of(LogPosit(n=8, es=1, rs=3), fmt)
        for groups in (1, 2, 4):
            w = operand(fmt, (4, 4 // groups, *kernel), 1)
            stride = (2, *geometry["stride"])
            view, x, w = conv_product(image, w, **geometry | {"stride": stride, "groups": groups})
            assert torch.equal(looked_up(view, x, w, pair), grouped(view, x, w, pair))
        x, w = operand(LogPosit(n=8, es=1, rs=3), (2, 3, 5, 7), 2), operand(fmt, (2, 3, 7, 4), 3)
        view, x, w = batched_product(x, w)
        assert torch.equal(looked_up(view, x, w, pair), grouped(view, x, w, pair))

    def test_converter(self):
        assert [converter_table(q) for q in (1, 2, 3)] == [[0, 1], [0, 1, 2, 3], [0, 1, 2, 2, 3, 4, 5, 7]]
        assert converter_table(4) == [0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15]

    def test_one_family_only(self):
        x, w = operand(LogPosit(n=8, es=1, rs=3), (2, 4), 0), operand(Flint(bits=4), (2, 4), 0)
        for one, other in ((x, w), (w, x)):
            for sums in (exact_sums, fast_sums):
                with pytest.raises(InputError, match=r"^a log posit multiplies log posits only .* flint4; use one"):
                    sums(view_of(one, other), one, other)


class TestSums:
    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.tuples(st.integers(-(2**53), 2**53), st.integers(-120, 120)), min_size=1, max_size=5))
    def test_round_once(self, parts):
        numbers = sorted((math.ldexp(float(m), e) for m, e in parts), key=abs)
        found = rounded_sum([torch.tensor([number], dtype=torch.float64) for number in numbers])
        assert found.item() == math.fsum(numbers)

    @settings(max_examples=200, deadline=None)
    @given(st.data())
    def test_half_way_and_a_little(self, data):
        """A double, half its last place, and far smaller parts that cancel or decide: the nearest double to the sum."""
        m, e = data.draw(st.integers(2**52, 2**53 - 1)), data.draw(st.integers(-40, 40))
        tiny = [2.0 ** (e - d) for d in data.draw(st.lists(st.integers(2, 400), max_size=4))]
        signs = data.draw(st.lists(st.sampled_from([-1, 1]), min_size=6, max_size=6))
        parts = [s * p for s, p in zip(signs, [math.ldexp(m, e), math.ldexp(1, e - 1), *tiny], strict=False)]
        parts = data.draw(st.permutations(parts + [-p for p in parts[2:3] if data.draw(st.booleans())]))
        found = rounded_sum([torch.tensor([p], dtype=torch.float64) for p in parts]).item()
        assert found == float(sum(map(Fraction, parts)))

    def test_elements_do_not_meet(self):
        parts = [torch.randn(50, generator=torch.Generator().manual_seed(i)).double() * 3.0**-i for i in range(6)]
        exact = [float(sum(Fraction(part[i].item()) for part in parts)) for i in range(50)]
        assert rounded_sum(parts).tolist() == exact

    def test_ties_are_decided_by_what_lies_far_below(self):
        parts = [2.0**-120, 2.0**-53, 1.0]
        assert rounded_sum([torch.tensor([p], dtype=torch.float64) for p in parts]).item() == 1 + 2.0**-52
        assert rounded_sum([torch.tensor([p], dtype=torch.float64) for p in parts[1:]]).item() == 1.0

    @pytest.mark.parametrize("w_format", [AdaptivFloat(bits=6), Flint(bits=4), PowerOfTwo(bits=4)])
    def test_multiples_of_a_power_of_two(self, w_format):
        x, w = operand(AdaptivFloat(bits=8), (3, 17), 0), operand(w_format, (2, 17), 1)
        found = dyadic_product(view_of(x, w), x, w)
        values = [[Fraction(v) for v in fmt.table().tolist()] for fmt in (x.format, w_format)]
        for i, j in np.ndindex(3, 2):
            exact = sum(values[0][a] * values[1][b] for a, b in zip(x.codes[i], w.codes[j], strict=True))
            assert Fraction(found[i, j].item()) == exact

    @settings(max_examples=40, deadline=None)
    @given(st.sampled_from(DYADIC), st.sampled_from(DYADIC), st.integers(1, 20), SEEDS)
    def test_every_pair_of_other_formats(self, x_format, w_format, k, seed):
        x, w = operand(x_format, (2, k), seed), operand(w_format, (2, k), seed + 1)
        found = exact_sums(view_of(x, w), x, w)
        of_x, of_w = reals(x), reals(w)
        for i, j in np.ndindex(2, 2):
            assert Fraction(found[i, j].item()) == sum(a * b for a, b in zip(of_x[i], of_w[j], strict=True))

    def test_more_than_53_bits_are_refused(self):
        wide = AdaptivFloat(bits=8, exponent_bits=5)
        x, w = operand(wide, (1, 4), 0), operand(wide, (1, 4), 1)
        with pytest.raises(InputError, match=r"^a sum of 4 products of af8 by af8 could exceed 2\*\*53; use narrower"):
            exact_sums(view_of(x, w), x, w)

    @pytest.mark.parametrize(
        "fmt", [LogPosit(n=8, es=2, rs=3), LogPosit(n=3, es=1, rs=2), AdaptivFloat(bits=6), Flint(bits=4)]
    )
    @pytest.mark.parametrize("shape", [(7, 3), (3, 16384)])
    def test_rounding_is_encoding_and_decoding(self, fmt, shape):
        values = torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 3
        values[0] = torch.tensor([0.0, torch.inf, -torch.inf]).repeat(shape[1])[: shape[1]]
        for scale in (torch.tensor(0.3), torch.linspace(0.1, 2, shape[0]).unsqueeze(1)):
            right = fmt.decode(fmt.encode(values / scale)) * scale
            assert torch.equal(fmt.lookup().rounded(values, scale), right)


class TestTally:
    def test_counts_every_value(self):
        x = torch.randn(3, 50_000, generator=torch.Generator().manual_seed(0)) ** 3
        x[0, :7] = 0
        x[1, 5] = -812.5
        tally = Tally.of(x)
        assert tally.counts.sum() == x.numel()
        assert float(tally.counts[tally.values == 0].sum()) == 7
        assert float(tally.values.abs().max()) == pytest.approx(812.5, rel=2**-8)  # a draw would miss it
        assert float(tally.mean_of(tally.values.double().square())) == pytest.approx(float(x.square().mean()), rel=1e-2)
        signed = tally.counts[tally.values < 0].sum()
        assert float(signed) == int((x < 0).sum())

    def test_adds_up(self):
        x = torch.randn(2, 9000, generator=torch.Generator().manual_seed(1))
        parts = Tally.from_patterns(patterns(x[0]) + patterns(x[1]))
        whole = Tally.of(x)
        assert torch.equal(parts.values, whole.values)
        assert torch.equal(parts.counts, whole.counts)

    def test_few_values_stay_as_they_are(self):
        x = torch.tensor([0.1, -0.3, 0.1])
        assert torch.equal(Tally.of(x).values, x)

    def test_a_rare_outlier_is_not_clipped(self):
        """One value in a million that carries most of the energy."""
        x = torch.full((1_000_000,), 0.01)
        x[123] = 500.0
        fields = least_error(x, 8, max_es=3, rule=RegimeRule.CAPPED)
        fmt = fields.format(RegimeRule.CAPPED)
        assert float(fmt.lookup().rounded(x, fields.scale)[123]) == pytest.approx(500, rel=0.05)
