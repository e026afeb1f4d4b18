"""Circuits of Panacea and Sibia against this project's own integers: slice products, run-length codes, codes of y."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bitwright.circuits import (
    Compensator,
    Requantizer,
    RunLengthDecoder,
    RunLengthEncoder,
    SliceMerger,
    SliceOperator,
)
from bitwright.circuits.equality import compare, exhaustive, random
from bitwright.formats import (
    Integer,
    Rounding,
    SlicedUnsigned,
    frequent_slice,
    run_length_encode,
    signed_slices,
    unsigned_slices,
)
from bitwright.methods.aqs.reference import slice_product

seeds = st.integers(0, 2**31 - 1)
VECTOR = 4


def require_rtl():
    for needed in ("amaranth", "pyosys"):
        pytest.importorskip(needed, reason=f"RTL needs {needed}: pip install 'bitwright[rtl]'")


def column(*values):
    """One stream of a port, a value a clock."""
    return np.array(values)[:, None]


class TestSliceOperator:
    def test_by_hand(self):
        """15 * -8 + 2 * 7 = -106, twice in a row; what is not taken is not added, and a new sum begins."""
        unit = SliceOperator(vector=2)
        x, w = np.array([[[15, 2]], [[15, 2]], [[9, 9]], [[1, 0]], [[0, 0]]]), np.array([[[-8, 7]]] * 5)
        found = unit.model({"x": x, "w": w, "take": column(1, 1, 0, 1, 1), "clear": column(1, 0, 0, 1, 0)})["sum"]
        once = [15 * -8, 15 * 7, 2 * -8, 2 * 7]  # x's first slice by both of w, then the second
        twice = [2 * each for each in once]
        assert found[:, 0].tolist() == [[0] * 4, once, twice, twice, [-8, 7, 0, 0]]

    def test_the_tree_adds_what_is_taken(self):
        unit = SliceOperator(vector=1, products=3)
        x, w = np.array([[[1, 2, 3]]] * 3), np.array([[[1, -1, 2]]] * 3)
        found = unit.model({"x": x, "w": w, "take": column(0b111, 0b101, 0), "clear": column(0, 0, 0)})["sum"]
        assert found[:, 0, 0].tolist() == [0, 5, 5 + 7]

    @pytest.mark.parametrize(
        ("given", "x", "longest"),
        [
            ({}, 15, 4369),  # of 15 * -8, down to -2^19
            ({"x_signed": True}, -8, 8191),  # of -8 * -8, up to 2^19 - 1
            ({"products": 4, "sum_bits": 22}, 15, 17476),
        ],
    )
    def test_width_of_sums(self, given, x, longest):
        unit = SliceOperator(vector=1, **given)
        assert unit.longest == longest

        def total(count):
            clocks, rest = divmod(count, unit.products)
            take = column(*[(1 << unit.products) - 1] * clocks, (1 << rest) - 1, 0)
            lanes = np.ones((len(take), 1, unit.products), np.int64)
            ports = {"x": x * lanes, "w": -8 * lanes, "take": take, "clear": 0 * take}
            return unit.model(ports)["sum"][-1].item()

        assert total(longest) == longest * x * -8
        assert total(longest + 1) == (longest + 1) * x * -8 + np.sign(x) * 2**unit.sum_bits


class TestSliceMerger:
    @pytest.mark.parametrize(
        ("given", "x_order", "w_order", "shift"),
        [({}, 1, 0, 4), ({}, 1, 1, 7), ({"w_slices": 4}, 1, 3, 13), ({"x_signed": True}, 1, 1, 6), ({}, 0, 0, 0)],
    )
    def test_significance(self, given, x_order, w_order, shift):
        orders = {"x_order": column(x_order), "w_order": column(w_order)}
        stored = {"stored": column(1000), "first": column(0)}
        unit = SliceMerger(**given)
        assert unit.model({"part": column(-3), **orders, **stored})["sum"].tolist() == [[1000 - 3 * 2**shift]]
        stored["first"] = column(1)
        assert unit.model({"part": column(-3), **orders, **stored})["sum"].tolist() == [[-3 * 2**shift]]


class TestCompensator:
    def test_by_hand(self):
        """Operator 1 takes (3 + 8 * -2) and then 1: -r times 14 - ... of its own sum only."""
        unit = Compensator(operators=2, vector=1)
        w = np.array([[[5, 3]], [[5, -2]], [[5, 1]], [[0, 0]]])
        inputs = {
            "w": w,
            "take": column(0b10, 0b11, 0b10, 0),
            "clear": column(0b11, 0b01, 0, 0),
            "order": np.array([[[0, 0]], [[0, 1]], [[0, 0]], [[0, 0]]]),
            "r": column(6, 6, 6, 6),
            "read": column(1, 1, 1, 1),
        }
        assert unit.model(inputs)["part"].ravel().tolist() == [0, -6 * 3, -6 * (3 - 16), -6 * (3 - 16 + 1)]
        assert unit.model({**inputs, "read": column(0, 0, 0, 0)})["part"].ravel().tolist() == [0, 0, -30, -30]

    def test_width_of_sums(self):
        """512 weights of -64, the least of 7 bits, are -2^15."""
        unit = Compensator(operators=1, vector=1)
        w, order = np.full((2 * 512 + 1, 1, 1), -8), np.zeros((2 * 512 + 1, 1, 1), np.int64)
        w[1::2], order[::2] = 0, 1  # -8 * 8 + 0
        take = np.ones((len(w), 1), np.int64)
        ports = {"w": w, "order": order, "take": take, "clear": 0 * take, "r": 15 * take}
        found = unit.model({**ports, "take": np.where(np.arange(len(w))[:, None] < 2 * 511, 1, 0)})["part"]
        assert found[-1].tolist() == [[15 * 64 * 511]]
        assert unit.model({**ports, "take": take})["part"][-1].tolist() == [[-15 * 2**15]]  # + 2^15 wraps


def blocks(rows, value=0):
    """[rows, K] -> [vectors, K, 4], filled up with `value`."""
    padded = np.pad(np.asarray(rows, np.int64), ((0, -len(rows) % VECTOR), (0, 0)), constant_values=value)
    return padded.reshape(-1, VECTOR, padded.shape[1]).transpose(0, 2, 1)


def processed(x, w, x_format, w_bits, zero_point):
    """Sum over k of (x - zero_point) * w by operators, compensator and mergers; and how many products were taken.

    Blocks of 4 x 4 outputs are streams; the bias holds what is known beforehand.
    """
    signed = x_format.signed
    split = 4 if signed else x_format.split
    if signed:
        parts, r = signed_slices(x, x_format.bits), 0
    else:
        high, low = unsigned_slices(x, split)
        parts, r = [low, high], frequent_slice(zero_point, split)
    x_slices = [blocks(part, r if at == len(parts) - 1 else 0) for at, part in enumerate(parts)]
    w_slices = [blocks(part) for part in signed_slices(w, w_bits)]
    top = len(w_slices) - 1
    x_kept = (x_slices[-1] != r).any(-1)
    w_kept = (w_slices[-1] != 0).any(-1) | (top == 0)
    pairs = [(i, j) for i in range(len(w_slices[0])) for j in range(len(x_slices[0]))]

    def streams(of_w, of_x):
        """[K + 1, blocks, ...], the last clock to see what came out."""
        found = np.stack([of_w[i] if of_x is None else of_x[j] for i, j in pairs], 1)
        return np.concatenate([found, np.zeros_like(found[:1])])

    operator = SliceOperator(x_signed=signed)
    merger = SliceMerger(x_signed=signed, w_slices=len(w_slices), x_slices=len(x_slices))
    compensator = Compensator(operators=1, w_slices=len(w_slices), sum_bits=24)
    total, executed, first = np.zeros((1, len(pairs) * VECTOR**2), np.int64), 0, 1
    weights = np.zeros((len(pairs), VECTOR), np.int64)

    def merge(part, x_order, w_order):
        nonlocal total, first
        constant = {"first": first, "x_order": x_order, "w_order": w_order}
        inputs = {name: np.full(total.shape, value) for name, value in constant.items()}
        total = merger.model({"part": part.reshape(1, -1), "stored": total, **inputs})["sum"]
        first = 0

    for x_order, of_x in enumerate(x_slices):
        for w_order, of_w in enumerate(w_slices):
            take = np.ones((len(pairs), x.shape[1]), bool)
            take &= np.stack([x_kept[j] for _, j in pairs]) | (x_order < len(x_slices) - 1)
            take &= np.stack([w_kept[i] for i, _ in pairs]) | (w_order < top)
            executed += int(take.sum())
            take = np.concatenate([take.T, np.zeros((1, len(pairs)), bool)]).astype(np.int64)
            given_w, given_x = streams(of_w, None), streams(None, of_x)
            ports = {"w": given_w, "x": given_x, "take": take, "clear": 0 * take}
            merge(operator.model(ports)["sum"][-1].reshape(len(pairs), VECTOR, VECTOR), x_order, w_order)
            if x_order == len(x_slices) - 1:
                orders = {"order": np.full((*take.shape, 1), w_order)} if top else {}
                ports = {"w": given_w, "take": take, "clear": 0 * take, "r": np.full_like(take, r), **orders}
                weights += compensator.model(ports)["part"][-1]
    if not signed:
        merge(np.broadcast_to(weights[:, None, :], (len(pairs), VECTOR, VECTOR)), 1, 0)
    product = np.zeros((len(x_slices[0]) * VECTOR, len(w_slices[0]) * VECTOR), np.int64)
    for (i, j), block in zip(pairs, total.reshape(len(pairs), VECTOR, VECTOR), strict=True):
        product[VECTOR * j : VECTOR * (j + 1), VECTOR * i : VECTOR * (i + 1)] = block
    dropped = 0 if signed else split - 4
    bias = ((r << split) - zero_point) * w.to(torch.int64).sum(1).numpy()
    return (product[: len(x), : len(w)] << dropped) + bias, executed


@st.composite
def operands(draw):
    """Codes with frequent slices, of any shape, split, width and zero point."""
    m, k, n = draw(st.integers(1, 9)), draw(st.integers(1, 12)), draw(st.integers(1, 9))
    w_bits, generator = draw(st.sampled_from((4, 7, 10, 13))), np.random.default_rng(draw(seeds))
    w = generator.integers(-(1 << (w_bits - 1)), 1 << (w_bits - 1), (n, k))
    w = np.where(generator.random((n, k)) < draw(st.sampled_from((0, 0.9))), w >> (w_bits - 3), w)
    if draw(st.booleans()):
        bits = draw(st.sampled_from((4, 7, 10)))
        x_format, zero_point = Integer(bits=bits), 0
        x = generator.integers(-(1 << (bits - 1)), 1 << (bits - 1), (m, k))
        x = np.where(generator.random((m, k)) < draw(st.sampled_from((0, 0.9))), x >> (bits - 3), x)
    else:
        split, zero_point = draw(st.sampled_from((4, 5, 6))), draw(st.integers(0, 255))
        x_format = SlicedUnsigned(split=split)
        near = np.clip(zero_point + generator.integers(-3, 4, (m, k)), 0, 255)
        x = np.where(
            generator.random((m, k)) < draw(st.sampled_from((0, 0.9, 1))), near, generator.integers(0, 256, (m, k))
        )
        x = x >> (split - 4) << (split - 4)
    return torch.from_numpy(x), torch.from_numpy(w), x_format, w_bits, zero_point


class TestProducts:
    @settings(max_examples=60)
    @given(operands())
    def test_what_the_circuits_make_is_the_product(self, drawn):
        """The same integers as the method's twin, slice by slice, and as plain multiplication; the same work."""
        x, w, x_format, w_bits, zero_point = drawn
        found, executed = processed(x, w, x_format, w_bits, zero_point)
        told = slice_product(x, w, x_format=x_format, w_bits=w_bits, zero_point=zero_point)
        assert found.tolist() == told.product.tolist() == ((x - zero_point) @ w.T).tolist()
        assert executed == sum(told.executed.values())


