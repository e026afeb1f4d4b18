"""`circuits`, `synthesize`, `rtl` as they are used: tables, caches, folders that iverilog runs, bad input."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_gates import written
from tests.test_processes import descendants, parents, until
from typer.testing import CliRunner

from bitwright import api
from bitwright.circuits import (
    AntPe,
    BitGroup,
    LpaPe,
    MultiplyAccumulate,
    Rae,
    RunLengthEncoder,
    SliceOperator,
    circuit_of,
    liberty,
)
from bitwright.cli.main import app
from bitwright.errors import InputError
from bitwright.studies import synthesis as room
from bitwright.studies.rtl import capture, circuit_named, emit, inputs_of
from toys import network_of, normal

for needed in ("amaranth", "pyosys", "liberty"):
    pytest.importorskip(needed, reason=f"RTL needs {needed}: pip install 'bitwright[rtl]'")


def run(*arguments):
    return CliRunner().invoke(app, [str(each) for each in arguments])


def commands(processes):
    """What processes run, of those that still do."""
    for each in processes:
        with contextlib.suppress(OSError):
            yield Path(f"/proc/{each}/cmdline").read_text(errors="replace")


@pytest.fixture
def cells(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return written(tmp_path / "hand.lib")


SMALL = ("multiply-accumulate", "--set", "x_bits=2", "--set", "w_bits=2", "--set", "sum_bits=5")


class TestSynthesize:
    def test_figures_and_the_cache(self, cells, tmp_path):
        out = tmp_path / "table.csv"
        first = run("synthesize", *SMALL, "--liberty", cells, "--json", "--out", out)
        assert first.exit_code == 0, first.output
        line = json.loads(first.stdout)["circuits"][0]
        assert line["parameters"]["x_bits"] == 2
        assert line["area_um2"] == pytest.approx(4 * line["gates"])  # the NAND of these cells
        assert line["sequential"] == pytest.approx(5 * 20 / line["area_um2"])  # five flip-flops hold the sum
        assert 0 < line["energy_pj"]["laplace"] < line["energy_pj"]["uniform"] < line["glitching_pj"]["uniform"]
        assert out.read_text().startswith("circuit,configuration,cells,area_um2,gates,")
        again = run("synthesize", *SMALL, "--liberty", cells)
        assert "1 of 1 were in the cache" in " ".join(again.stdout.split())

    def test_a_damaged_entry_is_made_anew(self, cells):
        run("synthesize", *SMALL, "--liberty", cells)
        (entry,) = room.cache_folder().iterdir()
        entry.write_text("{")
        again = run("synthesize", *SMALL, "--liberty", cells)
        assert (again.exit_code, "0 of 1 were in the cache" in " ".join(again.stdout.split())) == (0, True)

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            (["multiplier"], "multiplier"),
            (["multiply-accumulate", "--set", "x_bits=99"], "x_bits"),
            (["--set", "x_bits=3"], "name the circuit"),
            (["multiply-accumulate", "--set", "x_bits"], "--set 'x_bits' is not understood"),
            (["multiply-accumulate", "--set", "*:x_bits=3"], "*:x_bits"),
            (["multiply-accumulate", "--liberty", "nowhere.lib"], "No such file"),
            (["multiply-accumulate", "--liberty", "n" * 5000], "name too long"),
            (["multiply-accumulate", "--out", "table.txt"], "has no known form"),
        ],
    )
    def test_bad_input_is_one_sentence(self, given, said, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        found = run("synthesize", *given)
        assert found.exit_code == 2
        assert said in " ".join(found.output.split())
        assert not list(tmp_path.iterdir())

    def test_a_bad_guess_is_not_made(self):
        for verb, kind in ((("circuits", "nope"), "circuit"), (("rtl", "nope", "--out", "x"), "circuit or machine")):
            found = run(*verb)
            assert found.exit_code == 2
            assert f"unknown {kind} 'nope'. Known: " in " ".join(found.output.split())
        assert "Did you mean 'panacea'?" in " ".join(run("rtl", "panacee", "--out", "x").output.split())
        assert "Did you mean 'ant-pe'?" in " ".join(run("circuits", "ant-pw").output.split())

    @pytest.mark.parametrize(("machine", "kind"), [("lpa", LpaPe), ("apsq", Rae), ("ant", AntPe)])
    def test_machines_stand_for_their_elements(self, machine, kind):
        found = circuit_named(machine, {})
        assert isinstance(found, kind)
        if machine == "apsq":
            assert circuit_named(machine, {"lanes": 3}) == Rae(lanes=3, banks="registers")

    def test_cells_without_a_buffer(self, cells):
        text = cells.read_text()
        cells.write_text(text.replace('function : "A";', 'function : "0";'))
        found = run("synthesize", *SMALL, "--liberty", cells)
        assert found.exit_code == 2
        assert "have no buffer; name a library with a buffer" in " ".join(found.output.split())

    def test_any_name_of_a_library(self, cells):
        """What the user calls it is no part of Yosys' scripts, ABC's or a shell's; a mark and Latin-1 do not matter."""
        hostile = cells.with_name("a\"b;touch 'c\nd\u00e9.lib")
        hostile.write_bytes(b"\xef\xbb\xbf/* \xa9 */" + cells.read_bytes())
        lines = [json.loads(run("synthesize", *SMALL, "--liberty", each, "--json").stdout) for each in (cells, hostile)]
        assert lines[0]["circuits"] == lines[1]["circuits"]
        assert {each.name for each in cells.parent.iterdir()} == {cells.name, hostile.name, "cache"}

    @pytest.mark.parametrize(
        ("was", "now", "said"),
        [
            ("area : 4", "area : 0", "the area of cell NAND is '0', and a number over 0 is expected"),
            ("area : 4", "area : nan", "the area of cell NAND is 'nan'"),
            ("capacitance : 0.03", "capacitance : -1", "the capacitance of pin A of cell XOR is '-1'"),
            ("nom_voltage : 2.0;", "", "nom_voltage of the library is missing"),
            ('index_1 ("0, 1"); index_2', 'index_1 ("1, 0"); index_2', "has an index that does not rise"),
        ],
    )
    def test_figures_that_no_cell_has(self, was, now, said, cells):
        text = cells.read_text()
        assert was in text
        cells.write_text(text.replace(was, now))
        with pytest.raises(InputError, match=re.escape(said)):
            liberty.read(cells)

    def test_a_library_that_changed_is_read_anew(self, cells):
        before = liberty.read(cells).cells["NAND"].area
        cells.write_text(cells.read_text().replace("area : 4", "area : 5"))
        assert (before, liberty.read(cells).cells["NAND"].area) == (4, 5)

    def test_a_cache_that_cannot_be_written(self, cells, monkeypatch):
        (cells.parent / "file").touch()
        monkeypatch.setenv("XDG_CACHE_HOME", str(cells.parent / "file"))
        assert run("synthesize", *SMALL, "--liberty", cells).exit_code == 0

    def test_an_interrupt_ends_all_processes(self, cells):
        """SIGTERM ends workers, Yosys and ABC at once, and what they wrote goes."""
        folder = cells.parent / "tmp"
        folder.mkdir()
        command = [sys.executable, "-m", "bitwright", "synthesize", "lpa-pe", "--workers", "2", "--liberty", str(cells)]
        environment = {**os.environ, "TMPDIR": str(folder)}
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as leader:
            until(lambda: any("libyosys" in each for each in commands(descendants(leader.pid))))
            below = descendants(leader.pid)
            leader.terminate()
            said = leader.stderr.read()
        assert leader.returncode == 143
        assert "circuits that are done are kept" in said
        until(lambda: not below & set(parents()))
        assert not list(folder.iterdir())

    def test_without_cells(self, monkeypatch, tmp_path):
        monkeypatch.setattr(room, "DEBIAN_CELLS", tmp_path / "none.lib")
        found = run("synthesize", *SMALL)
        assert found.exit_code == 2
        assert "apt-get install qflow-tech-osu018" in " ".join(found.output.split())


