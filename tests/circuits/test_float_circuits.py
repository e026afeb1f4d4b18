"""Floating-point circuits against exact fractions, NumPy's own numbers and the rotation that networks are given."""

import warnings
from fractions import Fraction

import numpy as np
import pytest

from bitwright.circuits import BlockDotProduct, FloatMultiplyAdd, HadamardStage, VectorLane
from bitwright.circuits.block_dot_product import ADDER
from bitwright.networks.hadamard import matrix

HALF, SINGLE = FloatMultiplyAdd(), FloatMultiplyAdd(exponent_bits=8, fraction_bits=23)


def words(generator, unit, count):
    """Numbers of all magnitudes, a third of them near one another, and what is special."""
    drawn = generator.integers(0, 1 << unit.bits, count)
    near = unit.encode(generator.normal(size=count) * 2.0 ** generator.integers(-3, 4, count))
    special = unit.encode(np.array([0.0, -0.0, 1.0, np.inf, -np.inf, np.nan]))
    kind = generator.integers(8, size=count)
    return np.select([kind < 4, kind < 7], [drawn, near], generator.choice(special, count))


def nearest(unit, value):
    """The word of a positive fraction, by the definition: between which two numbers, and which one is nearer."""
    top = (1 << unit.exponent_bits) - 1
    bias = top >> 1
    exponent = 1 - bias
    while value >= Fraction(2) ** (exponent + 1):
        exponent += 1
    whole = value / Fraction(2) ** (exponent - unit.fraction_bits)
    floor = whole.numerator // whole.denominator
    rest = whole - floor
    floor += rest > Fraction(1, 2) or (rest == Fraction(1, 2) and floor % 2)
    word = floor + ((exponent + bias - 1) << unit.fraction_bits if floor >> unit.fraction_bits else 0)
    return min(word, top << unit.fraction_bits)


class TestFloatMultiplyAdd:
    @pytest.mark.parametrize(("unit", "kind"), [(HALF, np.float16), (SINGLE, np.float32)])
    def test_words_are_numpys(self, unit, kind):
        generator = np.random.default_rng(0)
        drawn = words(generator, unit, 50_000)
        whole = np.arange(1 << 16) if kind is np.float16 else drawn
        values = whole.astype(f"u{unit.bits // 8}").view(kind)
        with np.errstate(invalid="ignore"):
            wide = values.astype(np.float64)
        assert np.array_equal(unit.decode(whole), wide, equal_nan=True)
        numbers = ~np.isnan(values)
        assert (unit.encode(wide)[numbers] == whole[numbers]).all()

    @pytest.mark.parametrize("unit", [HALF, SINGLE, FloatMultiplyAdd(exponent_bits=3, fraction_bits=2)])
    def test_rounded_once(self, unit):
        """Finite numbers, by exact fractions."""
        generator = np.random.default_rng(1)
        a, b, c = (words(generator, unit, 3000) for _ in "abc")
        close = generator.integers(2, size=3000) == 1  # sums that cancel, all but the product's own rounding
        with np.errstate(invalid="ignore", over="ignore"):
            c = np.where(close, unit.encode(-unit.decode(a) * unit.decode(b)), c)
        found = unit.model({"a": a, "b": b, "c": c})["y"]
        values = [unit.decode(each) for each in (a, b, c)]
        compared = 0
        for *operands, word in zip(*values, found.tolist(), strict=True):
            if not np.isfinite(operands).all():
                continue
            exact = Fraction(operands[0]) * Fraction(operands[1]) + Fraction(operands[2])
            told = nearest(unit, abs(exact)) | (1 << (unit.bits - 1) if exact < 0 else 0)
            if exact:
                assert word == told, operands
            compared += 1
        assert compared > 1500

    @pytest.mark.parametrize(("unit", "kind"), [(HALF, np.float16), (SINGLE, np.float32)])
    def test_sums_and_products_are_numpys(self, unit, kind):
        """With signs of zeros, infinities, and what is no number."""
        generator = np.random.default_rng(2)
        a, b = (words(generator, unit, 20_000) for _ in "ab")
        x, y = (each.astype(f"u{unit.bits // 8}").view(kind) for each in (a, b))
        one, minus = (unit.encode(np.full(len(a), value)) for value in (1.0, -0.0))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            for found, told in (
                (unit.model({"a": a, "b": one, "c": b}), x + y),
                (unit.model({"a": a, "b": b, "c": minus}), x * y),
            ):
                assert np.array_equal(unit.decode(found["y"]), told.astype(np.float64), equal_nan=True)
                there = ~np.isnan(told)
                assert (np.signbit(unit.decode(found["y"])) == np.signbit(told))[there].all()

    def test_a_layers_codes(self):
        """3 * 5 = 15, and -7 * 9 + 15 = -48; what float16 cannot hold is refused."""
        x, w, begins = np.array([[3], [-7], [0]]), np.array([[5], [9], [0]]), np.array([[1], [0], [0]])
        fed = HALF.feed(x, w, begins)
        assert HALF.decode(HALF.model(fed)["y"]).ravel().tolist() == [15, -48, -48]
        with pytest.raises(Exception, match="do not fit 11 bits"):
            HALF.feed(np.array([[2049]]), w[:1], begins[:1])