@st.composite
def vectors(draw):
    """Vectors of which many are skipped: [V, 4] of 0 .. 15, the skipped slice, the width of runs."""
    generator = np.random.default_rng(draw(seeds))
    count, run_bits, skipped = draw(st.integers(0, 80)), draw(st.integers(1, 8)), draw(st.integers(0, 15))
    rows = generator.integers(0, 16, (count, VECTOR))
    rows[generator.random(count) < draw(st.sampled_from((0.0, 0.5, 0.95, 1.0)))] = skipped
    return rows, skipped, run_bits, generator


def encoded(rows, skipped, run_bits, generator, times=1):
    """Entries (run, slices) of the encoder for streams of these vectors, one after the other, with gaps in them."""
    clocks = np.cumsum(generator.integers(0, 3, times * len(rows)) + 1)  # clock 0 says that a stream begins
    length = int(clocks[-1]) + 2 if len(clocks) else 2
    slices = generator.integers(0, 16, (length, 1, VECTOR))
    valid, first = np.zeros((length, 1), np.int64), np.zeros((length, 1), np.int64)
    slices[clocks, 0], valid[clocks], first[0] = np.tile(rows, (times, 1)), 1, 1
    first[clocks[len(rows) :: max(1, len(rows))]] = 1  # a later one with its first vector
    ports = {"slices": slices, "valid": valid, "first": first, "r": np.full_like(valid, skipped)}
    found = RunLengthEncoder(run_bits=run_bits).model(ports)
    at = found["stored"][:, 0] == 1
    return found["run"][at, 0], found["entry"][at, 0]


