"""Log posits: all formats of 2 to 8 bits against a decoder that reads bit by bit in exact arithmetic."""

import bisect
import dataclasses
import decimal
import itertools
import math
from fractions import Fraction

import numpy as np
import pydantic
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from bitwright import registry
from bitwright.formats import LogPosit, LogRounding, RegimeRule, distinct_tables

NAR = "NaR"
SMALL = [(n, es, rs) for n in range(2, 9) for es in range(5) for rs in range(1, n)]
SFS = (0.0, 0.37, -2.5)
TINY = 2.0**-149  # the smallest float32


def slow_log2(word, n, es, rs, rule=RegimeRule.CAPPED):
    """Sign and log2 |x| at sf = 0 of one word, read as the rule says; None for zero."""
    if word == 0:
        return None
    if word == 2 ** (n - 1):
        return NAR
    negative = word > 2 ** (n - 1)
    bits = list(format(2**n - word if negative else word, f"0{n}b")[1:])
    cap = rs if rule is RegimeRule.CAPPED else n - 1
    first, run = bits[0], 0
    while bits and bits[0] == first and run < cap:
        run += 1
        bits.pop(0)
    if run < cap:
        assert bits.pop(0) != first
    k = run - 1 if first == "1" else -run
    exponent = "".join(bits[:es]).ljust(es, "0")
    fraction = sum((Fraction(int(bit), 2 ** (i + 1)) for i, bit in enumerate(bits[es:])), Fraction(0))
    return (-1 if negative else 1), 2**es * k + int(exponent or "0", 2) + fraction


def logs(fmt):
    """`log2_parts` in the terms of the slow decoder."""
    unit = 2**fmt.fraction_bits
    parts = [(int(sign), Fraction(int(log), unit)) for sign, log in zip(*fmt.log2_parts(), strict=True)]
    assert parts[0] == parts[2 ** (fmt.n - 1)] == (0, 0)
    return [None, *parts[1 : 2 ** (fmt.n - 1)], NAR, *parts[2 ** (fmt.n - 1) + 1 :]]


def in_order(n):
    """Words read as signed integers, ascending, without NaR."""
    return [*range(2 ** (n - 1) + 1, 2**n), *range(2 ** (n - 1))]


def slow_nearest(x, fmt):
    """E2 by trying every word."""
    values, (_, *others) = fmt.values(), fmt.emitted().tolist()
    return min([0, *others], key=lambda word: (abs(Fraction(values[word]) - Fraction(x)), word % 2, abs(values[word])))


def slow_nearest_log(x, fmt):
    """E1 by trying every word of the sign."""
    if x == 0:
        return 0
    with decimal.localcontext(prec=60):
        mantissa, exponent = math.frexp(abs(x))
        exact = decimal.Decimal(mantissa).ln() / decimal.Decimal(2).ln() + exponent + decimal.Decimal(fmt.sf)
        if mantissa == 0.5:
            exact = decimal.Decimal(exponent - 1) + decimal.Decimal(fmt.sf)
        sign = -1 if x < 0 else 1
        found = [(word, slow_log2(word, fmt.n, fmt.es, fmt.rs, fmt.rule)) for word in fmt.emitted().tolist()[1:]]
        of_sign = [(word, part[1]) for word, part in found if part[0] == sign]
        unit = decimal.Decimal(1)
        return min(of_sign, key=lambda one: (abs(one[1].numerator * unit / one[1].denominator - exact), one[0] % 2))[0]


def slow(x, fmt):
    return slow_nearest(x, fmt) if fmt.rounding is LogRounding.NEAREST else slow_nearest_log(x, fmt)


