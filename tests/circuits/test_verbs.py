"""`circuits`, `synthesize`, `rtl` as they are used: tables, caches, folders that iverilog runs, bad input."""

import json
import shutil
import subprocess

import pytest
import torch
from test_gates import written
from typer.testing import CliRunner

from bitwright import api
from bitwright.circuits import AntPe, LpaPe, MultiplyAccumulate, Rae, circuit_of
from bitwright.cli.main import app
from bitwright.errors import InputError
from bitwright.studies import synthesis as room
from bitwright.studies.rtl import capture, emit, inputs_of
from toys import network_of, normal

for needed in ("amaranth", "pyosys", "liberty"):
    pytest.importorskip(needed, reason=f"RTL needs {needed}: pip install 'bitwright[rtl]'")


def run(*arguments):
    return CliRunner().invoke(app, [str(each) for each in arguments])


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
            (["multiply-accumulate", "--liberty", "nowhere.lib"], "no file"),
            (["multiply-accumulate", "--out", "table.txt"], "has no known form"),
        ],
    )
    def test_bad_input_is_one_sentence(self, given, said, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        found = run("synthesize", *given)
        assert found.exit_code == 2
        assert said in " ".join(found.output.split())
        assert not list(tmp_path.iterdir())

    def test_cells_without_a_buffer(self, cells):
        text = cells.read_text()
        cells.write_text(text.replace('function : "A";', 'function : "0";'))
        found = run("synthesize", *SMALL, "--liberty", cells)
        assert found.exit_code == 2
        assert "have no buffer; name a library with a buffer" in " ".join(found.output.split())

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

    @pytest.mark.parametrize(("method", "kind", "given"), [("lp8", LpaPe, {}), ("ant", AntPe, {})])
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
        [(MultiplyAccumulate, "multiplies integers; choose a method"), (Rae, "no operands")],
    )
    def test_circuits_without_a_place_for_them(self, kind, said):
        with pytest.raises(InputError, match=said):
            inputs_of(kind(), captured("lp8"), clocks=60)