class TestRunLength:
    def test_by_hand(self):
        """Runs of 1 bit, r = 7: two skipped vectors before a stored one are a filler and a run of 0."""
        rows = np.array([[7, 7], [7, 7], [1, 7], [7, 7], [2, 2], [7, 7]])
        ports = {
            "slices": rows[:, None],
            "r": column(*[7] * 6),
            "valid": column(*[1] * 6),
            "first": column(1, *[0] * 5),
        }
        found = RunLengthEncoder(vector=2, run_bits=1).model(ports)
        assert found["stored"].ravel().tolist() == [0, 0, 1, 1, 0, 1]
        at = found["stored"][:, 0] == 1
        assert found["run"][at, 0].tolist() == [1, 0, 1]
        assert found["entry"][at, 0].tolist() == [[7, 7], [1, 7], [2, 2]]
        entries = {"run": column(1, 0, 1, 0), "entry": np.array([[[7, 7]], [[1, 7]], [[2, 2]], [[0, 0]]])}
        steering = {"r": column(*[7] * 4), "valid": column(1, 1, 1, 0), "first": column(1, 0, 0, 0)}
        told = RunLengthDecoder(vector=2, run_bits=1).model({**entries, **steering})
        assert told["kept"].ravel().tolist() == [0, 0, 1, 1]  # the filler is none
        assert told["place"][2:].ravel().tolist() == [2, 4]
        assert told["slices"][2:, 0].tolist() == [[1, 7], [2, 2]]

    @given(vectors())
    def test_the_encoder_writes_what_the_format_does(self, drawn):
        rows, skipped, run_bits, generator = drawn
        stream = run_length_encode(torch.from_numpy(rows), skipped, run_bits)
        runs, entries = encoded(rows, skipped, run_bits, generator, times=3)
        assert len(runs) == 3 * stream.entries
        words = [
            f"{run:0{run_bits}b}" + "".join(f"{part:04b}" for part in entry)
            for run, entry in zip(runs, entries, strict=True)
        ]
        for at in range(0, len(words), max(1, stream.entries)):
            bits = [int(bit) for bit in "".join(words[at : at + stream.entries])]
            assert np.packbits(np.array(bits, np.uint8)).tobytes() == stream.data

    @given(vectors())
    def test_the_decoder_finds_what_is_kept(self, drawn):
        """Two streams one after the other, the second with gaps: every vector that is not skipped, at its place."""
        rows, skipped, run_bits, generator = drawn
        runs, entries = encoded(rows, skipped, run_bits, generator)
        clocks = [np.arange(len(runs)), len(runs) + np.cumsum(generator.integers(1, 3, len(runs)))]
        length = 2 * len(runs) + int(len(runs) and clocks[1][-1]) + 2
        run, entry = generator.integers(0, 1 << run_bits, (length, 1)), generator.integers(0, 16, (length, 1, VECTOR))
        valid, first = np.zeros((length, 1), np.int64), np.zeros((length, 1), np.int64)
        for at in clocks:
            run[at, 0], entry[at, 0], valid[at] = runs, entries, 1
        first[len(runs)] = 1  # a clock of its own between the streams
        ports = {"run": run, "entry": entry, "valid": valid, "first": first, "r": np.full_like(run, skipped)}
        found = RunLengthDecoder(run_bits=run_bits).model(ports)
        kept = found["kept"][:, 0] == 1
        places = np.flatnonzero((rows != skipped).any(1)).tolist()
        assert found["place"][kept, 0].tolist() == [*places, *places]
        assert found["slices"][kept, 0].tolist() == [*rows[places].tolist(), *rows[places].tolist()]

    @pytest.mark.parametrize("run_bits", [1, 4, 8])
    def test_full_runs_in_rtl(self, run_bits):
        """Runs of skipped vectors that fill the counter, in clocks with and without vectors."""
        require_rtl()
        generator, shape = np.random.default_rng(run_bits), (5 << run_bits, 64)
        skipped = generator.integers(0, 16, shape)
        kept = generator.random(shape) < 1 / (4 << run_bits)
        slices = np.where(kept[..., None], generator.integers(0, 16, (*shape, VECTOR)), skipped[..., None])
        valid = (generator.random(shape) < 0.9).astype(np.int64)
        first = (generator.random(shape) < 1 / (16 << run_bits)).astype(np.int64)
        circuit = RunLengthEncoder(run_bits=run_bits)
        ports = {"slices": slices, "valid": valid, "first": first, "r": skipped}
        assert (circuit.model(ports)["run"] == (1 << run_bits) - 1).any()
        assert compare(circuit, ports).wrong == 0