class TestWords:
    @pytest.mark.parametrize("rule", RegimeRule)
    @pytest.mark.parametrize("n", range(2, 9))
    def test_every_word_equals_the_slow_decoder(self, n, rule):
        for es in range(6):
            for rs in range(1 if rule is RegimeRule.CAPPED or n == 2 else 2, n):
                fmt = LogPosit(n=n, es=es, rs=rs, rule=rule)
                assert (fmt.bits, fmt.name, len(fmt.values())) == (n, f"lp{n}", 2**n)
                assert logs(fmt) == [slow_log2(word, n, es, rs, rule) for word in range(2**n)]

    @pytest.mark.parametrize("sf", [*SFS, 30.0])
    def test_values_are_powers_of_two(self, sf):
        for n, es, rs in SMALL:
            fmt = LogPosit(n=n, es=es, rs=rs, sf=sf)
            values = fmt.values()
            assert values[0] == 0
            assert math.isnan(values[2 ** (n - 1)])
            for value, part in zip(values, logs(fmt), strict=True):
                if isinstance(part, tuple):
                    log = part[1] - Fraction(sf)
                    assert math.copysign(1, value) == part[0]
                    assert abs(value) == pytest.approx(2.0 ** float(log), rel=1e-14, abs=0)
                    assert log.denominator != 1 or Fraction(abs(value)) == Fraction(2) ** int(log)

    @pytest.mark.parametrize(("n", "es", "rs"), SMALL)
    def test_order_and_symmetries(self, n, es, rs):
        fmt = LogPosit(n=n, es=es, rs=rs)
        values, parts = fmt.values(), logs(fmt)
        ascending = [values[word] for word in in_order(n)]
        assert all(lower < upper for lower, upper in itertools.pairwise(ascending))
        for word in range(1, 2 ** (n - 1)):
            assert values[2**n - word] == -values[word]
            assert parts[2 ** (n - 1) - word][1] == -parts[word][1]  # the reciprocal
        assert n == 2 or values[2 ** (n - 2)] == 1

    def test_a_run_of_one_is_uniform_in_log2(self):
        for n, es in ((4, 1), (6, 2), (8, 2)):
            positive = [part[1] for part in logs(LogPosit(n=n, es=es, rs=1))[1 : 2 ** (n - 1)]]
            steps = {upper - lower for lower, upper in itertools.pairwise(positive)}
            assert steps == {Fraction(2 ** (es + 1), 2 ** (n - 1))}  # [-2^es, 2^es) in 2^(n-1) steps

    def test_worked_4_bit_tables(self):
        powers = [2.0**log for log in range(-3, 4)]
        values = LogPosit(n=4, es=1, rs=2).values()
        assert values[:8] == [0.0, *powers]
        assert math.isnan(values[8])
        assert values[9:] == [-8.0, -4.0, -2.0, -1.0, -0.5, -0.25, -0.125]
        assert [part[1] for part in logs(LogPosit(n=4, es=1, rs=3))[1:8]] == [-4, -2, -1, 0, 1, 2, 4]
        halves = [Fraction(log, 2) for log in (-3, -2, -1, 0, 1, 2, 3)]
        for fmt in (LogPosit(n=4, es=1, rs=1), LogPosit(n=4, es=0, rs=2)):
            assert [part[1] for part in logs(fmt)[1:8]] == halves

    def test_worked_8_bit_table(self):
        # Of each group of 8 words its first log2 and the step: LP<8, 2, 3> read by hand.
        groups = [(-12, 1 / 4), (-10, 1 / 4), (-8, 1 / 4), (-6, 1 / 4), (-4, 1 / 8), (-3, 1 / 8), (-2, 1 / 8)]
        groups += [(-1, 1 / 8), (0, 1 / 8), (1, 1 / 8), (2, 1 / 8), (3, 1 / 8), (4, 1 / 4), (6, 1 / 4), (8, 1 / 4)]
        groups += [(10, 1 / 4)]
        expected = [first + step * i for first, step in groups for i in range(8)]
        assert [part[1] for part in logs(LogPosit(n=8, es=2, rs=3))[1:128]] == expected[1:]  # word 0 is zero
        parts = logs(LogPosit(n=8, es=2, rs=3))
        assert parts[0b00010110] == (1, -6.5)  # 00 1: k = -2, a terminator; e = 01; f = 10
        assert parts[0b00001011] == (1, -9.25)  # 000: k = -3 at the cap, none; e = 10; f = 11

    @pytest.mark.parametrize("n", range(9, 17))
    def test_wide_words_equal_the_slow_decoder(self, n):
        draw = np.random.default_rng(n)
        for es, rs in ((0, 1), (1, n - 1), (2, 3), (3, n // 2), (5, n - 1)):
            for rule in RegimeRule if rs > 1 else (RegimeRule.CAPPED,):
                fmt = LogPosit(n=n, es=es, rs=rs, sf=0.25, rule=rule)
                (signs, log2), values = fmt.log2_parts(), fmt.table()
                assert signs[0] == signs[2 ** (n - 1)] == 0
                for word in {1, 2 ** (n - 1) - 1, 2 ** (n - 1) + 1, *draw.integers(1, 2 ** (n - 1), 200).tolist()}:
                    part = int(signs[word]), Fraction(int(log2[word]), 2**fmt.fraction_bits)
                    assert part == slow_log2(word, n, es, rs, rule)
                positive = values[1 : 2 ** (n - 1)]
                assert bool((positive.diff() > 0).all())
                assert bool((positive[0] > 0) & (values[2 ** (n - 1) + 1 :].flip(0) == -positive).all())


class TestEqualFormats:
    def test_duplicates(self):
        for n in range(3, 9):
            for es in range(1, 5):
                assert logs(LogPosit(n=n, es=es, rs=1)) == logs(LogPosit(n=n, es=es - 1, rs=2))
        for es in range(5):
            assert LogPosit(n=2, es=es, rs=1, sf=1.5).values()[:2] == [0.0, 2.0**-1.5]

    def test_distinct_tables(self):
        assert [len(distinct_tables(n, 5)) for n in range(2, 9)] == [1, 7, 13, 19, 25, 31, 37]
        assert distinct_tables(4, 1) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3)]  # <4, 1, 1> is <4, 0, 2>
        for n in range(2, 9):
            seen = {str(LogPosit(n=n, es=es, rs=rs).values()) for es, rs in distinct_tables(n)}
            every = {str(LogPosit(n=n, es=es, rs=rs).values()) for es in range(6) for rs in range(1, n)}
            assert seen == every

    def test_both_readings_agree_without_a_cap(self):
        for n, es, rs in SMALL:
            if rs == n - 1:
                capped, terminated = (LogPosit(n=n, es=es, rs=rs, rule=rule) for rule in RegimeRule)
                assert logs(capped) == logs(terminated)
                assert capped.emitted().tolist() == terminated.emitted().tolist()


