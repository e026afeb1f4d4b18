"""AdaptivFloat, ANT's types and posits against tables made by hand; the kernels of tables against a binary search."""

import math
import struct
from fractions import Fraction

import numpy as np
import pydantic
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bitwright import registry
from bitwright.formats import (
    AdaptivFloat,
    Flint,
    Format,
    LogPosit,
    LogRounding,
    Posit,
    PositRounding,
    PowerOfTwo,
    adaptivfloat_scale,
)
from bitwright.formats.lookup import LARGE, cells_of

FORMATS = [
    *(AdaptivFloat(bits=bits, exponent_bits=e) for bits in range(2, 9) for e in range(1, bits)),
    *(PowerOfTwo(bits=bits, signed=signed) for signed in (True, False) for bits in range(2, 9 if signed else 8)),
    *(Flint(bits=bits, signed=signed) for signed in (True, False) for bits in range(3, 9)),
    *(Posit(n=n, es=es, rounding=rounding) for n in range(2, 9) for es in range(4) for rounding in PositRounding),
    *(LogPosit(n=n, es=es, rs=rs, sf=0.3) for n in (2, 4, 8) for es in range(4) for rs in range(1, n)),
    *(LogPosit(n=8, es=es, rs=3, rounding=LogRounding.LOG) for es in range(6)),
]
KERNEL_FORMATS = [
    *FORMATS[::5],
    Posit(n=8, es=4),
    AdaptivFloat(bits=8, exponent_bits=7),
    Flint(bits=8, signed=False),
    LogPosit(n=8, es=0, rs=1),
]


def slow_nearest(x, fmt):
    """The nearest value by trying every word; the smallest of words with one value."""
    words = {value: word for word, value in reversed(list(enumerate(fmt.values()))) if not math.isnan(value)}
    values = fmt.values()
    return min(
        words.values(), key=lambda word: (abs(Fraction(values[word]) - Fraction(x)), word % 2, abs(values[word]))
    )


def slow_posit(word, n, es):
    """The value of a posit, bit by bit; None for NaR."""
    if word in (0, 2 ** (n - 1)):
        return Fraction(0) if word == 0 else None
    negative = word > 2 ** (n - 1)
    bits = format(2**n - word if negative else word, f"0{n}b")[1:]
    rest = bits.lstrip(bits[0])
    run = len(bits) - len(rest)
    k = run - 1 if bits[0] == "1" else -run
    tail = rest[1:]
    exponent = int(tail[:es].ljust(es, "0") or "0", 2)
    fraction = Fraction(int("1" + tail[es:], 2), 2 ** len(tail[es:]))
    return (-1 if negative else 1) * Fraction(2) ** (2**es * k + exponent) * fraction


def from_pattern(pattern):
    return struct.unpack("f", struct.pack("I", pattern))[0]


