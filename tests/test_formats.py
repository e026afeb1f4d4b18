"""Formats: exhaustive over all codes of small widths; rounding and wrap-around against exact rational arithmetic."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from bitwright.formats import (
    Integer,
    PerChannel,
    PerGroup,
    PerTensor,
    PerToken,
    Quantized,
    Rounding,
    Saturation,
    largest_magnitude,
    parse_granularity,
    round_to_integer,
    saturate,
)

KINDS = [{"signed": True}, {"signed": True, "narrow": True}, {"signed": False}]


def ends(bits, signed, narrow=False):
    """The range that two's complement and unsigned integers have."""
    if not signed:
        return 0, 2**bits - 1
    return -(2 ** (bits - 1)) + (1 if narrow else 0), 2 ** (bits - 1) - 1


def slow_round(x: Fraction, rounding: Rounding) -> int:
    """The rule as a sentence says it, in exact arithmetic."""
    below = math.floor(x)
    rest = x - below
    match rounding:
        case Rounding.FLOOR:
            return below
        case Rounding.TOWARD_ZERO:
            return below if x >= 0 else math.ceil(x)
        case Rounding.HALF_UP:
            return below + (rest >= Fraction(1, 2))
        case Rounding.HALF_AWAY:
            return below + (rest > Fraction(1, 2) or (rest == Fraction(1, 2) and x > 0))
        case Rounding.HALF_EVEN:
            return below + (rest > Fraction(1, 2) or (rest == Fraction(1, 2) and below % 2 == 1))


def slow_wrap(value: int, low: int, high: int) -> int:
    while value > high:
        value -= high - low + 1
    while value < low:
        value += high - low + 1
    return value


