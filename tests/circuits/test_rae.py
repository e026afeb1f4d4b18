"""APSQ's engine against the recurrence as this project computes it, and a plain adder of partial sums beside it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bitwright.accelerators.partial_sums import rae as machine
from bitwright.circuits import CIRCUITS, PartialSumAdder, Rae
from bitwright.circuits.streams import DISTRIBUTIONS, stream
from bitwright.methods.apsq.reference import reference_sums
from bitwright.methods.apsq.rule import Kind, PartialSums, Phase

seeds = st.integers(0, 2**31 - 1)


def stepped(unit, tiles, exponents, group_size, phase):
    """Outputs of an engine whose banks are registers, for tiles [np, lanes] of one stream, and a clock more."""
    count = len(tiles)
    clocks = count + 1
    inputs = {
        "tile": np.concatenate([tiles, np.zeros_like(tiles[:1])])[:, None],
        "exponent": np.array([*exponents, 0])[:, None],
        "group": np.full((clocks, 1), group_size - 1),
        "head": np.full((clocks, 1), int(phase == "head")),
        "first": np.array([1, *[0] * count])[:, None],
        "last": np.array([*[0] * (count - 1), 1, 0])[:, None],
    }
    return unit.model(inputs)


@st.composite
def sums_in_tiles(draw):
    """Tiles [np, lanes], exponents, a group's size and phase."""
    generator = np.random.default_rng(draw(seeds))
    count = draw(st.integers(1, 14))
    tiles = generator.integers(-(2**17), 2**17 + 1, (count, 3))
    exponents = generator.integers(8, 15, count)
    return (
        tiles,
        exponents,
        draw(st.integers(1, 4)),
        draw(st.sampled_from(("head", "tail"))),
        draw(st.sampled_from((4, 8))),
    )