def requantized(unit, total, constants):
    """Codes or slices of sums [N], whose constants are held."""
    inputs = {"sum": np.broadcast_to(np.asarray(total, np.int64), (4, len(total)))}
    for name, value in constants.items():
        inputs[name] = np.full((4, len(total)), value)
    return {name: values[3] for name, values in unit.model(inputs).items()}


class TestRequantizer:
    @pytest.mark.parametrize(
        ("rounding", "moves"),
        [(Rounding.HALF_EVEN, [-2, -1, 0, 0, 2, 2, 2]), (Rounding.HALF_UP, [-1, -1, 0, 1, 2, 2, 3])],
    )
    def test_halves_and_ends(self, rounding, moves):
        """Sums of -4 .. 4, a bias of 1 and a factor of 1/2 make -1.5, -1, -0.5, 0.5, 1.5, 2, 2.5."""
        unit = Requantizer(slices=False, rounding=rounding)
        constants = {"bias": 1, "scale": 1 << 14, "shift": 0, "zero_point": 101}
        found = requantized(unit, [-4, -3, -2, 0, 2, 3, 4, 2000, -2000], constants)
        assert found["code"].tolist() == [*(101 + move for move in moves), 255, 0]

    @pytest.mark.parametrize(
        ("shift", "total", "code"),
        [
            (31, 2**31 - 1, 101),
            (31, -(2**31), 99),
            (30, 2**31 - 1, 102),
            (0, 2**31 - 1, 255),
            (7, -12800, 0),
            (7, -12672, 1),
        ],
    )
    def test_shifts(self, shift, total, code):
        """A factor of 1 by 2^shift, up to sums of all their bits."""
        constants = {"bias": 0, "scale": 1 << 15, "shift": shift, "zero_point": 100}
        assert requantized(Requantizer(slices=False), [total], constants)["code"].tolist() == [code]

    def test_a_zero_point_in_the_centre_of_its_bin(self):
        """104 = 6 * 16 + 8: what lies in -8 .. 7 has the slice r = 6, and no more."""
        constants = {"bias": 0, "scale": 1 << 15, "shift": 0, "zero_point": 104, "dropped": 0, "split": 0}
        found = requantized(Requantizer(), [-9, -8, 0, 7, 8], constants)
        assert found["high"].tolist() == [5, 6, 6, 6, 7]
        assert found["low"].tolist() == [15, 0, 8, 15, 0]

    @pytest.mark.parametrize("rounding", [Rounding.HALF_EVEN, Rounding.HALF_UP])
    @pytest.mark.parametrize("split", [4, 5, 6])
    @pytest.mark.parametrize("x_split", [4, 5, 6])
    def test_codes_are_those_of_the_format(self, rounding, split, x_split):
        """Scales of 16 bits: totals times them are exact in float64, halves among them."""
        generator = np.random.default_rng(split)
        fmt = SlicedUnsigned(split=split, rounding=rounding)
        sums, bias = generator.integers(-(2**20), 2**20, 2000), int(generator.integers(-(2**12), 2**12))
        for scale, shift in ((1 << 15, 13), (46341, 12), (65535, 15)):
            zero_point = int(generator.integers(0, 256))
            constants = {"bias": bias, "scale": scale, "shift": shift, "zero_point": zero_point}
            unit = Requantizer(rounding=rounding)
            found = requantized(unit, sums, {**constants, "dropped": x_split - 4, "split": split - 4})
            total = torch.from_numpy((sums << (x_split - 4)) + bias).double()
            codes = fmt.encode(total * (scale / 2 ** (15 + shift)), zero_point)
            assert len(codes.unique()) > 10
            high, low = unsigned_slices(codes, split)
            assert found["high"].tolist() == high.tolist()
            assert found["low"].tolist() == low.tolist()

    @pytest.mark.parametrize(("bits", "moved"), [(16, 2**-8), (31, 2**-23)])
    def test_a_fixed_scale_is_a_real_one_but_for_its_own_rounding(self, bits, moved):
        """Codes of a real factor differ only where a product lies so near to a half."""
        generator = np.random.default_rng(bits)
        unit, near = Requantizer(slices=False, scale_bits=bits), 0
        for factor in generator.uniform(2**-10, 2**-9, 20):
            sums = generator.integers(-(2**17), 2**17, 20_000)
            scale = round(factor * 2 ** (bits - 1 + 10))
            constants = {"bias": 0, "scale": scale, "shift": 10, "zero_point": 128}
            found = requantized(unit, sums, constants)["code"]
            real = torch.from_numpy(sums).double() * factor
            told = Integer(bits=8, signed=False).encode(real, 128).numpy()
            differs = found != told
            assert np.abs(found - told).max() <= 1
            assert (np.abs((real.numpy() % 1) - 0.5)[differs] <= moved).all()
            near += int(differs.sum())
        assert (near > 0) == (bits == 16)

    @pytest.mark.parametrize("rounding", [Rounding.HALF_EVEN, Rounding.HALF_UP])
    def test_every_word_of_a_small_one_in_rtl(self, rounding):
        """Every word is held until it has passed all registers."""
        require_rtl()
        circuit = Requantizer(slices=False, sum_bits=2, scale_bits=2, rounding=rounding)
        words = {name: np.repeat(values, 4, 0) for name, values in exhaustive(circuit).items()}
        found = compare(circuit, words)
        assert (found.compared, found.wrong) == (4 << 19, 0), found.first

    def test_the_widest_in_rtl(self):
        require_rtl()
        circuit = Requantizer(scale_bits=31)
        assert compare(circuit, random(circuit, cases=20_000, clocks=20)).wrong == 0