class TestRtl:
    @pytest.mark.parametrize("given", [[], ["--set", "stationary=weights"]], ids=["none", "weights"])
    def test_a_folder_that_iverilog_passes_as_it_is(self, given, tmp_path):
        if shutil.which("iverilog") is None:
            pytest.skip("iverilog is not installed")
        folder = tmp_path / "mac"
        made = run("rtl", "multiply-accumulate", *given, "--clocks", 200, "--out", folder)
        assert made.exit_code == 0, made.output
        sources = ["multiply_accumulate.v", "multiply_accumulate_tb.v"]
        subprocess.run(["iverilog", "-g2005-sv", "-o", "sim", *sources], cwd=folder, check=True)
        done = subprocess.run(["vvp", "sim"], cwd=folder, capture_output=True, text=True, check=False)
        assert "PASS: multiply_accumulate, 200 clocks" in done.stdout
        lines = (folder / "expected.hex").read_text().splitlines()
        lines[100] = f"{int(lines[100], 16) ^ 1:0{len(lines[100])}x}"
        (folder / "expected.hex").write_text("\n".join(lines))
        failed = subprocess.run(["vvp", "sim"], cwd=folder, capture_output=True, text=True, check=False)
        assert failed.returncode != 0
        assert "FAIL: multiply_accumulate, 1 of 200 clocks" in failed.stdout

    def test_what_is_there_is_kept(self, tmp_path):
        folder = tmp_path / "mine"
        folder.mkdir()
        (folder / "thesis.tex").write_text("x")
        for flags in ([], ["--overwrite"]):
            found = run("rtl", *SMALL, "--out", folder, *flags)
            assert found.exit_code == 2
            assert (folder / "thesis.tex").exists()

    def test_places_are_refused_before_anything_runs(self, tmp_path, monkeypatch):
        monkeypatch.setattr("bitwright.studies.rtl.inputs_of", None)
        (tmp_path / "file").touch()
        for place in (tmp_path / "no" / "x", tmp_path / "file", tmp_path / ("n" * 300)):
            found = run("rtl", *SMALL, "--out", place, "--overwrite")
            assert found.exit_code == 2, found.output

    def test_a_layer_needs_a_network(self, tmp_path):
        found = run("rtl", *SMALL, "--out", tmp_path / "x", "--site", "a")
        assert found.exit_code == 2
        assert "name both or none" in " ".join(found.output.split())