class TestEveryFormat:
    @pytest.mark.parametrize("fmt", FORMATS, ids=str)
    def test_encode_inverts_decode(self, fmt):
        assert isinstance(fmt, Format)
        words = torch.arange(2**fmt.bits).to(torch.uint8)
        reals = fmt.decode(words)
        again = fmt.decode(fmt.encode(reals))
        assert reals.dtype == torch.float32
        assert torch.equal(again.nan_to_num(123), reals.nan_to_num(123))  # -0 and 0 are one value with two words
        assert torch.equal(fmt.table(), torch.tensor(fmt.values(), dtype=torch.float64)) or bool(
            fmt.table().isnan().any()
        )

    @given(x=st.floats(width=32, allow_nan=False, allow_infinity=False), index=st.integers(0, len(FORMATS) - 1))
    def test_equals_trying_every_word(self, x, index):
        fmt = FORMATS[index]
        if getattr(fmt, "rounding", "nearest") == "nearest":
            assert fmt.encode(torch.tensor([x])).tolist() == [slow_nearest(x, fmt)]

    @pytest.mark.parametrize("fmt", FORMATS, ids=str)
    def test_is_odd_at_ties_too(self, fmt):
        values = fmt.table()[~fmt.table().isnan()].unique()
        if values.min() < 0:
            middles = ((values[1:] + values[:-1]) / 2).float()
            x = torch.cat([values.float(), middles, fmt.lookup().edges])
            assert torch.equal(fmt.decode(fmt.encode(-x)), -fmt.decode(fmt.encode(x)))

    @pytest.mark.parametrize("fmt", FORMATS[::3], ids=str)
    def test_is_monotone_and_saturates(self, fmt):
        values = fmt.table()[~fmt.table().isnan()].float()
        x = torch.linspace(-1.5, 1.5, 5001) * float(values.abs().max().clamp(max=1e30))
        found = fmt.decode(fmt.encode(x))
        assert bool((found.diff() >= 0).all())
        far = fmt.decode(fmt.encode(torch.tensor([-torch.inf, torch.inf])))
        assert far.tolist() == [float(values.min()), float(values.max())]

    @pytest.mark.parametrize(
        ("kind", "fmt", "fields"),
        [
            ("adaptivfloat", AdaptivFloat(bits=6, exponent_bits=2), {"bits": 6, "exponent_bits": 2}),
            ("power-of-two", PowerOfTwo(bits=4, signed=False), {"bits": 4, "signed": False}),
            ("flint", Flint(bits=4), {"bits": 4, "signed": True}),
            ("posit", Posit(n=8, es=1), {"n": 8, "es": 1, "rounding": "standard"}),
        ],
    )
    def test_goes_through_json(self, kind, fmt, fields):
        adapter = pydantic.TypeAdapter(registry.lookup("bitwright.formats", kind))
        assert adapter.dump_python(fmt, mode="json") == fields
        assert adapter.validate_python(fields) == fmt

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: AdaptivFloat(bits=9), "2 to 8 bits here, not 9"),
            (lambda: AdaptivFloat(bits=4, exponent_bits=4), "1 to 3 exponent bits, not 4"),
            (lambda: AdaptivFloat(bits=4, exponent_bits=0), "1 to 3 exponent bits, not 0"),
            (lambda: PowerOfTwo(bits=8, signed=False), "unsigned powers of two have 2 to 7 bits here, not 8"),
            (lambda: PowerOfTwo(bits=1), "signed powers of two have 2 to 8 bits here, not 1"),
            (lambda: Flint(bits=2), "signed flint has 3 to 8 bits here, not 2"),
            (lambda: Flint(bits=9, signed=False), "unsigned flint has 2 to 8 bits here, not 9"),
            (lambda: Posit(n=9), "2 to 8 bits here, not 9"),
            (lambda: Posit(n=8, es=6), "0 to 5 exponent bits .es., not 6"),
            (lambda: adaptivfloat_scale(-1.0, AdaptivFloat(bits=8)), "at least 0, not -1"),
            (lambda: adaptivfloat_scale(math.inf, AdaptivFloat(bits=8)), "at least 0, not inf"),
            (lambda: adaptivfloat_scale(math.nan, AdaptivFloat(bits=8)), "at least 0, not nan"),
        ],
    )
    def test_bad_fields_are_refused(self, make, message):
        with pytest.raises(ValueError, match=message):
            make()


class TestAdaptivFloat:
    def test_tables_by_hand(self):
        # <4, 2> with max |x| in [2, 4): bias -2, binades 1/4 .. 2 of 2 values, of which 1/4 is given up for zero.
        fmt, scale = AdaptivFloat(bits=4, exponent_bits=2), adaptivfloat_scale(2.89, AdaptivFloat(bits=4))
        assert (fmt.name, scale) == ("af4", 2.0)
        assert [value * scale for value in fmt.values()[:8]] == [0, 0.375, 0.5, 0.75, 1, 1.5, 2, 3]
        assert fmt.values()[8:] == [-value for value in fmt.values()[:8]]
        # <8, 3>: 8 binades of 16 values up to [1, 2).
        values = AdaptivFloat(bits=8).values()
        assert (values[1], values[15], values[16], values[127]) == (17 / 2048, 31 / 2048, 1 / 64, 31 / 16)

    def test_example_by_hand(self):
        fmt = AdaptivFloat(bits=4, exponent_bits=2)
        x = torch.tensor([-1.17, 2.71, -1.60, 0.43, 0.07, 0.16, 0.19, -0.89, -0.87, -0.39, 0.64, -2.89, 100.0])
        scale = adaptivfloat_scale(2.89, fmt)
        found = (fmt.decode(fmt.encode(x / scale)) * scale).tolist()
        assert found == [-1, 3, -1.5, 0.375, 0, 0, 0.375, -1, -0.75, -0.375, 0.75, -3, 3]

    @given(st.floats(0, 1e30, exclude_min=True))
    def test_scale_puts_the_largest_in_the_largest_binade(self, largest):
        scale = adaptivfloat_scale(largest, AdaptivFloat(bits=8))
        assert scale <= largest < 2 * scale
        assert math.frexp(scale)[0] == 0.5

    def test_scale_of_zeros(self):
        assert adaptivfloat_scale(0.0, AdaptivFloat(bits=8)) == 1.0


