"""Circuits of LPA against the log posits and sums of this project."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from bitwright.circuits import LogConverter, LogPositDecoder, LogPositEncoder, LpaPe, NarrowAdder, circuit_of
from bitwright.circuits.circuit import Words
from bitwright.circuits.equality import compare
from bitwright.circuits.narrow_adder import Number
from bitwright.errors import InputError
from bitwright.formats import Integer, LogPosit, LogRounding, Quantized, converter_table
from bitwright.methods.narrow.method import looked_up, running_sums
from bitwright.methods.tabled.log_products import reference_log_product
from toys import linear_view

WIDTHS = {2: 8, 1: 4, 0: 2}
"""Bits of words by mode."""
LP8, LP4, LP2 = LogPosit(n=8, es=2, rs=3), LogPosit(n=4, es=1, rs=2), LogPosit(n=2, es=0, rs=1)
LENGTH = 40


def packed(words, bits):
    """Words of so many bits, the first in the highest bits, as one of 8."""
    return sum(word << (8 - bits * (at + 1)) for at, word in enumerate(words))


def ports(word, **constants):
    return {"word": word, **{name: np.full_like(word, value) for name, value in constants.items()}}


class TestDecoder:
    @pytest.mark.parametrize("mode", WIDTHS)
    def test_lanes_have_the_values_of_the_format(self, mode):
        """Every word in every lane, the other lanes holding others, of every es and rs."""
        bits, unit = WIDTHS[mode], LogPositDecoder(fraction_bits=6)
        words = np.arange(1 << bits)[:, None]
        for es in range(4):
            for rs in range(1, 8):
                values = np.array(LogPosit(n=bits, es=es, rs=min(rs, bits - 1)).values())
                mixed = [(words + 3 * at) % (1 << bits) for at in range(8 // bits)]
                found = unit.model(ports(packed(mixed, bits), mode=mode, es=es, run=rs - 1))
                for at, word in enumerate(mixed):
                    lane = at * bits // 2
                    told = np.nan_to_num(values[word], nan=0.0)
                    zero, sign = (found[name] >> lane & 1 for name in ("zero", "sign"))
                    log = found["log"][..., lane // 2] if lane % 2 == 0 and bits > 2 else np.zeros_like(word)
                    assert (np.where(zero, 0, (1 - 2 * sign) * np.exp2(log / 64)) == told).all()

    def test_lanes_that_are_not_used_are_zero(self):
        word = np.array([[0b01010101]])
        for mode, used in ((2, 0b0001), (1, 0b0101), (0, 0b1111)):
            assert LogPositDecoder().model(ports(word, mode=mode, es=1, run=1))["zero"].item() == 15 - used

    def test_by_hand(self):
        """LP<8,2,3>: 0|0010110 has log2 -6.5; 0|0001011 a run of 3 without terminator, -9.25."""
        found = LogPositDecoder().model(ports(np.array([[0b0010110], [0b0001011]]), mode=2, es=2, run=2))
        assert found["log"][:, 0, 0].tolist() == [-6.5 * 8, -9.25 * 8]


def test_converter():
    unit = LogConverter(fraction_bits=4)
    assert unit.model({"log": np.arange(16)[None]})["linear"].tolist() == [converter_table(4)]


def real(sign, exponent, significand, bits):
    """Numbers of a circuit's ports, exactly."""
    return (1 - 2 * int(sign)) * Fraction(int(significand), 1 << (bits - 1)) * Fraction(2) ** int(exponent)


def rounded(number, bits):
    """To so many significant bits, half to even: the definition."""
    if not number:
        return number
    top = abs(number).numerator.bit_length() - abs(number).denominator.bit_length()
    unit = Fraction(2) ** (top - (abs(number) < Fraction(2) ** top) - bits + 1)
    return round(number / unit) * unit


