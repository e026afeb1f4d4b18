"""Run-length coding: against a plain loop, round trips, and damage of every kind."""

import dataclasses
import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from bitwright.errors import InputError
from bitwright.formats import run_length, run_length_decode, run_length_encode, run_length_entries


def plain_entries(vectors, skipped, run_bits):
    """(run, vector) pairs as one writes them down."""
    entries, run = [], 0
    for vector in vectors.tolist():
        if all(value == skipped for value in vector) and run < 2**run_bits - 1:
            run += 1
        else:
            entries.append((run, vector))
            run = 0
    return entries


def signed_off(stream):
    """The stream with the checksum that fits it."""
    header = {key: getattr(stream, key) for key in ("vectors", "entries", "length", "skipped", "run_bits")}
    return dataclasses.replace(stream, checksum=run_length._checksum(stream.data, **header))


@st.composite
def sequences(draw):
    """Vectors of 4-bit slices, many of them skipped."""
    signed, length = draw(st.booleans()), draw(st.integers(1, 5))
    low, high = (-8, 7) if signed else (0, 15)
    skipped = draw(st.integers(low, high))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31 - 1)))
    count = draw(st.integers(0, 60))
    vectors = torch.randint(low, high + 1, (count, length), generator=generator)
    keep = torch.rand(count, 1, generator=generator) < draw(st.sampled_from((0.0, 0.1, 0.5, 1.0)))
    return torch.where(keep, vectors, skipped), skipped, draw(st.integers(1, 6)), signed


class TestCoding:
    @given(sequences())
    def test_the_bits_are_those_of_a_plain_loop(self, case):
        vectors, skipped, run_bits, _ = case
        expected = "".join(
            f"{run:0{run_bits}b}" + "".join(f"{value % 16:04b}" for value in vector)
            for run, vector in plain_entries(vectors, skipped, run_bits)
        )
        stream = run_length_encode(vectors, skipped, run_bits)
        found = "".join(f"{byte:08b}" for byte in stream.data)
        assert stream.bits == len(expected)
        assert found[: len(expected)] == expected
        assert set(found[len(expected) :]) <= {"0"}
        assert len(found) - len(expected) < 8

    @given(sequences())
    def test_decoding_gives_the_vectors_back(self, case):
        vectors, skipped, run_bits, signed = case
        stream = run_length_encode(vectors, skipped, run_bits)
        assert torch.equal(run_length_decode(stream, signed=signed).long(), vectors)

    @given(sequences())
    def test_entries_are_counted_without_coding(self, case):
        vectors, skipped, run_bits, _ = case
        mask = (vectors == skipped).all(1)
        count = len(plain_entries(vectors, skipped, run_bits))
        assert int(run_length_entries(mask, run_bits)) == count
        assert torch.equal(run_length_entries(torch.stack([mask, mask]), run_bits), torch.tensor([count, count]))

    def test_sizes_of_the_derivation(self):
        # an entry of b = 4 is 20 bits; a run of 40 skipped vectors takes two fillers
        mask = torch.tensor([True] * 40 + [False])
        assert int(run_length_entries(mask, 4)) == 3
        assert run_length_encode(torch.where(mask[:, None], 10, 3).expand(-1, 4), 10, 4).bits == 60

    @pytest.mark.parametrize("run_bits", range(1, 9))
    @pytest.mark.parametrize("ends", [False, True])
    def test_a_run_of_r_takes_r_over_2_to_the_b_fillers(self, run_bits, ends):
        # each filler uses up 2^b vectors: a longest run of 2^b - 1 and itself; a run at the end is no different
        for runs in range(4):
            for count in range(max(0, runs * 2**run_bits - 2), runs * 2**run_bits + 3):
                mask = torch.tensor([True] * count + [False] * (not ends), dtype=torch.bool)
                expected = count // 2**run_bits + (not ends)
                stream = run_length_encode(torch.where(mask[:, None], -3, 4).expand(-1, 4), -3, run_bits)
                assert int(run_length_entries(mask, run_bits)) == stream.entries == expected
                assert stream.bits == expected * (run_bits + 16)
                assert len(stream.data) == math.ceil(stream.bits / 8)

    @given(
        shape=st.lists(st.integers(0, 5), max_size=2),
        count=st.integers(0, 40),
        seed=st.integers(0, 2**31 - 1),
        run_bits=st.integers(1, 8),
    )
    def test_sequences_are_counted_each_for_itself(self, shape, count, seed, run_bits):
        mask = torch.rand(*shape, count, generator=torch.Generator().manual_seed(seed)) < 0.8
        found = run_length_entries(mask, run_bits)
        assert found.dtype == torch.int64
        assert list(found.shape) == shape
        rows = mask.reshape(math.prod(shape), count)
        expected = [len(plain_entries(torch.where(row[:, None], 10, 3), 10, run_bits)) for row in rows]
        assert found.flatten().tolist() == expected

    def test_a_signed_and_an_unsigned_reading_of_the_same_bits(self):
        stream = run_length_encode(torch.tensor([[-8, -1, 0, 7], [-1, -1, -1, -1]]), -1, 4)
        assert run_length_decode(stream, signed=True).tolist() == [[-8, -1, 0, 7], [-1, -1, -1, -1]]
        assert run_length_decode(stream, signed=False).tolist() == [[8, 15, 0, 7], [15, 15, 15, 15]]
        assert run_length_decode(stream, signed=True).dtype == torch.int8

    @pytest.mark.parametrize("skipped", [-9, 16])
    def test_a_skipped_slice_has_4_bits(self, skipped):
        with pytest.raises(ValueError, match=f"the skipped one is {skipped}"):
            run_length_encode(torch.zeros(2, 4), skipped, 4)

    @pytest.mark.parametrize("run_bits", [0, 9])
    def test_impossible_runs_are_refused(self, run_bits):
        with pytest.raises(ValueError, match="1 to 8 bits"):
            run_length_encode(torch.zeros(2, 4), 0, run_bits)
        with pytest.raises(ValueError, match="1 to 8 bits"):
            run_length_entries(torch.ones(3, dtype=torch.bool), run_bits)

    @pytest.mark.parametrize("vectors", [torch.full((1, 4), 16), torch.full((1, 4), -9), torch.zeros(4)])
    def test_what_is_no_vector_of_slices_is_refused(self, vectors):
        with pytest.raises(ValueError, match=r"slices have 4 bits|coded as"):
            run_length_encode(vectors, 0, 4)