class TestAnt:
    def test_power_of_two_by_hand(self):
        assert (PowerOfTwo(bits=4).name, PowerOfTwo(bits=4, signed=False).name) == ("pot4", "upot4")
        assert PowerOfTwo(bits=4).values() == [0, 1, 2, 4, 8, 16, 32, 64, 0, -1, -2, -4, -8, -16, -32, -64]
        assert PowerOfTwo(bits=4, signed=False).values() == [0, *(2**e for e in range(15))]
        assert PowerOfTwo(bits=8).values()[127] == 2.0**126

    def test_flint_by_hand(self):
        assert (Flint(bits=4).name, Flint(bits=4, signed=False).name) == ("flint4", "uflint4")
        unsigned = Flint(bits=4, signed=False).values()
        assert unsigned[:8] == [0, 1, 2, 3, 4, 5, 6, 7]  # 0xxx: integers
        assert unsigned[0b1100:] == [8, 10, 12, 14]  # 11xx
        assert unsigned[0b1010:0b1100] == [16, 24]  # 101x
        assert (unsigned[0b1001], unsigned[0b1000]) == (32, 64)
        assert Flint(bits=4).values()[:8] == [0, 1, 2, 3, 16, 8, 4, 6]
        assert Flint(bits=4).values()[8:] == [0, -1, -2, -3, -16, -8, -4, -6]

    def test_flint_ties_by_hand(self):
        # 6 and 8 have the words 111 and 101, of which none is even: the smaller; 8 and 16 (100): the even one.
        x = torch.tensor([7.0, -7.0, 12.0, -12.0, 2.5, 3.5])
        assert Flint(bits=4).decode(Flint(bits=4).encode(x)).tolist() == [6, -6, 16, -16, 2, 4]

    @pytest.mark.parametrize("bits", range(2, 9))
    def test_flint_thins_out_by_binades(self, bits):
        # ANT's list of values: 2^i of them in the binade of 2^i up to 2^(b-2), then half as many in each, one at last.
        expected = [Fraction(0)]
        counts = [2**i for i in range(bits - 1)] + [2**i for i in reversed(range(bits - 1))] + [1]
        for i, count in enumerate(counts):
            expected += [Fraction(2**i) * (1 + Fraction(j, count)) for j in range(count)]
        assert sorted(Flint(bits=bits, signed=False).values()) == expected
        if bits > 2:
            assert sorted(Flint(bits=bits).values()[: 2 ** (bits - 1)]) == sorted(
                Flint(bits=bits - 1, signed=False).values()
            )

    def test_signed_zero_is_read_and_not_written(self):
        for fmt in (Flint(bits=4), PowerOfTwo(bits=4), AdaptivFloat(bits=4)):
            assert fmt.encode(torch.tensor([-0.0, 0.0, -1e-9])).tolist() == [0, 0, 0]
            assert fmt.decode(torch.tensor([8])).tolist() == [0]


class TestPosit:
    @pytest.mark.parametrize("n", range(2, 9))
    def test_every_word_equals_the_slow_decoder(self, n):
        for es in range(6):
            values = Posit(n=n, es=es).values()
            assert [None if math.isnan(value) else Fraction(value) for value in values] == [
                slow_posit(word, n, es) for word in range(2**n)
            ]

    def test_known_values(self):
        assert Posit(n=4, es=1).values()[:8] == [0, 1 / 16, 1 / 4, 1 / 2, 1, 2, 4, 16]
        assert Posit(n=8, es=0).values()[126:128] == [32, 64]
        assert (Posit(n=8).name, Posit(n=8).values()[127], Posit(n=8).values()[1]) == ("posit8", 2.0**24, 2.0**-24)
        assert Posit(n=8).values()[0b01000101] == 1.625  # 10 00 101

    def test_rounding_by_hand(self):
        # Of 4 bits: 4 and 16 are 0110 and 0111; in between lies 01101 of 5 bits, 8, and half-way 10.
        x = torch.tensor([8.0, 8.1, 10.0, 10.1, 1e-9, -1e-9, 0.0, 100.0, torch.nan])
        assert Posit(n=4, es=1).encode(x).tolist() == [6, 7, 7, 7, 1, 15, 0, 7, 8]
        nearest = Posit(n=4, es=1, rounding=PositRounding.NEAREST)
        assert nearest.encode(x).tolist() == [6, 6, 6, 7, 0, 0, 0, 7, 8]

    @pytest.mark.parametrize("n", range(2, 9))
    def test_standard_rounding_equals_the_posit_with_one_more_bit(self, n):
        for es in range(4):
            fmt = Posit(n=n, es=es)
            for word in range(1, 2 ** (n - 1) - 1):
                middle = float(slow_posit(2 * word + 1, n + 1, es))
                above, below = (math.nextafter(middle, to) for to in (math.inf, 0))
                single = [float(np.nextafter(np.float32(middle), np.float32(to))) for to in (0, np.inf)]
                assert below < middle < above
                even = word if word % 2 == 0 else word + 1
                found = fmt.encode(torch.tensor([single[0], middle, single[1]])).tolist()
                assert found == [word, even, word + 1]
                mirrored = fmt.encode(-torch.tensor([single[0], middle, single[1]])).tolist()
                assert mirrored == [2**n - one for one in found]

    def test_equals_qtorch_plus(self):
        quant = pytest.importorskip("qtorch_plus.quant", reason="qtorch-plus compiles itself and is no dependency")
        x = torch.cat([torch.randn(10000) * 2.0**e for e in (-8, 0, 8)])
        for n in range(3, 9):
            for es in range(3):
                fmt = Posit(n=n, es=es)
                assert torch.equal(fmt.decode(fmt.encode(x)), quant.posit_quantize(x, nsize=n, es=es))