class TestBlockDotProduct:
    def test_sums_of_blocks(self):
        generator, unit = np.random.default_rng(3), BlockDotProduct(length=16)
        shape = (12, 40)
        inputs = {name: generator.integers(-128, 128, (*shape, 16)) for name in "xw"}
        inputs |= {f"{name}_exponent": generator.integers(-12, 4, shape) for name in "xw"}
        inputs["clear"] = (generator.random(shape) < 0.2) * 1
        found = ADDER.decode(unit.model(inputs)["sum"])
        for stream in range(shape[1]):
            total = Fraction(0)
            for clock in range(shape[0]):
                assert Fraction(found[clock, stream]) == total
                now = {name: values[clock, stream] for name, values in inputs.items()}
                exact = Fraction(int(now["x"] @ now["w"])) * Fraction(2) ** int(now["x_exponent"] + now["w_exponent"])
                added = exact + (0 if now["clear"] else total)
                word = nearest(SINGLE, abs(added)) | (1 << 31 if added < 0 else 0)
                total = Fraction(ADDER.decode(np.array(word)).item())

    def test_one_by_hand(self):
        """(3 * 5 - 2 * 7) * 2^-3 = 0.125 two clocks long: 0, 0.125, 0.25."""
        ports = {"x": [3, -2], "w": [5, 7], "x_exponent": -1, "w_exponent": -2, "clear": 0}
        inputs = {name: np.repeat(np.array(value)[None, None], 3, 0) for name, value in ports.items()}
        found = BlockDotProduct(length=2).model(inputs)["sum"]
        assert ADDER.decode(found).ravel().tolist() == [0, 0.125, 0.25]


def test_a_lane_does_what_numpy_does():
    generator, unit = np.random.default_rng(4), VectorLane()
    a, b = (words(generator, HALF, 4000) for _ in "ab")
    x, y = (each.astype("u2").view(np.float16) for each in (a, b))
    told = [np.add, np.subtract, np.multiply, None, np.maximum, np.minimum, None, lambda one, _: one]
    for operation, apply in enumerate(told):
        if apply is None:
            continue
        ports = {"operation": np.full_like(a, operation), "a": a, "b": b, "c": a, "again": np.zeros_like(a)}
        found = unit.model({name: np.repeat(values[None], 2, 0) for name, values in ports.items()})["y"][1]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            assert np.array_equal(HALF.decode(found), apply(x, y).astype(np.float64), equal_nan=True)


def test_a_lane_reads_its_register_again():
    """2 * 3, times itself by 4 and 0.5 added, held, and less 1.5 from 30."""
    rows = [(2, 2, 3, 0, 0), (2, 4, 0, 0, 1), (3, 1, 0.5, 6, 1), (6, 9, 9, 9, 0), (1, 30, 0, 0, 1), (7, 8, 0, 0, 0)]
    names = ("operation", "a", "b", "c", "again")
    inputs = {}
    for at, name in enumerate(names):
        values = np.array([row[at] for row in rows], np.float64)
        inputs[name] = (HALF.encode(values) if name in "abc" else values.astype(np.int64))[:, None]
    found = HALF.decode(VectorLane().model(inputs)["y"]).ravel().tolist()
    assert found == [0, 6, 24, 24.5, 24.5, 5.5]


def test_levels_make_a_rotation():
    """Of integers, which floats add exactly: three levels, with neighbours put together between them."""
    x = np.random.default_rng(5).integers(-50, 50, (30, 8)).astype(np.float64)
    stage, lanes = HadamardStage(), x
    for level in range(3):
        pairs = np.arange(8).reshape(-1, 2, 1 << level).transpose(0, 2, 1).ravel()
        made = stage.model({"x": np.repeat(HALF.encode(lanes[:, pairs])[None], 2, 0)})["y"][1]
        lanes = np.empty_like(x)
        lanes[:, pairs] = HALF.decode(made)
    assert lanes == pytest.approx(x @ matrix(8).numpy() * 8**0.5)
