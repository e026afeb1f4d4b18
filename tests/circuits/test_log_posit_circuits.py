"""Circuits of LPA against the log posits and sums of this project."""

import numpy as np
import pytest

from bitwright.circuits import LogConverter, LogPositDecoder
from bitwright.formats import LogPosit, converter_table

WIDTHS = {2: 8, 1: 4, 0: 2}
"""Bits of words by mode."""


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