class TestKernels:
    @pytest.mark.parametrize("fmt", KERNEL_FORMATS, ids=str)
    def test_encode_equals_the_search(self, fmt):
        lookup = fmt.lookup()
        assert cells_of(lookup) is not None
        edges = lookup.edges.view(torch.int32)
        around = torch.cat([edges + step for step in (-2, -1, 0, 1, 2)]).view(torch.float32)
        cells = torch.arange(-(2**31), 2**31, 2**16).to(torch.int32)
        random = torch.randint(-(2**31), 2**31, (LARGE,), generator=torch.Generator().manual_seed(1)).to(torch.int32)
        special = [
            0,
            1,
            2**31 - 1,
            -(2**31),
            -(2**31) + 1,
            -1,
            0x7F7FFFFF,
            0x7F800000,
            0x7F800001,
            -(2**23),
            -(2**23) + 1,
        ]
        patterns = torch.cat([cells, cells - 1, random, torch.tensor(special, dtype=torch.int32)])
        x = torch.cat([around, -around, patterns.view(torch.float32)])
        assert torch.equal(lookup.encode(x), lookup.search(x))
        scale = torch.tensor(0.37)
        assert torch.equal(lookup.encode(x, scale), lookup.search(x / scale))

    @pytest.mark.parametrize("fmt", KERNEL_FORMATS[::4], ids=str)
    def test_decode_equals_the_table(self, fmt):
        words = torch.randint(2**fmt.bits, (LARGE + 3,), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
        assert torch.equal(fmt.decode(words).nan_to_num(7), fmt.lookup().table[words.int()].nan_to_num(7))

    def test_nan_becomes_nar_or_the_largest(self):
        for size in (3, LARGE):
            x = torch.full((size,), torch.nan)
            assert set(LogPosit(n=8, es=2, rs=3).encode(x).tolist()) == {128}
            assert set(Posit(n=8).encode(-x).tolist()) == {128}
            assert set(AdaptivFloat(bits=8).encode(x).tolist()) == {127}
            assert set(Flint(bits=4, signed=False).encode(x).tolist()) == {0b1000}

    def test_edges_too_near_for_cells_are_searched(self):
        fmt = LogPosit(n=8, es=0, rs=1, sf=130.0)  # 64 values per binade, all of them subnormal
        assert cells_of(fmt.lookup()) is None
        x = torch.linspace(-1, 1, LARGE) * 2.0**-128
        assert torch.equal(fmt.encode(x), fmt.lookup().search(x))
        wide = LogPosit(n=10, es=0, rs=1)
        assert cells_of(wide.lookup()) is None
        assert torch.equal(
            wide.encode(torch.linspace(-3, 3, LARGE)), wide.lookup().search(torch.linspace(-3, 3, LARGE))
        )

    @pytest.mark.parametrize("size", [4, 200])
    def test_layouts(self, size):
        fmt = LogPosit(n=8, es=2, rs=3)
        last = torch.randn(2, 8, size, size).to(memory_format=torch.channels_last)
        assert fmt.encode(last).is_contiguous(memory_format=torch.channels_last)
        assert fmt.decode(fmt.encode(last)).is_contiguous(memory_format=torch.channels_last)
        for x in (last, last[:, ::2], last.transpose(1, 3), last[:, :1].expand(2, 8, size, size), last[:0]):
            plain = x.clone(memory_format=torch.contiguous_format)
            assert torch.equal(fmt.encode(x), fmt.encode(plain))
            assert torch.equal(fmt.decode(fmt.encode(x)), fmt.decode(fmt.encode(plain)))

    def test_scales_of_rows_and_gradients(self):
        fmt, x = Flint(bits=4), torch.randn(4, LARGE, requires_grad=True)
        scale = torch.tensor([[0.1], [0.2], [0.3], [0.4]])
        assert torch.equal(fmt.lookup().encode(x, scale), fmt.encode(x / scale))
        assert torch.equal(fmt.encode(x), fmt.lookup().search(x.detach()))
        assert torch.equal(fmt.encode(x.double()), fmt.encode(x))
