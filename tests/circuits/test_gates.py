"""Netlists: reading, simulation against its slow twin, timing and energy of circuits small enough for a hand."""

import json
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitwright.circuits import Port, Ports
from bitwright.circuits import liberty as liberty_room
from bitwright.circuits.boolean import truth_table
from bitwright.circuits.circuit import Circuit
from bitwright.circuits.energy import energy
from bitwright.circuits.netlist import GENERIC, read
from bitwright.circuits.reference import simulate_slowly
from bitwright.circuits.report import require_twin
from bitwright.circuits.simulation import run
from bitwright.circuits.synthesis import timed
from bitwright.errors import InputError

TABLE = """
    {name} (grid) {{ index_1 ("0, 1"); index_2 ("0, 1"); values ("{low}, {low}", "{high}, {high}"); }}"""
LIBRARY = """
library (hand) {{
  nom_voltage : 2.0; time_unit : "1ns"; voltage_unit : "1V"; leakage_power_unit : "1nW"; capacitive_load_unit (1, pf);
  lu_table_template (grid) {{ variable_1 : total_output_net_capacitance; variable_2 : input_net_transition;
    index_1 ("0, 1"); index_2 ("0, 1"); }}
  power_lut_template (grid) {{ variable_1 : total_output_net_capacitance; variable_2 : input_transition_time;
    index_1 ("0, 1"); index_2 ("0, 1"); }}
  power_lut_template (passive) {{ variable_1 : input_transition_time; index_1 ("0, 1"); }}
  cell (INV) {{ area : 2; cell_leakage_power : 1;
    pin (A) {{ direction : input; capacitance : 0.01; }}
    pin (Y) {{ direction : output; function : "(!A)"; max_capacitance : 1;
      timing () {{ related_pin : "A"; timing_sense : negative_unate; {delay} }}
      internal_power () {{ related_pin : "A"; {power} }} }} }}
  cell (BUF) {{ area : 3; cell_leakage_power : 1;
    pin (A) {{ direction : input; capacitance : 0.01; }}
    pin (Y) {{ direction : output; function : "A"; max_capacitance : 1;
      timing () {{ related_pin : "A"; timing_sense : positive_unate; {delay} }} }} }}
  cell (NAND) {{ area : 4; cell_leakage_power : 2;
    pin (A) {{ direction : input; capacitance : 0.01; }} pin (B) {{ direction : input; capacitance : 0.02; }}
    pin (Y) {{ direction : output; function : "(!(A B))"; max_capacitance : 1;
      timing () {{ related_pin : "A"; timing_sense : negative_unate; {delay} }}
      timing () {{ related_pin : "B"; timing_sense : negative_unate; {delay} }} }} }}
  cell (XOR) {{ area : 8; cell_leakage_power : 3;
    pin (A) {{ direction : input; capacitance : 0.03; }} pin (B) {{ direction : input; capacitance : 0.03; }}
    pin (Y) {{ direction : output; function : "(A ^ B)"; max_capacitance : 1;
      timing () {{ related_pin : "A"; timing_sense : non_unate; {delay} }}
      timing () {{ related_pin : "B"; timing_sense : non_unate; {delay} }} }} }}
  cell (AND) {{ area : 6; cell_leakage_power : 3;
    pin (A) {{ direction : input; capacitance : 0.01; }} pin (B) {{ direction : input; capacitance : 0.01; }}
    pin (Y) {{ direction : output; function : "A*B"; max_capacitance : 1;
      timing () {{ related_pin : "A"; timing_sense : positive_unate; {delay} }}
      timing () {{ related_pin : "B"; timing_sense : positive_unate; {delay} }} }} }}
  cell (DFF) {{ area : 20; cell_leakage_power : 5;
    ff (IQ, IQN) {{ next_state : "D"; clocked_on : "CK"; }}
    pin (CK) {{ direction : input; capacitance : 0.02; clock : true;
      internal_power () {{ rise_power (passive) {{ index_1 ("0, 1"); values ("0.3, 0.3"); }}
                          fall_power (passive) {{ index_1 ("0, 1"); values ("0.1, 0.1"); }} }} }}
    pin (D) {{ direction : input; capacitance : 0.01; }}
    pin (Q) {{ direction : output; function : "IQ";
      timing () {{ related_pin : "CK"; timing_type : rising_edge; {delay} }} }} }}
  cell (LATCH) {{ area : 9; latch (IQ, IQN) {{ enable : "E"; data_in : "D"; }}
    pin (D) {{ direction : input; }} pin (E) {{ direction : input; }}
    pin (Q) {{ direction : output; function : "IQ"; }} }}
}}
"""


