"""Minifloats and formats in blocks: every word against the OCP's rules read bit by bit, and against ml_dtypes."""

import dataclasses
import math
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bitwright.formats import (
    BLOCK_FORMATS,
    E2M1,
    E2M3,
    E3M2,
    E4M3,
    E5M2,
    E8M0,
    INT8,
    FixedPoint,
    Minifloat,
    Specials,
)
from bitwright.formats.minifloat import LARGE

PEERS = {
    E4M3: ml_dtypes.float8_e4m3fn,
    E5M2: ml_dtypes.float8_e5m2,
    E2M3: ml_dtypes.float6_e2m3fn,
    E3M2: ml_dtypes.float6_e3m2fn,
    E2M1: ml_dtypes.float4_e2m1fn,
}
FLOATS = list(PEERS)
BLOCKS = list(BLOCK_FORMATS)


def read_by_rule(bits, fmt):
    """A word, as a string of bits from the sign on, by the tables of OFP8 (table 1) and MX (section 5.3)."""
    sign, exponent, mantissa = bits[0], bits[1 : 1 + fmt.exponent_bits], bits[1 + fmt.exponent_bits :]
    bias = {"e4m3": 7, "e5m2": 15, "e2m3": 1, "e3m2": 3, "e2m1": 1}[fmt.name]
    negative = -1 if sign == "1" else 1
    if fmt.name == "e5m2" and exponent == "11111":
        return negative * math.inf if mantissa == "00" else math.nan
    if fmt.name == "e4m3" and exponent + mantissa == "1111111":
        return math.nan
    value = Fraction(0)
    for place, bit in enumerate(mantissa, start=1):
        value += Fraction(int(bit), 2**place)
    if "1" in exponent:
        return negative * (1 + value) * Fraction(2) ** (int(exponent, 2) - bias)
    return negative * value * Fraction(2) ** (1 - bias)


def nearest_by_trying(x, fmt):
    """The word whose value is nearest to a finite x, ties to the even word, saturating; the sign is that of x."""
    half = 1 << (fmt.bits - 1)
    words = [word for word in range(half) if math.isfinite(fmt.values()[word])]
    size = abs(Fraction(x))
    word = min(words, key=lambda one: (abs(Fraction(fmt.values()[one]) - size), one % 2))
    return word + half * (math.copysign(1, x) < 0)