class TestNarrowAdder:
    @pytest.mark.parametrize(("bits", "product_bits"), [(8, 4), (2, 5), (3, 3)])
    def test_nearest_is_the_exact_sum_rounded_once(self, bits, product_bits):
        """Exponents near each other, where numbers cancel and ties are, and far apart."""
        generator, unit = np.random.default_rng(bits), NarrowAdder(bits=bits, product_bits=product_bits)
        given = {}
        for name, width in (("product", product_bits), ("stored", bits)):
            given[f"{name}_sign"] = generator.integers(0, 2, (1, 1000))
            given[f"{name}_exponent"] = generator.choice([-70, -9, *range(-4, 5), 30], (1, 1000))
            one = generator.random((1, 1000)) < 0.95
            given[f"{name}_significand"] = np.where(one, generator.integers(1 << (width - 1), 1 << width, (1, 1000)), 0)
        found = unit.model(given)
        for at in range(1000):
            product, stored, total = (
                real(*(each[f"{name}_{part}"][0, at] for part in ("sign", "exponent", "significand")), width)
                for name, width, each in (
                    ("product", product_bits, given),
                    ("stored", bits, given),
                    ("sum", bits, found),
                )
            )
            assert total == rounded(product + stored, bits), (product, stored)

    def test_truncated_by_hand(self):
        """1.75 + 0.4375 in 3 bits: 0.4375 moves down by 2 and becomes 0.25; the sum 2.0; -1.75 + 0.4375 gives -1.5."""
        unit = NarrowAdder(bits=3, product_bits=3, rounding="truncated")
        both = {"product_exponent": [[-2, -2]], "product_significand": [[7, 7]], "product_sign": [[0, 0]]}
        both |= {"stored_exponent": [[0, 0]], "stored_significand": [[7, 7]], "stored_sign": [[0, 1]]}
        found = unit.model({name: np.array(values) for name, values in both.items()})
        assert [found[f"sum_{part}"].tolist() for part in ("sign", "exponent", "significand")] == [
            [[0, 1]],
            [[1, 0]],
            [[0b100, 0b110]],
        ]


def columns(x, w, seed=0):
    """Words of two sums of LENGTH products in three streams, and where they begin."""
    generator = np.random.default_rng(seed)
    codes = [generator.integers(0, 1 << fmt.bits, (2 * LENGTH, 3)) for fmt in (x, w)]
    begins = np.zeros_like(codes[0])
    begins[::LENGTH] = 1
    return Words(codes=codes[0], format=x), Words(codes=codes[1], format=w), begins