def written(path):
    """The library in a file."""
    delay = "".join(
        TABLE.format(name=f"cell_{edge}", low=0.1, high=1.1)
        + TABLE.format(name=f"{edge}_transition", low=0.5, high=0.5)
        for edge in ("rise", "fall")
    )
    power = TABLE.format(name="rise_power", low=0.4, high=0.4) + TABLE.format(name="fall_power", low=0.2, high=0.2)
    path.write_text(LIBRARY.format(delay=delay, power=power))
    return path


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    pytest.importorskip("liberty", reason="Liberty files need liberty-parser: pip install 'bitwright[rtl]'")
    return liberty_room.read(written(tmp_path_factory.mktemp("cells") / "hand.lib"))


def module(ports, cells):
    """A module as Yosys' JSON has it, of net numbers from 2 on."""
    return {
        "ports": {name: {"direction": way, "bits": bits} for name, (way, bits) in ports.items()},
        "cells": {
            str(at): {"type": kind, "connections": {pin: [net] for pin, net in pins.items()}}
            for at, (kind, pins) in enumerate(cells)
        },
    }


def of(library, ports, cells):
    return read(module(ports, cells), {name: cell.kind for name, cell in library.cells.items()})


def io(bits_in=1, bits_out=1):
    return Ports(inputs=(Port(name="a", bits=bits_in, what="a"),), outputs=(Port(name="y", bits=bits_out, what="y"),))


EDGES = """
library (edges) {
  nom_voltage : 1.0; time_unit : "1ns"; voltage_unit : "1V"; leakage_power_unit : "1nW"; capacitive_load_unit (1, pf);
  lu_table_template (one) { variable_1 : total_output_net_capacitance; index_1 ("0, 1"); }
  cell (INV) { area : 1; pin (A) { direction : input; capacitance : 0.01; }
    pin (Y) { direction : output; function : "!A"; timing () { related_pin : "A"; timing_sense : negative_unate;
      cell_rise (one) { index_1 ("0, 1"); values ("0.1, 0.1"); }
      cell_fall (one) { index_1 ("0, 1"); values ("0.3, 0.3"); }
      rise_transition (one) { index_1 ("0, 1"); values ("0, 0"); }
      fall_transition (one) { index_1 ("0, 1"); values ("0, 0"); } } } }
  cell (BOTH) { area : 1;
    pin (A) { direction : input; capacitance : 0.01; } pin (B) { direction : input; capacitance : 0.01; }
    pin (C) { direction : input; capacitance : 0.01; }
    pin (Y) { direction : output; function : "A ^ B C"; timing () { related_pin : "A B C";
      cell_rise (one) { index_1 ("0, 1"); values ("1, 1"); }
      cell_fall (one) { index_1 ("0, 1"); values ("2, 2"); } } } }
  cell (DFF) { area : 1; ff (IQ, IQN) { next_state : "D"; clocked_on : "CK"; }
    pin (D) { direction : input; }
    pin (CK) { direction : input; capacitance : 0;
      internal_power () { when : "D"; rise_power (scalar) { values ("0.4"); } fall_power (scalar) { values ("0.2"); } }
      internal_power () { when : "!D"; rise_power (scalar) { values ("0.2"); } fall_power (scalar) { values ("0"); } } }
    pin (Q) { direction : output; function : "IQ"; } }
  cell (WIDE) { area : 1;
    pin (A) { direction : input; } pin (B) { direction : input; } pin (C) { direction : input; }
    pin (D) { direction : input; } pin (E) { direction : input; } pin (F) { direction : input; }
    pin (G) { direction : input; } pin (Y) { direction : output; function : "A B C D E F G"; } }
}
"""


@pytest.fixture(scope="module")
def edges(tmp_path_factory):
    pytest.importorskip("liberty", reason="Liberty files need liberty-parser: pip install 'bitwright[rtl]'")
    path = tmp_path_factory.mktemp("cells") / "edges.lib"
    path.write_text(EDGES)
    return liberty_room.read(path)


