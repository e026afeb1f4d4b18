"""Circuits of ANT and AdaptivFloat against the values of their formats' words."""

import numpy as np
import pytest

from bitwright.circuits import AdaptivFloatPe, AntDecoder, AntPe, AntUnit
from bitwright.circuits.circuit import Words
from bitwright.errors import InputError
from bitwright.formats import AdaptivFloat, Flint, Integer, PowerOfTwo

LENGTH = 50


def decoded(fmt, codes, *, high=0):
    """Base integers and exponents of words of a format."""
    kind = {Integer: 0, PowerOfTwo: 1, Flint: 2}[type(fmt)]
    full = {"kind": kind, "is_signed": int(fmt.signed), "high": high}
    ports = {name: np.full_like(codes, value) for name, value in full.items()}
    return AntDecoder(bits=fmt.bits).model({"word": codes & ((1 << fmt.bits) - 1), **ports})


def all_codes(fmt):
    low = fmt.low if isinstance(fmt, Integer) else 0
    return np.arange(low, low + (1 << fmt.bits))[:, None]


def column(generator, fmt):
    """Random codes of sums of LENGTH products, and where sums begin."""
    codes = generator.choice(all_codes(fmt).ravel(), (2 * LENGTH, 3))
    begins = np.zeros_like(codes)
    begins[::LENGTH] = 1
    return Words(codes=codes, format=fmt), begins


def values(words):
    """What codes stand for, in units of the smallest."""
    return words.format.table().numpy()[words.codes - (words.format.low if isinstance(words.format, Integer) else 0)]


class TestAntDecoder:
    @pytest.mark.parametrize("bits", [3, 4, 5, 6, 7])
    @pytest.mark.parametrize("signed", [True, False])
    @pytest.mark.parametrize("kind", [Integer, PowerOfTwo, Flint])
    def test_base_and_exponent_make_the_value(self, kind, signed, bits):
        fmt = kind(bits=bits, signed=signed)
        codes = all_codes(fmt)
        found = decoded(fmt, codes)
        assert (np.ldexp(found["base"], found["exponent"]) == fmt.table().numpy()[:, None]).all()

    def test_a_flint_by_hand(self):
        """1 01 1: one zero after the first bit, then a one, then the mantissa 1: (1 + 1/2) * 2^4 = 6 * 2^2."""
        found = decoded(Flint(bits=4, signed=False), np.array([[0b1011]]))
        assert (found["base"].item(), found["exponent"].item()) == (6, 2)

    def test_halves_of_wide_integers(self):
        codes = np.arange(-128, 128)[:, None]
        high = decoded(Integer(bits=4), codes >> 4, high=1)
        low = decoded(Integer(bits=4, signed=False), codes & 15)
        assert (np.ldexp(high["base"], high["exponent"]) + np.ldexp(low["base"], low["exponent"]) == codes).all()


class TestAntPe:
    @pytest.mark.parametrize(
        ("x", "w"),
        [
            (Integer(bits=4), Integer(bits=4)),
            (Flint(bits=4, signed=False), Flint(bits=4)),
            (PowerOfTwo(bits=4), Integer(bits=4, signed=False)),
        ],
    )
    def test_sums_of_a_column(self, x, w):
        generator, unit = np.random.default_rng(0), AntPe()
        (left, begins), (right, _) = column(generator, x), column(generator, w)
        found = unit.model(unit.feed_words(left, right, begins))["sum"][1:]
        products = values(left) * values(right)
        products[0] = 0  # which meets no weight yet
        told = np.concatenate([np.cumsum(part, 0) for part in (products[:LENGTH], products[LENGTH:])])
        assert found.tolist() == told[:-1].tolist()

    def test_formats_that_have_no_place(self):
        ones = np.ones((2, 1), np.int64)
        for bits in (2, 8):
            words = Words(codes=ones, format=Integer(bits=bits))
            with pytest.raises(InputError, match=rf"are int{bits}, and ant-pe takes integers, .* of 3 to 4 bits"):
                AntPe().feed_words(words, words, ones)

    def test_four_make_a_product_of_8_bits(self):
        """Rows take the halves of x, the second a clock later; columns those of w; 20 products of each of 3 streams."""
        generator = np.random.default_rng(1)
        x, w = generator.integers(-128, 128, (20, 3)), generator.integers(-128, 128, 3)

        def halves(codes):
            high = decoded(Integer(bits=4), codes >> 4, high=1)
            low = decoded(Integer(bits=4, signed=False), codes & 15)
            return {name: np.stack([high[name], low[name]], -1) for name in high}

        of_x, of_w, clocks = halves(x), halves(w), 25
        inputs = {name: np.zeros((clocks, 3, 2), np.int64) for name in ("x", "x_exponent", "sum_in")}
        for name, values_ in (("x", of_x["base"]), ("x_exponent", of_x["exponent"])):
            inputs[name][1:21, :, 0], inputs[name][2:22, :, 1] = values_[..., 0], values_[..., 1]
        for name, values_ in (("w", of_w["base"]), ("w_exponent", of_w["exponent"])):
            inputs[name] = np.broadcast_to(np.tile(values_, 2), (clocks, 3, 4))
        inputs["load"] = np.zeros((clocks, 3), np.int64)
        inputs["load"][0] = 1
        found = AntUnit().model(inputs)["fused"]
        assert (found[4:24] == x * w).all()


class TestAdaptivFloatPe:
    @pytest.mark.parametrize(("bits", "exponent_bits"), [(8, 3), (8, 4), (4, 2), (3, 2)])
    def test_sums_of_a_column(self, bits, exponent_bits):
        fmt = AdaptivFloat(bits=bits, exponent_bits=exponent_bits)
        generator, unit = np.random.default_rng(0), AdaptivFloatPe(bits=bits, exponent_bits=exponent_bits, sum_bits=48)
        (left, begins), (right, _) = column(generator, fmt), column(generator, fmt)
        found = unit.model(unit.feed_words(left, right, begins))["sum"][1:]
        smallest = 2.0 ** (1 - (1 << exponent_bits) - unit.mantissa_bits)  # the last bit of the smallest binade
        products = values(left) * values(right) / smallest**2
        products[0] = 0
        told = np.concatenate([np.cumsum(part, 0) for part in (products[:LENGTH], products[LENGTH:])])
        assert found.tolist() == told[:-1].tolist()

    def test_other_formats_are_refused(self):
        ones = np.ones((2, 1), np.int64)
        words = Words(codes=ones, format=AdaptivFloat(bits=8, exponent_bits=4))
        with pytest.raises(InputError, match="takes af8 of 3 exponent bits"):
            AdaptivFloatPe().feed_words(words, words, ones)