class TestLpaPe:
    @pytest.mark.parametrize(("w", "bits"), [(LP8, 8), (LP4, 4), (LP2, 2)])
    def test_narrow_sums_are_those_of_the_method(self, w, bits):
        """As drawn: 8, 4, 2 significant bits by the weight's width, in every lane that holds one."""
        left, right, begins = columns(LP8, w)
        found = LpaPe().model(LpaPe().feed_words(left, right, begins))
        for start in range(0, len(begins), LENGTH):
            for length in (2, 3, LENGTH - 1):
                taken = slice(start + (start == 0), start + length)
                x, by = (
                    Quantized(
                        codes=torch.from_numpy(each.codes[taken].T.copy()).to(torch.uint8),
                        format=each.format,
                        scale=torch.ones(()),
                    )
                    for each in (left, right)
                )
                told = running_sums(linear_view(x.codes.float(), by.codes.float()), *looked_up(x, by), bits).diag()
                for lane in range(0, 4, w.bits // 2):
                    sign, exponent, digits = (found[f"sum_{part}"][start + length, :, lane] for part in Number._fields)
                    assert ((1 - 2 * sign) * np.ldexp(digits / 128, exponent)).tolist() == told.tolist()

    @pytest.mark.parametrize("w", [LP8, LP4, LP2])
    def test_exact_sums_are_those_of_the_reference(self, w):
        unit = circuit_of(LpaPe, {"sums": "exact", "integer_bits": 5})
        left, right, begins = columns(LP8, w)
        found = unit.model(unit.feed_words(left, right, begins))["sum"]
        for lane, least in ((0, -27), (1, -15), (2, -19), (3, -15)):
            if lane % (w.bits // 2):
                continue
            for start in range(0, len(begins), LENGTH):
                taken = slice(start + (start == 0), start + LENGTH - 1)
                for at in range(3):
                    told = reference_log_product(left.codes[taken, at], right.codes[taken, at], LP8, w)
                    assert int(found[start + LENGTH - 1, at, lane]) * Fraction(2) ** least == told

    @pytest.mark.parametrize("sums", ["exact", "narrow"])
    def test_every_pair_of_4_bits_in_rtl(self, sums):
        """Decoded words of 4 bits in both lanes: their products, and RTL that agrees."""
        for needed in ("amaranth", "pyosys"):
            pytest.importorskip(needed, reason=f"RTL needs {needed}: pip install 'bitwright[rtl]'")
        x, w = (each.reshape(1, -1) for each in np.meshgrid(np.arange(16), np.arange(16)))
        constants = {"es": 1, "run": 1, "mode": 1}
        decoder = LogPositDecoder(fraction_bits=1)
        of_x = decoder.model(ports(x << 4, **constants))
        of_w = decoder.model(ports(w << 4 | (w + 3) % 16, **constants))
        inputs = {
            **{f"x_{part}": of_x[part] & 1 for part in ("sign", "zero")},
            "x_log": of_x["log"][..., 0],
            **{f"w_{part}": values for part, values in of_w.items()},
            "load": np.ones_like(x),
        }
        unit = circuit_of(LpaPe, {"sums": sums, "fraction_bits": 1, "bits_4": 4, "reach": 4})
        for port in unit.ports().inputs:
            if port.name not in inputs:
                value = 1 if port.name == "mode" else 0
                inputs[port.name] = np.full((1, 256, *([port.lanes] if port.lanes else [])), value)
        held = {name: np.repeat(values, 3, 0) for name, values in inputs.items()}
        found = unit.model(held)
        for lane, word in ((0, w), (2, (w + 3) % 16)):
            told = [reference_log_product([a], [b], LP4, LP4) for a, b in zip(x[0], word[0], strict=True)]
            if sums == "exact":
                scale = Fraction(2) ** -(8 + 1)
                assert [int(each) * scale for each in found["sum"][2, :, lane]] == told
            else:
                parts = [found[f"sum_{part}"][2, :, lane] for part in ("sign", "exponent", "significand")]
                assert [real(*each, 8) for each in zip(*parts, strict=True)] == told
        if sums == "narrow":  # exact ones are compared at their real widths
            assert compare(unit, held).wrong == 0

    def test_what_has_no_place(self):
        ones = np.ones((2, 1), np.int64)
        fine = Words(codes=ones, format=LogPosit(n=8, es=1, rs=3))
        words = {fmt: Words(codes=ones, format=fmt) for fmt in (LP8, LogPosit(n=8, es=3, rs=7), Integer(bits=8))}
        eight, wide, integer = words.values()
        for other in (integer, Words(codes=ones, format=LogPosit(n=9, es=3, rs=3))):
            with pytest.raises(InputError, match="log posits of at most 8 bits; choose --method lp8 or lpq"):
                LpaPe().feed_words(eight, other, ones)
        with pytest.raises(InputError, match=r"are lp8 by lp8 of 4 fraction bits, .* set fraction_bits to 4"):
            LpaPe().feed_words(fine, eight, ones)
        for given, said in (
            ({}, "below 16; set integer_bits$"),
            ({"sums": "exact"}, "below 12; set integer_bits and reach$"),
        ):
            unit = circuit_of(LpaPe, {"integer_bits": 5, **given})
            with pytest.raises(InputError, match=rf"a logarithm of the layer's words is 48 in magnitude, .* {said}"):
                unit.feed_words(wide, eight, ones)
        with pytest.raises(InputError, match="exact sums take 66 bits, and at most 63 are built"):
            circuit_of(LpaPe, {"sums": "exact", "reach": 13})


class TestEncoder:
    @pytest.mark.parametrize("mode", WIDTHS)
    @pytest.mark.parametrize(("es", "rs", "scale"), [(0, 1, 0), (1, 2, 0), (2, 3, 37), (2, 7, -300), (3, 5, 1)])
    def test_words_are_those_of_the_format(self, mode, es, rs, scale):
        """Every significand of 8 bits at exponents in and beyond the format's range."""
        bits = WIDTHS[mode]
        rs = min(rs, bits - 1)
        exponent, significand, sign = (
            each.reshape(1, -1) for each in np.meshgrid(np.arange(-40, 41), [0, *range(128, 256)], [0, 1])
        )
        fmt = LogPosit(n=bits, es=es, rs=rs, sf=scale / 128, rounding=LogRounding.LOG)
        inputs = ports(sign, mode=mode, es=es, run=rs - 1, scale=scale)
        inputs["sign"] = inputs.pop("word")
        word = LogPositEncoder().model({**inputs, "exponent": exponent, "significand": significand})["word"]
        numbers = (1 - 2 * sign) * np.ldexp(significand / 128, exponent)
        assert (word == fmt.encode(torch.from_numpy(numbers).float()).numpy().astype(np.int64) << (8 - bits)).all()

    def test_what_is_encoded_is_decoded(self):
        """A word's own value comes back: all words of 8 bits whose significands have 8 bits."""
        values = np.array(LP8.values())
        mantissa, exponent = np.frexp(np.abs(np.nan_to_num(values)))
        short = (mantissa * 256 % 1 == 0) & ~np.isnan(values)
        words = np.flatnonzero(short)[None]
        assert words.size == 2 * 23 + 1  # powers of two from 2^-11 to 2^11, and 0
        found = LogPositEncoder().model(
            {
                **{
                    name: np.full_like(words, value)
                    for name, value in (("mode", 2), ("es", 2), ("run", 2), ("scale", 0))
                },
                "sign": (values[words] < 0).astype(np.int64),
                "exponent": exponent[words].astype(np.int64) - 1,
                "significand": (mantissa[words] * 256).astype(np.int64),
            }
        )
        assert found["word"].tolist() == words.tolist()
