"""LPA's array in RTL: words of a real layer through decoders, elements and encoders, bit for bit, in its cycles.

`layers.npz` holds, as `lp8`, `lp4` and `lp2`, tiles of EfficientNet-Lite0's `_conv_head` as `lpq` has it with weights
of 8, 4 and 2 bits: codes of x and w, and n, es, rs of both formats.
"""

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from bitwright.accelerators.precision_scalable import Lpa
from bitwright.circuits.arrays import LogPositArray
from bitwright.formats import LogPosit, converter_table

pytest.importorskip("amaranth", reason="RTL needs amaranth: pip install 'bitwright[rtl]'")

SIZE = {"rows": 3, "cols": 2}
M, K = 5, 7
"""Three folds of k, the last not full; streams a little longer than the array has rows."""
SCALE = 37


@pytest.fixture(scope="module")
def layers():
    with np.load(Path(__file__).parent / "layers.npz", allow_pickle=False) as file:
        return {name: file[name].astype(np.int64) for name in file.files if name.startswith("lp")}


def tile_of(layers, bits):
    """Codes of x and w, one column more than an array has, and their formats."""
    formats = [LogPosit(n=int(n), es=int(es), rs=int(rs)) for n, es, rs in layers[f"lp{bits}_formats"]]
    assert formats[1].bits == bits
    return layers[f"lp{bits}_x"][:M, :K], layers[f"lp{bits}_w"][:K, : 2 * (8 // bits) + 1], *formats


def products_of(x, w, of_x, of_w):
    """Products of every output [m][n][k]: logarithms added, their fraction made linear by the method's table."""
    bits = max(of_x.fraction_bits, of_w.fraction_bits)
    table, (x_sign, x_log), (w_sign, w_log) = converter_table(bits), of_x.log2_parts(), of_w.log2_parts()

    def product(a, b):
        log = (int(x_log[a]) << (bits - of_x.fraction_bits)) + (int(w_log[b]) << (bits - of_w.fraction_bits))
        whole, fraction = divmod(log, 1 << bits)
        return int(x_sign[a] * w_sign[b]) * Fraction((1 << bits) + table[fraction], 1 << bits) * Fraction(2) ** whole

    return [[[product(*pair) for pair in zip(row, column, strict=True)] for column in w.T] for row in x]


def rounded(value, bits):
    """To so many significant bits, halves to even."""
    if not value:
        return value
    exponent = value.numerator.bit_length() - value.denominator.bit_length() - 1
    while Fraction(2) ** (exponent + 1) <= abs(value):
        exponent += 1
    step = Fraction(2) ** (exponent - bits + 1)
    return round(value / step) * step


def running(products, bits):
    total = Fraction(0)
    for product in products:
        total = rounded(total + product, bits)
    return total


def test_rounding_by_hand():
    assert [rounded(Fraction(each), 2) for each in (5, 7, -5, 9, 0)] == [4, 8, -4, 8, 0]  # 4, 6, 8, 12 in two bits
    assert rounded(Fraction(11, 32), 3) == Fraction(5, 16) + Fraction(1, 16)  # half-way to 3/8, which is even


@pytest.mark.parametrize(("bits", "hidden", "pipelined"), [(8, True, True), (4, False, False), (2, False, True)])
def test_narrow_sums_words_and_cycles(layers, bits, hidden, pipelined):
    x, w, of_x, of_w = tile_of(layers, bits)
    ideals = {"hidden": hidden, "pipelined": pipelined}
    ran = LogPositArray(**SIZE, **ideals, x=of_x, w=of_w, y=of_x, scale=SCALE).run(x, w)
    told = [[running(each, bits) for each in row] for row in products_of(x, w, of_x, of_w)]
    assert ran.product.tolist() == [[float(each) for each in row] for row in told]
    assert any(each for row in told for each in row)
    sign, log = of_x.log2_parts()
    for row, words in zip(told, ran.words.tolist(), strict=True):
        for total, word in zip(row, words, strict=True):
            assert sign[word] == (total > 0) - (total < 0)
            if total:  # no positive word's logarithm is nearer
                wanted = math.log2(abs(total)) + SCALE / 128
                distances = np.abs(log[sign == 1] / 2**of_x.fraction_bits - wanted)
                assert abs(log[word] / 2**of_x.fraction_bits - wanted) <= distances.min() + 1e-12
    check_cycles(ran.cycles, bits, w.shape[1], hidden, pipelined)


@pytest.mark.parametrize("bits", [8, 2])
def test_exact_sums_and_cycles(layers, bits):
    x, w, of_x, of_w = tile_of(layers, bits)
    ran = LogPositArray(**SIZE, x=of_x, w=of_w, y=of_x, sums="exact").run(x, w)
    assert ran.product.tolist() == [[float(sum(each)) for each in row] for row in products_of(x, w, of_x, of_w)]
    check_cycles(ran.cycles, bits, w.shape[1], True, True)


def check_cycles(cycles, bits, columns, hidden, pipelined):
    machine = Lpa(**SIZE, weight_loading="hidden" if hidden else "exposed", fold_pipelining=pipelined)
    flow = machine.dataflow(machine.mode(8, bits))
    sizes = {"m": np.array([M]), "k": np.array([K]), "n": np.array([columns])}
    assert flow.fill_cycles + int(flow.cycles(**sizes)[0]) == cycles
