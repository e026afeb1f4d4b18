"""Published and synthesized prices: the table, what it becomes at a node, and what machines make of it."""

import collections
import csv
import dataclasses
import importlib.metadata
import io
import json
import math

import pytest
from rich.console import Console

from bitwright import api
from bitwright.accelerators.bill import listed_use
from bitwright.accelerators.books import books_of
from bitwright.accelerators.circuits import Built, Circuit, Part, listed, priced, times
from bitwright.circuits import CIRCUITS, AntDecoder, MultiplyAccumulate, PartialSumAdder, circuit_of
from bitwright.errors import InputError, MissingPriceError
from bitwright.reports.costs import substrate_lines
from bitwright.reports.explanation import print_explanation
from bitwright.studies.machines import accelerator_names, build_accelerators, footing
from bitwright.technology import area_factor, load
from bitwright.technology.synthesized import (
    REFERENCE,
    SHRINK,
    TABLE,
    SynthesizedCircuit,
    SynthesizedTable,
    built_in_circuits,
    key_of,
)

LIBRARY = "osu018_stdcells"
OSU_NAND2_UM2 = 24.0
"""Of the library's own file."""
SYNTHESIZED = {"prices": "synthesized"}


@pytest.fixture(scope="module")
def rows():
    with TABLE.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def network():
    return api.load("gemm:64x96x80")


@pytest.fixture(scope="module")
def machines():
    return build_accelerators(accelerator_names(), SYNTHESIZED)


def line(circuit, *, area_um2, energy_pj):
    return SynthesizedCircuit(
        circuit=circuit.name, library=LIBRARY, gates=area_um2 / OSU_NAND2_UM2, area_um2=area_um2, energy_pj=energy_pj
    )


@pytest.fixture
def technology():
    """28 nm with a table of two circuits: the reference, and a decoder of a quarter of its energy."""
    least, most = SHRINK[LIBRARY]
    lines = {
        key_of(REFERENCE): line(REFERENCE, area_um2=100 * math.sqrt(least * most), energy_pj=8.0),
        key_of(AntDecoder()): line(AntDecoder(), area_um2=10 * math.sqrt(least * most), energy_pj=2.0),
    }
    return dataclasses.replace(load(28), synthesized=SynthesizedTable(lines=lines))


ADDER = (Part(event="add_int32", count=1, what="a sum"),)


class TestTable:
    def test_lines_are_of_circuits_that_there_are(self, rows):
        keys = {key_of(circuit_of(CIRCUITS[row["circuit"]], json.loads(row["parameters"]))) for row in rows}
        assert keys == set(built_in_circuits().lines)
        assert len(keys) == len(rows)

    def test_figures_are_of_a_library_that_shrinks(self, rows):
        for row in rows:
            assert row["library"] in SHRINK
            assert float(row["area_um2"]) / float(row["gates"]) == pytest.approx(OSU_NAND2_UM2, rel=1e-4)
            assert 0 < float(row["energy_uniform_pj"]) <= float(row["energy_uniform_with_glitches_pj"])

    def test_rtl_is_that_of_the_circuits(self, rows):
        """A circuit whose RTL was changed has to be synthesized again: tools/make_circuit_table.py."""
        pytest.importorskip("pyosys")
        pytest.importorskip("amaranth")
        from bitwright.studies.synthesis import rtl_digest

        version = f"amaranth {importlib.metadata.version('amaranth')}"
        of_today = [row for row in rows if row["tools"].startswith(f"{version} ")]
        if not of_today:
            pytest.skip(f"the table was made with another version than {version}")
        stale = [
            (row["circuit"], row["parameters"])
            for row in of_today
            if rtl_digest(circuit_of(CIRCUITS[row["circuit"]], json.loads(row["parameters"]))) != row["rtl"]
        ]
        assert stale == []

    def test_the_tool_writes_these_columns(self, rows):
        text = (TABLE.parents[4] / "tools" / "make_circuit_table.py").read_text(encoding="utf-8")
        listed_there = text[text.index("COLUMNS = (") :].partition("\n)")[0]
        assert [each.strip(' ",') for each in listed_there.splitlines()[1:]] == list(rows[0])

    def test_int8_unit_is_as_large_as_those_of_three_libraries(self):
        """Three open libraries put one of 32-bit sums at 253 to 349 um2; ours has registers beside the sum."""
        found = built_in_circuits().of(MultiplyAccumulate(stationary="weights"))
        assert found is not None
        assert 253 / 1.1 < found.area_at(28) < 349 * 1.1


