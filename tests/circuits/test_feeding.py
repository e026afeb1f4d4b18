"""A layer's codes at the ports of circuits: what the functional twins make of them, against sums of plain integers."""

import numpy as np
import pytest

from bitwright.circuits import BitGroup, Compensator, Rae, SliceOperator
from bitwright.circuits.circuit import Words
from bitwright.circuits.feeding import neighbours
from bitwright.errors import InputError
from bitwright.formats import Integer, LogPosit, SlicedUnsigned

K, OUTPUTS, ZERO_POINT = 12, 5, 104


@pytest.fixture(scope="module")
def fed():
    """Codes of x and w, one output after the other, and where each begins."""
    random = np.random.default_rng(3)
    x, w = random.integers(80, 140, (OUTPUTS * K, 1)), random.integers(-64, 64, (OUTPUTS * K, 1))
    begins = np.zeros_like(x)
    begins[::K] = 1
    return (
        Words(codes=x, format=SlicedUnsigned(split=4), zero_point=ZERO_POINT),
        Words(codes=w, format=Integer(bits=7)),
        begins,
    )


def outputs_of(codes):
    return codes.reshape(OUTPUTS, K)


def low_and_high(w):
    """w = low + 8 high: the low slice of a negative number is from -8 to -1."""
    low = (w & 7) - np.where(w < 0, 8, 0)
    return low, (w - low) // 8


def test_slice_operator(fed):
    """Kinds of slices in turn, output by output; lanes are of the outputs behind it."""
    x, w, begins = fed
    unit = SliceOperator()
    found = unit.model(unit.feed_words(x, w, begins))["sum"]
    codes, weights = outputs_of(x.codes), low_and_high(outputs_of(w.codes))
    for output in range(OUTPUTS - 1):  # the last one's sum is there behind the stream
        of_x, of_w = (codes >> 4 if output % 2 else codes & 15), weights[output // 2 % 2]
        sums = [int(of_x[(output + i) % OUTPUTS] @ of_w[(output + j) % OUTPUTS]) for i in range(4) for j in range(4)]
        assert found[(output + 1) * K, 0].tolist() == sums


@pytest.mark.parametrize("products", [1, 2])
def test_compensator(fed, products):
    x, w, begins = fed
    unit, r = Compensator(operators=1, products=products), ZERO_POINT >> 4
    found = unit.model(unit.feed_words(x, w, begins))["part"]
    high, slices = outputs_of(x.codes) >> 4, low_and_high(outputs_of(w.codes))
    for output in range(OUTPUTS - 1):
        total, order = np.zeros(4, np.int64), output % 2
        for vector in range(products):
            lanes = [(output + 4 * vector + lane) % OUTPUTS for lane in range(4)]
            kept = (high[lanes] != r).any(0)
            total += (slices[order][lanes] * kept).sum(1) << (3 * order)
        assert found[(output + 1) * K, 0].tolist() == (-r * total).tolist()


def test_rae(fed):
    """Tiles of 8 and of 4 products: the first sum is stored, rounded, and the second on top of it."""
    x, w, begins = fed
    unit = Rae(lanes=2, banks="registers")
    inputs = unit.feed_words(x, w, begins)
    products = outputs_of(x.codes - ZERO_POINT) * outputs_of(w.codes)
    tiles = np.stack([products[:, :8].sum(1), products[:, 8:].sum(1)], 1)
    assert inputs["tile"][:, 0, 0].tolist() == tiles.ravel().tolist()
    assert inputs["tile"][:, 0, 1].tolist() == np.roll(tiles, -1, 0).ravel().tolist()
    exponent = int(inputs["exponent"][0, 0])
    assert 2 ** (6 + exponent) <= np.abs(tiles.cumsum(1)).max() < 2 ** (7 + exponent)
    code = unit.model(inputs)["code"][1::2, 0, 0]
    assert np.abs((code << exponent) - products.sum(1)).max() <= 2**exponent


@pytest.mark.parametrize("cuts", [True, False])
def test_bit_group(fed, cuts):
    """The first product of all meets no weight."""
    x, w, begins = fed
    unit = BitGroup(cuts=cuts)
    found = unit.model(unit.feed_words(x, w, begins))["sum"]
    products = outputs_of(x.codes * w.codes)
    products[0, 0] = 0
    assert found[K::K, 0, 0].tolist() == products[:-1].sum(1).tolist()


def test_lanes_are_of_the_next_outputs():
    codes, begins = np.arange(6)[:, None], np.array([1, 0, 1, 0, 1, 0])[:, None]
    assert neighbours(codes, begins, 3)[0, 0].tolist() == [0, 2, 4]


def test_refusals(fed):
    x, w, begins = fed
    log = Words(codes=w.codes & 255, format=LogPosit(n=8, es=1, rs=3))
    plain = Words(codes=w.codes, format=Integer(bits=8))
    for unit, operands, said in (
        (SliceOperator(), (plain, w), "choose --method aqs or sibia"),
        (SliceOperator(products=4), (x, w), "set products=1"),
        (Compensator(), (w, w), "choose --method aqs"),
        (Compensator(operators=1, w_slices=1), (x, w), "set w_slices=2"),
        (Rae(), (x, w), "set banks=registers"),
        (Rae(banks="registers"), (log, log), "choose --method int8"),
        (BitGroup(), (log, log), "choose --method int8"),
    ):
        with pytest.raises(InputError, match=said):
            unit.feed_words(*operands, begins)