class TestTerminated:
    def test_emits_short_regimes_only(self):
        fmt = LogPosit(n=4, es=1, rs=2, rule=RegimeRule.TERMINATED)
        values = fmt.values()
        assert [values[word] for word in fmt.emitted()] == [0, 0.25, 0.5, 1, 2, -2, -1, -0.5, -0.25]
        assert values[:8] == LogPosit(n=4, es=1, rs=3).values()[:8]  # a word that is not emitted still has a value

    @pytest.mark.parametrize("n", range(3, 9))
    def test_regime_takes_rs_bits_at_most(self, n):
        for rs in range(2, n - 1):
            fmt = LogPosit(n=n, es=0, rs=rs, rule=RegimeRule.TERMINATED)
            bodies = [format(word, f"0{n - 1}b") for word in range(1, 2 ** (n - 1))]
            short = [int(body, 2) for body in bodies if len(set(body[:rs])) == 2]
            assert fmt.emitted().tolist() == [0, *short, *(2**n - word for word in reversed(short))]

    def test_saturates_to_what_is_emitted(self):
        for rounding in LogRounding:
            fmt = LogPosit(n=8, es=2, rs=3, rule=RegimeRule.TERMINATED, rounding=rounding)
            far = torch.tensor([-torch.inf, -1e30, 1e30, torch.inf])
            assert fmt.encode(far).tolist() == [256 - 0b01101111] * 2 + [0b01101111] * 2
            small = fmt.encode(torch.tensor([1e-30, -1e-30])).tolist()
            assert small == ([0, 0] if rounding is LogRounding.NEAREST else [0b00010000, 256 - 0b00010000])