def reals_for(fmt, count, seed=0):
    """Every value, every tie and what lies beside it, what is beyond the range, and patterns drawn from all float32."""
    values = np.array([v for v in fmt.values() if math.isfinite(v)])
    values = np.unique(np.concatenate([values, values * 1.25, values * 2])).astype(np.float64)
    ties = ((values[1:] + values[:-1]) / 2).astype(np.float32)
    edges = [values.astype(np.float32), ties]
    edges += [np.nextafter(each, np.float32(side)) for each in edges for side in (np.inf, -np.inf)]
    generator = np.random.default_rng(seed)
    patterns = generator.integers(0, 2**32, count // 2, dtype=np.uint32).view(np.float32)
    near = (generator.standard_normal(count // 2) * fmt.largest / 3).astype(np.float32)
    zeros = np.array([0.0, -0.0, 1e-45, -1e-45], dtype=np.float32)
    found = np.concatenate([*edges, patterns, near, zeros])
    return found[~np.isnan(found)]


@pytest.mark.parametrize("fmt", FLOATS, ids=lambda fmt: fmt.name)
def test_every_word_is_what_the_rules_say(fmt):
    for word, value in enumerate(fmt.values()):
        expected = read_by_rule(format(word, f"0{fmt.bits}b"), fmt)
        assert value == expected or (math.isnan(value) and math.isnan(expected))


@pytest.mark.parametrize(
    ("fmt", "largest", "least_normal", "least"),
    [
        (E4M3, 448, 2.0**-6, 2.0**-9),
        (E5M2, 57344, 2.0**-14, 2.0**-16),
        (E2M3, 7.5, 1, 0.125),
        (E3M2, 28, 0.25, 0.0625),
        (E2M1, 6, 1, 0.5),
    ],
    ids=lambda each: each.name if isinstance(each, Minifloat) else None,
)
def test_ranges_are_the_specifications(fmt, largest, least_normal, least):
    values = [v for v in fmt.values() if math.isfinite(v) and v > 0]
    assert (max(values), fmt.largest, min(values)) == (largest, largest, least)
    assert fmt.values()[1 << fmt.mantissa_bits] == least_normal


@pytest.mark.parametrize("fmt", FLOATS, ids=lambda fmt: fmt.name)
def test_words_and_conversions_are_those_of_ml_dtypes(fmt):
    words = np.arange(2**fmt.bits, dtype=np.uint8)
    np.testing.assert_array_equal(words.view(PEERS[fmt]).astype(np.float64), fmt.values())
    reals = reals_for(fmt, 100_000)
    expected = reals.astype(PEERS[fmt]).view(np.uint8)
    for x in (torch.from_numpy(reals), torch.from_numpy(reals).view(1, -1).expand(2, -1)):
        found = dataclasses.replace(fmt, saturate=False).encode(x).numpy()
        np.testing.assert_array_equal(found, np.broadcast_to(expected, found.shape))


@pytest.mark.parametrize("fmt", FLOATS, ids=lambda fmt: fmt.name)
def test_saturation_is_at_the_largest_finite_number(fmt):
    x = torch.tensor([math.inf, -math.inf, 1e30, -1e30, fmt.largest * 1.001])
    assert fmt.decode(fmt.encode(x)).tolist() == [fmt.largest * s for s in (1, -1, 1, -1, 1)]
    nan = fmt.decode(fmt.encode(torch.tensor([math.nan])))
    assert bool(nan.isnan()) is (fmt.specials is not Specials.NONE)


@given(st.sampled_from(FLOATS), st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_the_nearest_value_is_taken(fmt, x):
    assert int(fmt.encode(torch.tensor([x]))) == nearest_by_trying(x, fmt)


@pytest.mark.parametrize("fmt", FLOATS, ids=lambda fmt: fmt.name)
def test_the_kernel_is_the_arithmetic_in_torch(fmt):
    x = torch.from_numpy(reals_for(fmt, 2 * LARGE))
    x = torch.cat([x, torch.tensor([math.nan, -math.nan])])
    assert x.numel() >= LARGE
    small = torch.cat([fmt.encode(part) for part in x.split(LARGE - 1)])
    assert torch.equal(fmt.encode(x), small)
    scale = torch.tensor(0.37)
    assert torch.equal(fmt.encode(x, scale), torch.cat([fmt.encode(part / scale) for part in x.split(LARGE - 1)]))


def test_scales_are_those_of_ml_dtypes():
    words = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(words.view(ml_dtypes.float8_e8m0fnu).astype(np.float64), E8M0().values())
    powers = torch.tensor(E8M0().values()[:-1], dtype=torch.float32)
    np.testing.assert_array_equal(powers.numpy().astype(ml_dtypes.float8_e8m0fnu).view(np.uint8), words[:-1])
    assert E8M0().encode(powers).tolist() == list(range(255))


def test_fixed_point_is_twos_complement_and_leaves_out_minus_two():
    values = np.arange(256, dtype=np.uint8).view(np.int8) / 64
    assert INT8.values() == values.tolist()
    x = torch.tensor([-2.0, 2.0, 1.0, -1 / 64, 1 / 128, 3 / 128, math.inf, -math.inf])
    assert (INT8.decode(INT8.encode(x)) * 64).tolist() == [-127, 127, 64, -1, 0, 2, 127, -127]
    assert INT8.decode(dataclasses.replace(INT8, narrow=False).encode(x[:1])).tolist() == [-2.0]


# ---------------- blocks


def block_by_rule(block, fmt, tensor_scale):
    """Scale and values of one block, in Fractions, as the specification (or NVIDIA's recipe) writes them."""
    largest = max(abs(Fraction(float(v))) for v in block)
    if isinstance(fmt.scale_format, E8M0):
        exponent = -127
        if largest:
            while Fraction(2) ** (exponent + fmt.element.largest_exponent + 1) <= largest:
                exponent += 1
        scale = step = Fraction(2) ** exponent
    else:
        wanted = np.float32(np.float32(np.float32(float(largest)) / np.float32(6)) / np.float32(tensor_scale))
        scale = Fraction(E4M3.values()[nearest_by_trying(float(wanted), E4M3)]) or Fraction(1, 512)
        step = Fraction(float(np.float32(np.float32(float(scale)) * np.float32(tensor_scale))))
    found = []
    for v in block:
        x = Fraction(float(v)) / step
        if isinstance(fmt.scale_format, Minifloat):
            x = Fraction(float(np.float32(np.float32(v) / np.float32(float(step)))))
        if isinstance(fmt.element, FixedPoint):
            code = round(x * 64)  # Python's ties go to even
            found.append(Fraction(max(-127, min(127, code)), 64))
        else:
            values = [Fraction(u) for u in fmt.element.values()[: 1 << (fmt.element.bits - 1)] if math.isfinite(u)]
            at = min(range(len(values)), key=lambda w: (abs(values[w] - abs(x)), w % 2))
            found.append(values[at] * (1 if x >= 0 else -1))
    return scale, found


def blocks_of(k, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(3, k, generator=generator) * torch.exp2(torch.randint(-20, 20, (3, 1), generator=generator))
    x[0, : k // 2] = 0
    x[1, ::3] *= 1e-3
    x[2, 0] = 2.0 ** float(torch.randint(-149, 127, (), generator=generator))
    return x


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("k", [1, 16, 31, 32, 77])
def test_blocks_are_encoded_by_the_rule(name, k):
    fmt = BLOCK_FORMATS[name]
    x = blocks_of(k, seed=k)
    tensor_scale = fmt.tensor_scale(x.abs().max())
    words, scales = fmt.encode(x, tensor_scale)
    values = fmt.element.decode(words).tolist()
    for row in range(3):
        for block, scale in enumerate(scales[row].tolist()):
            part = slice(block * fmt.size, (block + 1) * fmt.size)
            expected = block_by_rule(x[row, part].tolist(), fmt, None if tensor_scale is None else float(tensor_scale))
            assert (Fraction(scale), [Fraction(v) for v in values[row][part]]) == expected


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("k", [33, 300])
def test_the_kernel_of_blocks_is_the_arithmetic_in_torch(name, k):
    fmt = BLOCK_FORMATS[name]
    rows = -(-LARGE // k)
    x = torch.from_numpy(np.resize(reals_for(E5M2, 4 * LARGE), rows * k)).view(rows, k)
    x[5, 7], x[6, 8], x[7, 9] = math.inf, -math.inf, math.nan
    tensor_scale = fmt.tensor_scale(torch.tensor(3e30))
    words, scales = fmt.encode(x, tensor_scale)
    expected = fmt.scales(x, tensor_scale)
    assert torch.equal(scales.nan_to_num(-1), expected.nan_to_num(-1))
    assert scales.isnan().nonzero().tolist() == [[5, 0], [6, 0], [7, 0]]
    parts = [fmt.encode_by(*each, tensor_scale) for each in zip(x.split(8), expected.split(8), strict=True)]
    assert torch.equal(words, torch.cat(parts))


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_of_zeros_and_one_of_nan(name):
    fmt = BLOCK_FORMATS[name]
    x = torch.zeros(2, fmt.size)
    x[1, 3] = math.nan
    words, scales = fmt.encode(x, fmt.tensor_scale(torch.tensor(0.0)))
    assert (fmt.element.decode(words[0]) == 0).all()
    assert scales[0].tolist() == [2.0**-9 if fmt.two_level else 2.0**-127]
    assert scales[1].isnan().all()


def test_stored_bits_have_scales_and_what_fills_blocks_up():
    bits = {name: fmt.encoding.stored_bits(rows=2, k=33) for name, fmt in BLOCK_FORMATS.items()}
    two_blocks = {8: 2 * 2 * (32 * 8 + 8), 6: 2 * 2 * (32 * 6 + 8), 4: 2 * 2 * (32 * 4 + 8)}
    expected = {name: two_blocks[fmt.element.bits] for name, fmt in BLOCK_FORMATS.items()}
    assert bits == expected | {"nvfp4": 2 * 3 * (16 * 4 + 8)}


def test_the_scale_of_a_tensor_makes_its_largest_magnitude_the_largest_there_is():
    fmt = BLOCK_FORMATS["nvfp4"]
    x = torch.tensor([[12.5] * 16, [0.01] * 16])
    tensor_scale = fmt.tensor_scale(x.abs().max())
    words, scales = fmt.encode(x, tensor_scale)
    assert scales[0].tolist() == [448.0]
    assert E2M1.decode(words[0]).unique().tolist() == [6.0]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Minifloat(exponent_bits=6, mantissa_bits=1),
        lambda: Minifloat(exponent_bits=4, mantissa_bits=0, specials=Specials.IEEE),
        lambda: Minifloat(exponent_bits=4, mantissa_bits=3, bias=64),
        lambda: FixedPoint(bits=9, fraction_bits=6),
        lambda: FixedPoint(bits=4, fraction_bits=4),
    ],
)
def test_formats_that_there_are_none_of_are_refused(make):
    with pytest.raises(ValueError, match=r"not|differ|need"):
        make()