class TestInteger:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("bits", range(2, 9))
    def test_all_codes(self, bits, kind):
        fmt = Integer(bits=bits, **kind)
        low, high = ends(bits, **kind)
        assert (fmt.low, fmt.high) == (low, high)
        codes = torch.arange(low, high + 1)
        assert torch.equal(fmt.table(), codes.int())
        assert fmt.decode(codes).tolist() == list(range(low, high + 1))
        assert torch.equal(fmt.encode(fmt.decode(codes)), codes.float())

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("bits", range(9, 17))
    def test_sampled_codes(self, bits, kind):
        fmt = Integer(bits=bits, **kind)
        low, high = ends(bits, **kind)
        codes = torch.cat([torch.arange(low, high, 97), torch.tensor([low, high])])
        assert torch.equal(fmt.encode(fmt.decode(codes)), codes.float())
        with pytest.raises(ValueError, match="at most 8 bits, not"):
            fmt.table()

    @pytest.mark.parametrize("rounding", Rounding)
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("bits", [2, 5, 8, 16])
    def test_is_monotone_and_saturates(self, bits, kind, rounding):
        fmt = Integer(bits=bits, rounding=rounding, **kind)
        low, high = ends(bits, **kind)
        reals = torch.linspace(1.3 * low - 3, 1.3 * high + 3, 4001)
        codes = fmt.encode(reals)
        assert bool((codes.diff() >= 0).all())
        assert (codes.min(), codes.max()) == (low, high)
        assert bool((codes[reals <= low - 1] == low).all())
        assert bool((codes[reals >= high + 1] == high).all())
        far = torch.tensor([-torch.inf, -1e30, 1e30, torch.inf])
        assert fmt.encode(far).tolist() == [low, low, high, high]

    @pytest.mark.parametrize("zero_point", [-3, 0, 7, 130])
    @pytest.mark.parametrize("rounding", Rounding)
    def test_zero_point_is_the_code_of_zero(self, rounding, zero_point):
        fmt = Integer(bits=8, signed=zero_point < 0, rounding=rounding)
        reals = torch.linspace(-150, 150, 901)
        expected = [min(max(slow_round(Fraction(x), rounding) + zero_point, fmt.low), fmt.high) for x in reals.tolist()]
        assert fmt.encode(torch.zeros(1), zero_point).tolist() == [zero_point]
        assert fmt.encode(reals, zero_point).tolist() == expected

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_overwrites_only_when_allowed(self, overwrite):
        reals = torch.tensor([0.4, 300.0, -1.5])
        codes = Integer(bits=8).encode(reals, 1, overwrite=overwrite)
        assert codes.tolist() == [1, 127, -1]
        assert overwrite or torch.equal(reals, torch.tensor([0.4, 300.0, -1.5]))

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"bits": 1}, "2 to 16 bits, not 1"),
            ({"bits": 17}, "2 to 16 bits, not 17"),
            ({"bits": 8, "signed": False, "narrow": True}, "only signed"),
            ({"bits": 8, "narrow": True, "saturation": Saturation.WRAP}, "uses all its codes"),
        ],
    )
    def test_refuses(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            Integer(**arguments)

    @pytest.mark.parametrize(("signed", "name"), [(True, "int8"), (False, "uint8")])
    def test_names(self, signed, name):
        assert Integer(bits=8, signed=signed).name == name

    def test_largest_magnitude_is_reached_and_never_exceeded(self):
        for kind in KINDS:
            fmt = Integer(bits=4, **kind)
            for zero_point in range(fmt.low, fmt.high + 1):
                distances = [abs(int(code) - zero_point) for code in fmt.table()]
                assert largest_magnitude(fmt, zero_point) == max(distances)


class TestRounding:
    @pytest.mark.parametrize("rounding", Rounding)
    def test_quarters_around_zero(self, rounding):
        quarters = torch.arange(-41, 42) / 4
        expected = [slow_round(Fraction(x), rounding) for x in quarters.tolist()]
        assert round_to_integer(quarters, rounding).tolist() == expected

    @pytest.mark.parametrize("rounding", Rounding)
    @given(value=st.floats(-(2.0**30), 2.0**30, width=32))
    @example(value=0.49999997019767761)  # the largest float32 below 1/2: adding 1/2 would give 1
    @example(value=-0.49999997019767761)
    @example(value=8388609.0)  # 2**23 + 1: adding 1/2 is not exact
    @example(value=-8388607.5)
    def test_every_float(self, value, rounding):
        result = round_to_integer(torch.tensor([value], dtype=torch.float32), rounding)
        assert int(result) == slow_round(Fraction(value), rounding)

    @pytest.mark.parametrize("rounding", Rounding)
    def test_leaves_infinities(self, rounding):
        far = round_to_integer(torch.tensor([-torch.inf, torch.inf, torch.nan]), rounding)
        assert far[:2].tolist() == [-math.inf, math.inf]
        assert math.isnan(far[2])


class TestSaturation:
    @pytest.mark.parametrize("kind", [{"signed": True}, {"signed": False}])
    @pytest.mark.parametrize("bits", [2, 3, 8])
    def test_wraps_as_a_register_does(self, bits, kind):
        fmt = Integer(bits=bits, saturation=Saturation.WRAP, **kind)
        values = range(-700, 700)
        low, high = ends(bits, **kind)
        codes = fmt.encode(torch.tensor(values, dtype=torch.float32)).tolist()
        assert codes == [slow_wrap(v, low, high) for v in values]
        assert [int(c) % 2**bits for c in codes] == [v % 2**bits for v in values]

    @given(
        value=st.integers(-5000, 5000),
        low=st.integers(-300, 0),
        width=st.integers(1, 600),
        saturation=st.sampled_from(Saturation),
    )
    def test_any_range(self, value, low, width, saturation):
        high = low + width
        expected = slow_wrap(value, low, high) if saturation is Saturation.WRAP else min(max(value, low), high)
        assert int(saturate(torch.tensor([float(value)]), low, high, saturation)) == expected


class TestGranularity:
    @pytest.mark.parametrize(
        ("text", "granularity"),
        [("tensor", PerTensor()), ("channel", PerChannel()), ("token", PerToken()), ("group:32", PerGroup(32))],
    )
    def test_text_and_value_are_inverse(self, text, granularity):
        assert parse_granularity(text) == granularity
        assert str(granularity) == text

    @pytest.mark.parametrize("text", ["", "group", "group:0", "group:-4", "group:x", "group:4:4", "Tensor", "row"])
    def test_refuses(self, text):
        with pytest.raises(ValueError, match="unknown granularity"):
            parse_granularity(text)


class TestQuantized:
    @given(n=st.integers(1, 4), k=st.integers(1, 11), size=st.integers(1, 12), seed=st.integers(0, 2**31))
    def test_groups_with_a_remainder(self, n, k, size, seed):
        g = torch.Generator().manual_seed(seed)
        codes = torch.randint(-8, 8, (n, k), generator=g)
        scale = torch.rand(n, -(-k // size), generator=g)
        operand = Quantized(codes=codes, format=Integer(bits=4), scale=scale, granularity=PerGroup(size))
        expected = [[float(codes[i, j] * scale[i, j // size]) for j in range(k)] for i in range(n)]
        assert operand.dequantize().tolist() == expected

    def test_zero_point_and_scale(self):
        codes = torch.tensor([[0, 3, 255], [10, 11, 9]], dtype=torch.uint8)
        operand = Quantized(
            codes=codes,
            format=Integer(bits=8, signed=False),
            scale=torch.tensor([[0.5], [2.0]]),
            zero_point=10,
            granularity=PerToken(),
        )
        assert operand.centred().tolist() == [[-10, -7, 245], [0, 1, -1]]
        assert operand.dequantize().tolist() == [[-5, -3.5, 122.5], [0, 2, -2]]