class TestEdges:
    def test_an_edge_comes_from_the_edge_that_causes_it(self, edges):
        """Two inverters: one falls where the other rises, .3 and .1 ns, never both .3."""
        netlist = of(
            edges,
            {"a": ("input", [2]), "y": ("output", [4])},
            [("INV", {"A": 2, "Y": 3}), ("INV", {"A": 3, "Y": 4})],
        )
        mapped = timed(netlist, edges, 0.0)
        y = netlist.outputs["y"][0]
        assert mapped.edges[y] == pytest.approx([0.4, 0.4])
        assert mapped.critical_path_ns == pytest.approx(0.4)

    def test_a_group_may_be_of_several_pins(self, edges):
        pins = {"A": 2, "B": 3, "C": 4, "Y": 5}
        ports = {"a": ("input", [2, 3, 4]), "y": ("output", [5])}
        netlist = of(edges, ports, [("BOTH", pins)])
        assert timed(netlist, edges, 0.0).critical_path_ns == 2

    def test_exclusive_or_binds_more_than_and(self, edges):
        """Synopsys' order, and Yosys': inversion, exclusive or, and, or."""
        kind = edges.cells["BOTH"].kind
        assert [kind.outputs["Y"] >> at & 1 for at in range(8)] == [
            ((at & 1) ^ (at >> 1 & 1)) & (at >> 2) for at in range(8)
        ]
        assert truth_table("A + B ^ C D'", "ABCD") == truth_table("A + ((B ^ C) (!D))", "ABCD")

    def test_a_clock_costs_the_mean_of_its_conditions(self, edges):
        ports = {"clk": ("input", [4]), "a": ("input", [2]), "y": ("output", [3])}
        netlist = of(edges, ports, [("DFF", {"D": 2, "CK": 4, "Q": 3})])
        found = energy(timed(netlist, edges, 0.0), io(), {"a": np.array([[1], [0], [1], [0]])})
        assert found.clock_pj == pytest.approx(((0.4 + 0.2) + (0.2 + 0)) / 2)

    def test_a_gate_of_more_inputs_than_a_table_holds_is_left_out(self, edges):
        assert set(edges.cells) == {"INV", "BOTH", "DFF"}


class Wire(Circuit):
    """y is a."""

    name: ClassVar[str] = "wire"

    def ports(self):
        return io()

    def model(self, inputs):
        return {"y": inputs["a"]}

    def build(self, m, io):
        m.d.comb += io.y.eq(io.a)


def test_cells_that_do_something_else_than_the_circuit_are_refused(edges):
    ports = {"a": ("input", [2]), "y": ("output", [3])}
    inverted = timed(of(edges, ports, [("INV", {"A": 2, "Y": 3})]), edges, 0.0)
    with pytest.raises(InputError, match="wire in the cells of edges gives another y than the circuit"):
        require_twin(Wire(), inverted)