class TestRae:
    def test_by_hand(self):
        """Groups of one: 100; (100 + 50) / 2 = 75; (150 - 21) / 2 = 64.5, which is 65 at half scale."""
        unit = Rae(lanes=1, banks="registers")
        found = stepped(unit, np.array([[100], [50], [-21]]), [0, 1, 1], 1, "head")
        assert found["code"][:3].ravel().tolist() == [100, 75, 65]
        assert found["bank"][:3].ravel().tolist() == [1, 1, 1]
        assert found["sum"].ravel().tolist() == [0, 100, 150, 130]

    def test_groups_and_saturation_by_hand(self):
        """Groups of two, tail: 40 waits in bank 0; 40 + 300 is stored as 127 at 2, 254; -7 waits; 254 - 7 - 1 = 246."""
        unit = Rae(lanes=1, banks="registers")
        found = stepped(unit, np.array([[40], [300], [-7], [-1]]), [0, 1, 0, 1], 2, "tail")
        assert found["code"][:4].ravel().tolist() == [40, 127, -7, 123]
        assert found["bank"][:4].ravel().tolist() == [0b01, 0b01, 0b10, 0b01]
        assert found["sum"][4].tolist() == [[246]]

    @given(sums_in_tiles())
    def test_codes_and_banks_are_those_of_the_drawn_engine(self, drawn):
        tiles, exponents, group_size, phase, bits = drawn
        found = stepped(Rae(lanes=3, banks="registers", bits=bits), tiles, exponents, group_size, phase)
        told = machine.simulate(tiles, exponents.tolist(), group_size=group_size, phase=phase, bits=bits)
        assert found["sum"][-1, 0].tolist() == told.output.tolist()
        for at, step in enumerate(told.steps):
            assert found["code"][at, 0].tolist() == step.code.tolist()
            assert found["bank"][at, 0] == 1 << (step.bank or 0)  # the last one is stored too, to be read

    @given(sums_in_tiles(), seeds)
    def test_sums_are_those_of_the_method(self, drawn, seed):
        """Products of int8 codes by the method's recurrence, in Python's integers."""
        _, exponents, group_size, phase, bits = drawn
        generator, count = np.random.default_rng(seed), len(exponents)
        x, w = (generator.integers(-128, 128, (3, 8 * count)) for _ in "xw")
        scales = torch.from_numpy(2.0**exponents).float()
        rule = PartialSums(
            kind=Kind.APSQ,
            tile=8,
            bits=bits,
            group_size=group_size,
            phase=Phase(phase),
            tile_scales=scales,
            sum_scales=scales,
        )
        tiles = np.einsum("mtk,ntk->tmn", x.reshape(3, count, 8), w.reshape(3, count, 8)).reshape(count, 9)
        found = stepped(Rae(lanes=9, banks="registers", bits=bits), tiles, exponents, group_size, phase)
        assert found["sum"][-1, 0].reshape(3, 3).tolist() == reference_sums(x.tolist(), w.tolist(), rule)

    @given(sums_in_tiles())
    def test_banks_outside_hold_many_outputs(self, drawn):
        """Five outputs of every lane, tile by tile, their words in banks of memory: the same codes and sums."""
        tiles, exponents, group_size, phase, bits = drawn
        outputs, (count, lanes) = 5, tiles.shape
        many = np.stack([np.roll(tiles, at, 0) for at in range(outputs)], 1)
        told = machine.simulate(many, exponents.tolist(), group_size=group_size, phase=phase, bits=bits)
        memory = np.zeros((machine.BANKS, outputs, lanes), np.int64)
        words = []
        for step in told.steps:  # what banks hold when a tile comes, and after the last
            words.append(memory.copy())
            memory[step.bank or 0] = step.code
        words.append(memory)
        clock = np.arange((count + 1) * outputs)[:, None]
        tile, nothing = clock // outputs, np.zeros_like(many[:1])
        inputs = {
            "tile": np.concatenate([many, nothing]).reshape(len(clock), 1, lanes),
            "exponent": np.append(exponents, 0)[tile],
            "group": np.full_like(clock, group_size - 1),
            "head": np.full_like(clock, phase == "head"),
            "first": (tile == 0).astype(np.int64),
            "last": (tile == count - 1).astype(np.int64),
            "next": (clock % outputs == outputs - 1).astype(np.int64),
        }
        for at in range(machine.BANKS):
            inputs[f"bank{at}"] = np.stack([each[at] for each in words]).reshape(len(clock), 1, lanes)
        found = Rae(lanes=lanes, bits=bits).model(inputs)
        code, bank = found["code"].reshape(-1, outputs, lanes), found["bank"].reshape(-1, outputs)
        for at, step in enumerate(told.steps):
            assert code[at].tolist() == step.code.tolist()
            assert bank[at].tolist() == [1 << (step.bank or 0)] * outputs
        assert found["sum"].reshape(-1, outputs, lanes)[-1].tolist() == told.output.tolist()

    def test_what_is_stored_is_not_added_to_the_next_output(self):
        """Two outputs one after the other in the same registers."""
        unit = Rae(lanes=1, banks="registers")
        zeros = np.zeros((5, 1), np.int64)
        inputs = {
            "tile": np.array([3, 4, 5, 6, 0])[:, None, None],
            "exponent": zeros,
            "group": zeros,
            "head": zeros,
            "first": np.array([1, 0, 1, 0, 0])[:, None],
            "last": np.array([0, 1, 0, 1, 0])[:, None],
        }
        assert unit.model(inputs)["sum"].ravel().tolist() == [0, 3, 7, 5, 11]

    def test_width_of_tiles(self):
        """8 products of a centred 8-bit code (at most 255) by an int8 one (at least -128) take 19 bits, not 18."""
        tile = next(port for port in Rae().ports().inputs if port.name == "tile")
        assert tile.smallest <= 8 * 255 * -128 < tile.smallest // 2
        assert tile.largest >= 8 * -255 * -128


def test_a_plain_adder():
    unit = PartialSumAdder(lanes=2)
    given = {
        "tile": np.array([[[5, -7]], [[5, -7]]]),
        "stored": np.array([[[100, -100]]] * 2),
        "first": np.array([[0], [1]]),
    }
    assert unit.model(given)["sum"].tolist() == [[[105, -107]], [[5, -7]]]


@pytest.mark.parametrize("name", CIRCUITS)
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_streams_of_circuits_at_work_keep_to_their_ports(name, distribution):
    for parameters in CIRCUITS[name].configurations.values():
        circuit = CIRCUITS[name](**parameters)
        ports = {port.name: port for port in circuit.ports().inputs}
        assert set(circuit.controls(3, 2)) <= set(ports)
        for port, values in stream(circuit, distribution, clocks=130, streams=2).items():
            assert values.shape == (130, 2, *([ports[port].lanes] if ports[port].lanes else []))
            assert ports[port].smallest <= values.min()
            assert values.max() <= ports[port].largest