class TestPrice:
    def test_area_and_energy_by_hand(self, technology):
        found = priced(
            Circuit(name="two", parts=ADDER, rtl=(Built(circuit=AntDecoder(), count=2),)), technology, "parts"
        )
        mac, leakage = technology.price("mac_int8"), technology.price("logic_leakage")
        assert found.synthesized
        assert found.area_um2 == pytest.approx(2 * 10)
        assert found.energy_pj == pytest.approx(2 * (2 / 8) * mac.energy())
        assert found.leakage_uw == pytest.approx(2 * 10 * leakage.leakage())
        assert "2 x ant-decoder" in found.area_source

    def test_reference_costs_what_the_list_says(self, technology):
        found = listed("mac_int8", technology, (Built(circuit=REFERENCE),))
        assert found.energy_pj == pytest.approx(technology.price("mac_int8").energy())
        assert found.area_um2 == pytest.approx(100)

    def test_other_nodes_by_the_factor_of_areas(self, technology):
        at_45 = dataclasses.replace(load(45), synthesized=technology.synthesized)
        found = listed("mac_int8", at_45, (Built(circuit=REFERENCE),))
        assert found.area_um2 == pytest.approx(100 * area_factor(28, 45))
        assert found.energy_pj == pytest.approx(load(45).price("mac_int8").energy())

    def test_less_a_part_that_the_bill_has_elsewhere(self, technology):
        rtl = (Built(circuit=REFERENCE), Built(circuit=AntDecoder(), count=-1))
        found = priced(Circuit(name="rest", parts=ADDER, rtl=rtl), technology, "parts")
        assert found.area_um2 == pytest.approx(90)
        assert found.energy_pj == pytest.approx((8 - 2) / 8 * technology.price("mac_int8").energy())

    def test_a_part_of_another_circuit_costs_nothing(self, technology):
        rtl = (Built(circuit=AntDecoder(), count=0),)
        found = priced(Circuit(name="part", parts=ADDER, rtl=rtl), technology, "parts")
        assert (found.area_um2, found.energy_pj, found.leakage_uw, found.synthesized) == (0, 0, 0, True)

    @pytest.mark.parametrize("rtl", [None, (Built(circuit=PartialSumAdder()),)])
    def test_without_rtl_or_line_it_keeps_its_price(self, technology, rtl):
        circuit = Circuit(name="adder", parts=ADDER, rtl=rtl)
        published = priced(dataclasses.replace(circuit, rtl=None), load(28), "parts")
        assert priced(circuit, technology, "parts") == published
        assert not published.synthesized

    def test_published_prices_know_nothing_of_rtl(self):
        circuit = Circuit(name="adder", parts=ADDER, rtl=(Built(circuit=PartialSumAdder()),))
        assert priced(circuit, load(28), "parts") == priced(dataclasses.replace(circuit, rtl=None), load(28), "parts")

    def test_a_missing_reference_is_an_error(self, technology):
        prices = {name: price for name, price in technology.prices.items() if name != "mac_int8"}
        with pytest.raises(MissingPriceError, match="mac_int8"):
            listed("add_int32", dataclasses.replace(technology, prices=prices), (Built(circuit=AntDecoder()),))

    def test_uses_and_multiples_say_so(self, technology):
        rtl = (Built(circuit=AntDecoder()),)
        use = listed_use("decode", "add_int8", technology, rtl)
        assert (use.name, use.unit) == ("add_int8", technology.price("add_int8").unit)
        assert use.price_pj == pytest.approx(2 / 8 * technology.price("mac_int8").energy())
        assert times(listed("add_int8", technology, rtl), 3, "3 x {}").synthesized