class TestByHand:
    def test_what_a_library_has(self, library):
        assert set(library.cells) == {"INV", "BUF", "NAND", "XOR", "AND", "DFF"}  # a latch is none of them
        assert (library.nand2_area, library.inverter, library.voltage) == (4, "INV", 2)
        assert library.cells["DFF"].kind.state == "Q"

    def test_an_inverter(self, library):
        """It drives .05 pF; its input .01. Three rises and two falls in six clocks of a stream."""
        netlist = of(library, {"a": ("input", [2]), "y": ("output", [3])}, [("INV", {"A": 2, "Y": 3})])
        mapped = timed(netlist, library, 0.05)
        assert (mapped.area, mapped.gates, mapped.leakage_nw) == (2, 0.5, 1)
        assert mapped.critical_path_ns == pytest.approx(0.1 + 0.05)
        a = np.array([[1], [0], [1], [1], [0], [1]])  # from 0, where y is 1
        found = energy(mapped, io(), {"a": a})
        # changes: a 5 times .01 pF, y 5 times .05 pF, each half of 4 V2; y falls three times (.2) and rises twice (.4)
        assert found.nets_pj == pytest.approx(5 * (0.01 + 0.05) * 2 / 6)
        assert found.internal_pj == pytest.approx((3 * 0.2 + 2 * 0.4) / 6)
        assert found.clock_pj == 0

    def test_a_flip_flop(self, library):
        netlist = of(
            library,
            {"clk": ("input", [4]), "a": ("input", [2]), "y": ("output", [3])},
            [("DFF", {"D": 2, "CK": 4, "Q": 3})],
        )
        mapped = timed(netlist, library, 0.0)
        assert mapped.sequential_area == 20
        found = energy(mapped, io(), {"a": np.array([[1], [1], [0], [0]])})
        assert found.clock_pj == pytest.approx(0.3 + 0.1 + 2 * 0.02 * 2)  # both edges, inside and at the pin
        assert found.nets_pj == pytest.approx(2 * 0.01 * 2 / 4)  # d changes twice, q drives nothing

    def test_an_adder_of_two_bits(self, library):
        """s = a + b of two bits each: a0, a1, b0, b1 are nets 2 to 5; sums 6, 9, carry 11."""
        cells = [
            ("XOR", {"A": 2, "B": 4, "Y": 6}),
            ("AND", {"A": 2, "B": 4, "Y": 7}),
            ("XOR", {"A": 3, "B": 5, "Y": 8}),
            ("XOR", {"A": 8, "B": 7, "Y": 9}),
            ("NAND", {"A": 3, "B": 5, "Y": 10}),
            ("NAND", {"A": 8, "B": 7, "Y": 12}),
            ("NAND", {"A": 10, "B": 12, "Y": 11}),
        ]
        netlist = of(library, {"a": ("input", [2, 3]), "b": ("input", [4, 5]), "y": ("output", [6, 9, 11])}, cells)
        ports = Ports(
            inputs=(Port(name="a", bits=2, what="a"), Port(name="b", bits=2, what="b")),
            outputs=(Port(name="y", bits=3, what="a + b"),),
        )
        words = np.arange(16)[None]
        found = run(netlist, ports, {"a": words & 3, "b": words >> 2})
        assert found.outputs["y"].tolist() == [[(word & 3) + (word >> 2) for word in range(16)]]
        mapped = timed(netlist, library, 0.0)
        assert mapped.area == 3 * 8 + 6 + 3 * 4
        # 1 + 1 from 0 + 0: a0, b0 rise (.04 pF each); carry 7 rises (.03 to the XOR, .02 to the NAND); 9 rises, which
        # drives nothing. 12, 10, 11 stay: 8 is 0. Glitches: none, since 6 stays at 0 all the time.
        one = {"a": np.array([[1]]), "b": np.array([[1]])}
        assert energy(mapped, ports, one).nets_pj == pytest.approx((0.04 + 0.04 + 0.05) * 2)
        # from 1 + 1 to 3 + 0: b0 falls (.04), a1 rises (.03 + .01); 6 rises; 7 falls a step later (.05), as 8 rises
        # (.03 + .01). XOR 9 saw 8 and 7 change together; NAND 12 saw 0 1 become 1 0: neither moves. Settling gate by
        # gate in order of levels gives the same here.
        both = {"a": np.array([[1], [3]]), "b": np.array([[1], [0]])}
        more = (0.04 + 0.04 + 0.05 + 0.04) * 2
        assert energy(mapped, ports, both).nets_pj == pytest.approx(((0.04 + 0.04 + 0.05) * 2 + more) / 2)

    def test_glitches_are_changes_on_the_way(self, library):
        """y = a xor not a is 1 but for the time that the inverter takes: two changes of y for every one of a."""
        netlist = of(
            library,
            {"a": ("input", [2]), "y": ("output", [4])},
            [("INV", {"A": 2, "Y": 3}), ("XOR", {"A": 2, "B": 3, "Y": 4})],
        )
        a = np.array([[1], [0], [1]])
        still, moved = (run(netlist, io(), {"a": a}, glitches=each) for each in (False, True))
        assert still.outputs["y"].tolist() == moved.outputs["y"].tolist() == [[1], [1], [1]]
        changes = moved.rises + moved.falls - still.rises - still.falls
        y = netlist.outputs["y"][0]
        assert changes[y] == 2 * 3