class TestEncoding:
    @pytest.mark.parametrize("rounding", LogRounding)
    @pytest.mark.parametrize("rule", RegimeRule)
    def test_inverts_decoding(self, rule, rounding):
        for n, es, rs in SMALL:
            if rule is RegimeRule.TERMINATED and rs == 1 and n > 2:
                continue
            for sf in SFS:
                fmt = LogPosit(n=n, es=es, rs=rs, sf=sf, rule=rule, rounding=rounding)
                words = torch.from_numpy(fmt.emitted()).to(torch.uint8)
                found = fmt.encode(fmt.decode(words))
                assert found.dtype == torch.uint8
                assert torch.equal(found, words)

    @pytest.mark.parametrize("rounding", LogRounding)
    @pytest.mark.parametrize("n", range(9, 17))
    def test_inverts_decoding_of_wide_words(self, n, rounding):
        fmt = LogPosit(n=n, es=2, rs=n // 2, sf=0.3, rounding=rounding)
        words = torch.from_numpy(fmt.emitted()).int()
        found = fmt.encode(fmt.decode(words))
        assert found.dtype == torch.int32
        assert torch.equal(found, words)

    @pytest.mark.parametrize("rounding", LogRounding)
    @pytest.mark.parametrize("rule", RegimeRule)
    def test_around_every_edge(self, rule, rounding):
        for n, es, rs, sf in ((3, 1, 2, 0.0), (4, 0, 2, 0.37), (5, 1, 3, -2.5), (6, 2, 4, 0.0), (6, 0, 5, 7.25)):
            fmt = LogPosit(n=n, es=es, rs=rs, sf=sf, rule=rule, rounding=rounding)
            edges = fmt.lookup().edges
            assert bool((edges.diff() > 0).all())
            near = torch.stack([edges.nextafter(torch.tensor(-torch.inf)), edges]).T.flatten()
            assert fmt.encode(near).tolist() == [slow(x, fmt) for x in near.tolist()]

    @given(
        x=st.floats(width=32, allow_nan=False, allow_infinity=False),
        fields=st.sampled_from(SMALL),
        sf=st.sampled_from(SFS) | st.floats(-20, 20),
        rule=st.sampled_from(RegimeRule),
        rounding=st.sampled_from(LogRounding),
    )
    @example(x=3.0, fields=(4, 1, 3), sf=0.0, rule=RegimeRule.CAPPED, rounding=LogRounding.NEAREST)  # a tie
    @example(x=8.0, fields=(4, 1, 3), sf=0.0, rule=RegimeRule.CAPPED, rounding=LogRounding.LOG)  # a tie
    @example(x=-TINY, fields=(8, 2, 3), sf=0.0, rule=RegimeRule.CAPPED, rounding=LogRounding.LOG)
    def test_equals_trying_every_word(self, x, fields, sf, rule, rounding):
        n, es, rs = fields
        rs = max(rs, 2) if rule is RegimeRule.TERMINATED and n > 2 else rs
        fmt = LogPosit(n=n, es=es, rs=rs, sf=sf, rule=rule, rounding=rounding)
        assert fmt.encode(torch.tensor([x])).tolist() == [slow(x, fmt)]

    @given(x=st.floats(-1e6, 1e6, width=32), n=st.integers(9, 16), es=st.integers(0, 3), sf=st.floats(-8, 8))
    def test_wide_words_equal_the_nearer_neighbour(self, x, n, es, sf):
        fmt = LogPosit(n=n, es=es, rs=n // 2, sf=sf)
        values, words = fmt.values(), in_order(n)
        place = bisect.bisect([values[word] for word in words], x)
        near = words[max(place - 1, 0) : place + 1]
        expected = min(near, key=lambda word: (abs(Fraction(values[word]) - Fraction(x)), word % 2))
        assert fmt.encode(torch.tensor([x])).tolist() == [expected]

    def test_ties_by_hand(self):
        # LP<4, 1, 3>: 2, 4, 16 have the words 5, 6, 7.
        x = torch.tensor([3.0, 10.0, 8.0, 64.0])
        assert LogPosit(n=4, es=1, rs=3).encode(x).tolist() == [6, 6, 6, 7]
        # In log2 the middle of 2 and 4 is 2^1.5, of 4 and 16 it is 8.
        assert LogPosit(n=4, es=1, rs=3, rounding=LogRounding.LOG).encode(x).tolist() == [6, 7, 6, 7]

    @pytest.mark.parametrize("rounding", LogRounding)
    def test_zero_infinity_nan(self, rounding):
        for n in (2, 4, 8, 12):
            fmt = LogPosit(n=n, es=1, rs=1, rounding=rounding)
            top, nar = 2 ** (n - 1) - 1, 2 ** (n - 1)
            x = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, torch.nan])
            assert fmt.encode(x).tolist() == [0, 0, top, 2**n - top, nar]
            assert bool(fmt.decode(fmt.encode(x))[-1].isnan())

    def test_log_rounding_keeps_zero_for_zero(self):
        for n, es, rs in SMALL:
            fmt = LogPosit(n=n, es=es, rs=rs, rounding=LogRounding.LOG)
            assert fmt.encode(torch.tensor([TINY, -TINY])).tolist() == [1, 2**n - 1]

    def test_values_beyond_float32(self):
        fmt = LogPosit(n=8, es=5, rs=7)  # up to 2^192, and 2^-192
        x = torch.tensor([3e38, -3e38, TINY, torch.inf, -torch.inf])
        assert fmt.encode(x).tolist() == [slow_nearest(one, fmt) for one in x[:3].tolist()] + [127, 129]
        assert fmt.decode(torch.tensor([127, 129, 1, 255])).tolist() == [torch.inf, -torch.inf, 0, 0]