class TestDamage:
    def stream(self):
        vectors = torch.tensor([[1, 2, 3, 4], [0, 0, 0, 0], [0, 0, 0, 0], [5, 6, 7, 8], [0, 0, 0, 0], [9, 9, 9, 9]])
        return run_length_encode(vectors, 0, 4)

    def refused(self, **changes):
        with pytest.raises(InputError, match="cannot be decoded"):
            run_length_decode(dataclasses.replace(self.stream(), **changes), signed=False)

    def test_every_cut_is_an_error(self):
        data = self.stream().data
        for size in range(len(data)):
            self.refused(data=data[:size])

    def test_bytes_after_the_end_are_an_error(self):
        self.refused(data=self.stream().data + b"\0")

    def test_every_flipped_bit_is_an_error(self):
        data = self.stream().data
        for bit in range(8 * len(data)):
            damaged = bytearray(data)
            damaged[bit // 8] ^= 1 << bit % 8
            self.refused(data=bytes(damaged))

    @pytest.mark.parametrize("field", ["vectors", "entries", "length", "skipped", "run_bits", "checksum"])
    def test_every_changed_header_field_is_an_error(self, field):
        for change in (-1, 1):
            self.refused(**{field: getattr(self.stream(), field) + change})

    @given(sequences(), st.data())
    def test_any_damaged_bit_or_cut_is_an_error(self, case, data):
        vectors, skipped, run_bits, signed = case
        stream = run_length_encode(vectors, skipped, run_bits)
        assume(stream.data)
        bit = data.draw(st.integers(0, 8 * len(stream.data) - 1))
        flipped = bytearray(stream.data)
        flipped[bit // 8] ^= 1 << bit % 8
        for damaged in (bytes(flipped), stream.data[: bit // 8], stream.data + b"\0"):
            with pytest.raises(InputError, match="cannot be decoded"):
                run_length_decode(dataclasses.replace(stream, data=damaged), signed=signed)

    def test_entries_that_no_coder_writes_are_an_error_even_with_a_good_checksum(self):
        idle = dataclasses.replace(self.stream(), data=bytes([0x00, 0x00, 0x00]), entries=1, vectors=1)
        with pytest.raises(InputError, match="no coder writes"):  # stores a vector that it should have skipped
            run_length_decode(signed_off(idle), signed=False)
        long = dataclasses.replace(self.stream(), vectors=2)
        with pytest.raises(InputError, match="more than 2 vectors"):
            run_length_decode(signed_off(long), signed=False)

    def test_a_missing_filler_is_an_error_even_with_a_good_checksum(self):
        # 16 skipped vectors at the end take one filler when a run has 4 bits
        stream = run_length_encode(torch.zeros(16, 4), 0, 4)
        assert stream.entries == 1
        with pytest.raises(InputError, match="no coder writes"):
            run_length_decode(signed_off(dataclasses.replace(stream, data=b"", entries=0)), signed=False)

    def test_bits_in_the_filling_are_an_error_even_with_a_good_checksum(self):
        data = self.stream().data  # 3 entries of 20 bits: the last 4 of 64 bits are filling
        for bit in range(4):
            damaged = data[:-1] + bytes([data[-1] | 1 << bit])
            with pytest.raises(InputError, match="bits after its end"):
                run_length_decode(signed_off(dataclasses.replace(self.stream(), data=damaged)), signed=False)

    @pytest.mark.parametrize("header", [{"skipped": 16}, {"skipped": -1}, {"vectors": -1}, {"run_bits": 9}])
    def test_impossible_headers_are_an_error_even_with_a_good_checksum(self, header):
        with pytest.raises(InputError, match="header is impossible"):
            run_length_decode(signed_off(dataclasses.replace(self.stream(), **header)), signed=False)