class TestNetlists:
    def test_unknown_cells_and_loops_are_refused(self):
        with pytest.raises(InputError, match="cells of kind 'MYSTERY' are not known"):
            read(module({"a": ("input", [2])}, [("MYSTERY", {"A": 2, "Y": 3})]), GENERIC)
        ring = [("$_NOT_", {"A": 2, "Y": 3}), ("$_NOT_", {"A": 3, "Y": 2})]
        with pytest.raises(InputError, match="a loop of gates without a register"):
            read(module({"y": ("output", [3])}, ring), GENERIC)

    @settings(max_examples=30, deadline=None)
    @given(st.data())
    def test_the_kernel_and_its_slow_twin(self, data):
        """Random netlists of gates and flip-flops: the same values, the same changes, glitches or not."""
        kinds = ["$_AND_", "$_XOR_", "$_NOT_", "$_MUX_", "$_NOR_", "$_DFF_P_"]
        nets, cells = [2, 3, 4], []
        for at in range(data.draw(st.integers(1, 12))):
            kind = data.draw(st.sampled_from(kinds))
            pins = ("D",) if kind == "$_DFF_P_" else GENERIC[kind].inputs
            connected = {pin: data.draw(st.sampled_from(nets)) for pin in pins}
            out = 5 + at
            cells.append((kind, {**connected, "Q" if kind == "$_DFF_P_" else "Y": out}))
            nets.append(out)
        bits = data.draw(st.lists(st.tuples(*[st.integers(0, 1)] * 3), min_size=1, max_size=6))
        netlist = read(module({"a": ("input", [2, 3, 4]), "y": ("output", nets[3:])}, cells), GENERIC)
        ports = io(3, len(nets) - 3)
        words = np.array([[sum(bit << i for i, bit in enumerate(each))] for each in bits])
        for glitches in (False, True):
            found = run(netlist, ports, {"a": words}, glitches=glitches)
            driven = [dict(zip(netlist.inputs["a"], each, strict=True)) for each in bits]
            nothing = dict.fromkeys(netlist.inputs["a"], 0)
            seen, changes = simulate_slowly(netlist, nothing, driven, glitches=glitches)
            y = [[sum(values[net] << i for i, net in enumerate(netlist.outputs["y"]))] for values in seen]
            assert found.outputs["y"].tolist() == y
            assert (found.rises + found.falls).tolist() == changes


class TestFunctions:
    @pytest.mark.parametrize(
        ("text", "truth"),
        [("!A B", 0b0100), ("(!(A+B))", 0b0001), ("A^B", 0b0110), ("A'*B'", 0b0001), ("!(A|B)&1", 0b0001), ("0", 0)],
    )
    def test_tables(self, text, truth):
        assert truth_table(text, ["A", "B"]) == truth

    @pytest.mark.parametrize("text", ["A B)", "(A", "A ? B", "C", "", "!", "A ^"])
    def test_what_is_no_function(self, text):
        with pytest.raises(InputError, match="is no function"):
            truth_table(text, ["A", "B"])


class TestLiberty:
    def test_what_is_no_library(self, tmp_path):
        pytest.importorskip("liberty", reason="Liberty files need liberty-parser: pip install 'bitwright[rtl]'")
        path = tmp_path / "cells.lib"
        with pytest.raises(InputError, match="No such file"):
            liberty_room.read(path)
        for text in ("", "{", json.dumps({"a": 1}), "library (x) { }", "library (x) { nom_voltage : 1; }"):
            path.write_text(text)
            with pytest.raises(InputError):
                liberty_room.read(path)

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("library (x) {\n  time_unit 1;\n}", r"line 2: 1 stands where '\(' or ':' is expected"),
            ("library (x) {\n  cell (A) {\n", "line 2: the file ends within a group, whose closing } is expected"),
            ("hello world\n", r"line 1: world stands where '\(' or ':' is expected"),
            ("library (x) { }\nlibrary (y) { }\n", r" is not one group library \(NAME\) \{ ... \}, which is expected"),
        ],
    )
    def test_says_in_one_sentence_where_it_stopped(self, tmp_path, text, said):
        pytest.importorskip("liberty", reason="Liberty files need liberty-parser: pip install 'bitwright[rtl]'")
        path = tmp_path / "cells.lib"
        path.write_text(text)
        with pytest.raises(InputError, match=said + "; give a Liberty file of standard cells$") as caught:
            liberty_room.read(path)
        assert str(path) in str(caught.value)