class TestFields:
    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"n": 1, "es": 0, "rs": 1}, "2 to 16 bits .n., not 1"),
            ({"n": 17, "es": 0, "rs": 1}, "2 to 16 bits .n., not 17"),
            ({"n": 8, "es": 6, "rs": 1}, "0 to 5 exponent bits .es., not 6"),
            ({"n": 8, "es": -1, "rs": 1}, "0 to 5 exponent bits .es., not -1"),
            ({"n": 8, "es": 2, "rs": 8}, "a regime of 1 to 7 bits .rs., not 8"),
            ({"n": 8, "es": 2, "rs": 0}, "a regime of 1 to 7 bits .rs., not 0"),
            ({"n": 8, "es": 2, "rs": 3, "sf": math.nan}, "from -512 to 512, not nan"),
            ({"n": 8, "es": 2, "rs": 3, "sf": math.inf}, "from -512 to 512, not inf"),
            ({"n": 8, "es": 2, "rs": 1, "rule": RegimeRule.TERMINATED}, "2 to 7 bits .rs. of 8, not 1"),
        ],
    )
    def test_bad_fields_are_refused(self, fields, message):
        with pytest.raises(ValueError, match=message):
            LogPosit(**fields)

    def test_goes_through_json(self):
        fmt = LogPosit(n=6, es=1, rs=3, sf=0.3, rule=RegimeRule.TERMINATED, rounding=LogRounding.LOG)
        kind = registry.lookup("bitwright.formats", "log-posit")
        fields = pydantic.TypeAdapter(kind).dump_python(fmt, mode="json")
        assert fields == {"n": 6, "es": 1, "rs": 3, "sf": 0.3, "rule": "terminated", "rounding": "log"}
        assert pydantic.TypeAdapter(kind).validate_python(fields) == fmt

    def test_fields_decide_what_is_equal(self):
        assert LogPosit(n=8, es=2, rs=3).lookup() is LogPosit(n=8, es=2, rs=3).lookup()
        assert dataclasses.replace(LogPosit(n=8, es=2, rs=3), sf=1.0) != LogPosit(n=8, es=2, rs=3)
