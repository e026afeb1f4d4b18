"""Slices of 4 bits: exhaustive over all codes of all widths and splits."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bitwright.formats import (
    SLICED_WIDTHS,
    SPLITS,
    Integer,
    Rounding,
    Saturation,
    SlicedUnsigned,
    combine_signed,
    combine_unsigned,
    frequent_slice,
    low_slices,
    signed_slices,
    slice_window,
    truncate,
    unsigned_slices,
    zero_window,
)

WIDE = (torch.int16, torch.int32, torch.int64, torch.float32, torch.float64)  # hold every code of 13 bits


def every(bits):
    return torch.arange(-(2 ** (bits - 1)), 2 ** (bits - 1))


class TestSigned:
    @pytest.mark.parametrize("bits", SLICED_WIDTHS)
    def test_slices_are_4_bits_and_add_up(self, bits):
        slices = signed_slices(every(bits), bits)
        assert len(slices) == low_slices(bits) + 1 == (bits - 4) // 3 + 1
        assert all(int(part.min()) >= -8 and int(part.max()) <= 7 for part in slices)
        assert torch.equal(sum(8**i * part.long() for i, part in enumerate(slices)), every(bits))
        assert torch.equal(combine_signed(slices).long(), every(bits))

    @pytest.mark.parametrize("bits", SLICED_WIDTHS)
    def test_the_window_holds_exactly_the_codes_without_a_high_slice(self, bits):
        w = every(bits)
        low, high = zero_window(bits)
        assert torch.equal(signed_slices(w, bits)[-1] == 0, (w >= low) & (w <= high))

    def test_derived_windows(self):
        assert zero_window(4) == (0, 0)
        assert zero_window(7) == (-8, 7)
        assert zero_window(10) == (-72, 63)
        assert zero_window(13) == (-(8 + 64 + 512), 8 * 8 * 8 - 1)

    @pytest.mark.parametrize("bits", [7, 10, 13])
    def test_small_numbers_of_either_sign_have_only_a_lowest_slice(self, bits):
        slices = signed_slices(torch.arange(-8, 8), bits)
        assert torch.equal(slices[0].long(), torch.arange(-8, 8))
        assert not any(bool(part.any()) for part in slices[1:])

    def test_seven_bits_borrow_as_published(self):
        # plain slices of -1 are 7 and 1111b; the borrow turns them into -1 and 0
        low, high = signed_slices(torch.tensor([-1, -8, -9, -64, 63]), 7)
        assert low.tolist() == [-1, -8, -1, -8, 7]
        assert high.tolist() == [0, 0, -1, -7, 7]

    @pytest.mark.parametrize("bits", [3, 5, 8, 16])
    def test_other_widths_are_refused(self, bits):
        with pytest.raises(ValueError, match=rf"3n \+ 4 bits, not of {bits}"):
            low_slices(bits)

    @pytest.mark.parametrize("code", [64, -65, 2**32, 2**40 + 3, -(2**32), 64.0, 1e30, math.inf, -math.inf, math.nan])
    def test_codes_outside_the_width_are_refused(self, code):
        with pytest.raises(ValueError, match=r"-64 \.\. 63"):
            signed_slices(torch.tensor([0, code]), 7)

    @given(data=st.data(), bits=st.sampled_from(SLICED_WIDTHS), dtype=st.sampled_from(WIDE))
    def test_round_trip_of_any_shape_and_dtype(self, data, bits, dtype):
        shape = data.draw(st.lists(st.integers(0, 4), max_size=3))
        codes = st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        count = math.prod(shape)
        w = torch.tensor(data.draw(st.lists(codes, min_size=count, max_size=count)), dtype=dtype).reshape(shape)
        slices = signed_slices(w, bits)
        assert {part.dtype for part in slices} == {torch.int8}
        assert {part.shape for part in slices} == {w.shape}
        whole = combine_signed(slices)
        assert whole.dtype == torch.int32
        assert torch.equal(whole.to(dtype), w)


class TestUnsigned:
    @pytest.mark.parametrize("split", SPLITS)
    def test_slices_are_4_bits_and_make_the_truncated_code(self, split):
        x = torch.arange(256)
        high, low = unsigned_slices(x, split)
        assert int(high.max()) == 255 >> split
        assert int(low.max()) == 15
        assert torch.equal(combine_unsigned(high, low, split), truncate(x, split))
        assert torch.equal(truncate(x, split).long(), x - x % 2 ** (split - 4))

    @given(data=st.data(), split=st.sampled_from(SPLITS), dtype=st.sampled_from((torch.uint8, *WIDE)))
    def test_truncated_codes_round_trip_in_any_shape_and_dtype(self, data, split, dtype):
        step = 2 ** (split - 4)
        rows, columns = data.draw(st.integers(0, 4)), data.draw(st.integers(0, 4))
        count = rows * columns
        codes = data.draw(st.lists(st.integers(0, 255 // step), min_size=count, max_size=count))
        x = (torch.tensor(codes, dtype=dtype) * step).reshape(rows, columns)
        high, low = unsigned_slices(x, split)
        assert high.dtype == low.dtype == torch.uint8
        assert torch.equal(combine_unsigned(high, low, split).to(dtype), x)

    @pytest.mark.parametrize("split", SPLITS)
    def test_a_window_holds_exactly_the_codes_with_its_slice(self, split):
        x = torch.arange(256)
        for zero_point in range(256):
            low, high = slice_window(frequent_slice(zero_point, split), split)
            assert low <= zero_point <= high
            same = unsigned_slices(x, split)[0] == zero_point >> split
            assert torch.equal(same, (x >= low) & (x <= high))

    @pytest.mark.parametrize("split", [3, 7])
    def test_other_splits_are_refused(self, split):
        for use in (lambda: unsigned_slices(torch.tensor([1]), split), lambda: SlicedUnsigned(split=split)):
            with pytest.raises(ValueError, match=f"4, 5 or 6, not {split}"):
                use()


class TestFormat:
    @pytest.mark.parametrize("split", SPLITS)
    @pytest.mark.parametrize("rounding", list(Rounding))
    def test_it_encodes_as_integers_and_drops_bits(self, split, rounding):
        x = torch.linspace(-150, 150, 1501)
        whole = Integer(bits=8, signed=False, rounding=rounding).encode(x, 100)
        codes = SlicedUnsigned(split=split, rounding=rounding).encode(x, 100)
        assert torch.equal(codes.int(), truncate(whole, split))

    @pytest.mark.parametrize("split", SPLITS)
    def test_the_table_has_every_stored_code_once(self, split):
        fmt = SlicedUnsigned(split=split)
        assert fmt.table().tolist() == sorted({x - x % 2 ** (split - 4) for x in range(256)})
        assert torch.equal(fmt.encode(fmt.decode(fmt.table())).int(), fmt.table())
        assert fmt.dropped_bits == split - 4
        assert fmt.name == "uint8"

    @given(st.integers(2, 16))
    def test_plain_integers_drop_nothing(self, bits):
        assert Integer(bits=bits).dropped_bits == 0

    @pytest.mark.parametrize("fields", [{"bits": 7}, {"signed": True}, {"saturation": Saturation.WRAP}])
    def test_what_it_is_not_is_refused(self, fields):
        with pytest.raises(ValueError, match="sliced unsigned codes"):
            SlicedUnsigned(**fields)