KEPT_BY_ALL = {"operands"}
KEPT = {
    "eyeriss": {"pe_array"},
    "lpa": {"second_registers"},
    "ant": {"second_registers", "encoders"},
    "bitfusion": {"second_registers"},
    "adaptivfloat": {"second_registers", "encoders"},
    "systolic-ws": {"second_registers", "rescalers"},
    "systolic-os": {"second_registers", "rescalers"},
    "simd": {"second_registers", "rescalers"},
    "apsq": {"second_registers"},
    "apsq-is": {"second_registers"},
    "apsq-os": {"second_registers"},
    "panacea": {"second_registers", "accumulators", "slice_masks"},
    "sibia": {"second_registers", "accumulators", "slice_masks"},
    "drift": {"aligners", "bases"},
    "seq": {"aligners", "bases"},
    "drq": {"second_registers"},
}
"""What keeps published prices, by machine: circuits without RTL."""


class TestMachines:
    @pytest.mark.parametrize("name", sorted(KEPT))
    def test_circuits_with_rtl_are_priced_by_it(self, machines, name):
        of_this = footing({name: machines[name]}).published[name]
        # The index of row lists and buffers of slices are SRAMs, and no circuits of either list.
        assert set(of_this) - {"index", "x_slice_buffers", "w_slice_buffers"} == KEPT[name] | KEPT_BY_ALL

    def test_only_prices_change(self, machines):
        for name, machine in machines.items():
            published = build_accelerators([name])[name]
            counts = [{each.name: each.count for each in books_of(of).components} for of in (machine, published)]
            shared = counts[0].keys() & counts[1].keys()
            assert {part: counts[0][part] for part in shared} == {part: counts[1][part] for part in shared}

    def test_decoders_leave_the_charted_area(self, machines):
        """LPA's charted element holds the array's decoders; its RTL does not."""
        assert "decoders" in {each.name for each in books_of(machines["lpa"]).components}
        assert "decoders" not in {each.name for each in books_of(build_accelerators(["lpa"])["lpa"]).components}

    def test_reports_say_what_is_published(self, machines):
        said = substrate_lines(footing({"ant": machines["ant"]}))
        assert any("prices=synthesized (common: published)" in each for each in said)
        assert any("at published prices, beside memories" in each and "encoders" in each for each in said)
        assert footing(build_accelerators(["ant"])).published == {}

    def test_unknown_list(self):
        with pytest.raises(InputError, match=r"published.*synthesized"):
            build_accelerators(["lpa"], {"prices": "measured"})


class TestSite:
    def test_int8_products_burn_the_same(self, network):
        """Energies are ratios to this very unit."""
        found = api.simulate(network, "int8", ["systolic-ws"], parameters=SYNTHESIZED)["systolic-ws"]
        published = api.simulate(network, "int8", ["systolic-ws"])["systolic-ws"]
        assert found.cost.energy_pj["mac"] == pytest.approx(published.cost.energy_pj["mac"])
        assert found.cost.energy_pj["requantizers"] != published.cost.energy_pj["requantizers"]

    def test_explanation_has_both_where_they_disagree(self, network):
        both = [
            api.explain(network, "int8", "apsq", "gemm", parameters={"prices": prices})
            for prices in ("published", "synthesized")
        ]
        tables = [
            {(each["what"], each["unit"]): (each["published"], each["synthesized"]) for each in found.prices}
            for found in both
        ]
        assert tables[0] == tables[1]
        assert all(not 1 / 1.5 < other / price < 1.5 for price, other in tables[0].values())
        areas = collections.ChainMap(both[1].area.components_um2)
        lanes = books_of(build_accelerators(["apsq"], SYNTHESIZED)["apsq"]).components
        rae = next(each for each in lanes if each.name == "rae")
        assert areas["rae"] == pytest.approx(rae.count * rae.circuit.area_um2)
        console = Console(record=True, width=160, file=io.StringIO())
        print_explanation(both[0], console)
        assert "prices that disagree" in console.export_text()