def captured(method, k=24):
    """Codes of a small layer, 60 of them."""
    network = network_of(torch.nn.Sequential(torch.nn.Linear(k, 5)), normal(7, k))
    plan = api.calibrate(network, method, count=1)
    (site,) = plan.sites
    return capture(network, plan, site, network.example(None), clocks=60)


class TestLayers:
    """Codes of a layer, at the ports of what multiplies their formats."""

    @pytest.mark.parametrize(
        ("method", "kind", "given"),
        [("lp8", LpaPe, {}), ("ant", AntPe, {}), ("aqs", SliceOperator, {}), ("int8-sym", BitGroup, {})],
    )
    def test_a_folder_of_a_layers_codes(self, method, kind, given, tmp_path):
        layer = captured(method)
        if kind is LpaPe:
            bits = max(layer.x.format.fraction_bits, layer.w.format.fraction_bits)
            given = {"fraction_bits": max(1, bits)}
        circuit = circuit_of(kind, given)
        inputs, said = inputs_of(circuit, layer, clocks=60)
        assert said.startswith("3 outputs of ")
        made = emit(circuit, tmp_path / "pe", inputs, said)
        if shutil.which("iverilog") is None:
            return
        name = kind.name.replace("-", "_")
        subprocess.run(["iverilog", "-g2005-sv", "-o", "sim", f"{name}.v", f"{name}_tb.v"], cwd=made.path, check=True)
        done = subprocess.run(["vvp", "sim"], cwd=made.path, capture_output=True, text=True, check=False)
        assert f"PASS: {name}, 60 clocks" in done.stdout

    @pytest.mark.parametrize(
        ("kind", "said"),
        [
            (MultiplyAccumulate, "multiplies integers; choose a method"),
            (Rae, "set banks=registers"),
            (RunLengthEncoder, "no operands"),
        ],
    )
    def test_circuits_without_a_place_for_them(self, kind, said):
        with pytest.raises(InputError, match=said):
            inputs_of(kind(), captured("lp8"), clocks=60)
