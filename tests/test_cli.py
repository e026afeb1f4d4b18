"""The command line as a user runs it: results, exit codes, one sentence for every bad input, nothing half-written."""

import contextlib
import csv
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from typer.testing import CliRunner

from bitwright import registry
from bitwright.cli import given, threads, working
from bitwright.cli.main import app
from bitwright.cli.stage import Stage
from bitwright.errors import InputError
from bitwright.studies.machines import accelerator_names

RUNNER = CliRunner()
NETWORKS = '''
    import torch

    class Layers(torch.nn.Module):
        """A linear layer (640 MACs of x [2, 2, 16]) behind a 1-D convolution, an einsum and an outer product."""

        def __init__(self, value=None):
            super().__init__()
            torch.manual_seed(0)
            self.conv = torch.nn.Conv1d(2, 2, 3, padding=1)
            self.fc = torch.nn.Linear(16, 10)
            self.example_inputs = torch.randn(2, 2, 16)
            if value is not None:
                self.fc.weight.data[0, 0] = value

        def forward(self, x):
            y = self.fc(torch.relu(self.conv(x)))
            z = torch.einsum("bij,bkj->bik", y, y)
            return torch.bmm(z[..., :1], z[:, :1])

    def layers():
        print("a module that prints")
        return Layers()

    def quits():
        raise SystemExit(0)

    def poisoned():
        return Layers(float("nan"))

    def tokens():
        return torch.nn.Sequential(torch.nn.Embedding(50, 32), torch.nn.Linear(32, 50)), torch.arange(6)[None]

    def nothing():
        return torch.nn.LayerNorm(4), torch.randn(2, 4)

    def batches():
        return [(torch.randn(4, 2, 16), torch.zeros(4).long()) for _ in range(4)]

    def markup():
        module = torch.nn.Sequential()
        module.add_module("[bold]odd[", torch.nn.Linear(4, 4))
        module.example_inputs = torch.randn(1, 4)
        return module
'''
MACHINE = """
    from typing import ClassVar

    import pydantic

    from bitwright.accelerators.cost import Area, Cost


    class Broken(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(frozen=True, extra="forbid")
        summary: ClassVar[str] = "a machine that loses multiply-accumulates"
        needs_codes: ClassVar[bool] = False
        clock_mhz: float = 1
        peak_macs_per_cycle: float = 1

        def supports(self, plan):
            return None

        def run(self, work):
            return Cost(cycles=1, compute_cycles=1, macs_dense=work.site.macs, macs_executed=0)

        def area(self):
            return Area(components_um2={})

        def parameters(self):
            return self.model_dump()
"""


@pytest.fixture(autouse=True)
def toys(tmp_path, monkeypatch):
    """Toy networks in the current folder, and a machine of somebody else's, installed as a package would be."""
    (tmp_path / "toy_networks.py").write_text(textwrap.dedent(NETWORKS))
    (tmp_path / "toy_machine.py").write_text(textwrap.dedent(MACHINE))
    installed = tmp_path / "toy_machine-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-machine\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[bitwright.accelerators]\nbroken = toy_machine:Broken\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    registry.refresh()
    yield tmp_path
    registry.refresh()
    for name in ("toy_networks", "toy_machine"):
        sys.modules.pop(name, None)


def run(*arguments):
    return RUNNER.invoke(app, list(arguments))


def json_of(*arguments, code=0):
    """What `--json` prints; that it is all there is on stdout."""
    result = run(*arguments, "--json")
    assert result.exit_code == code, result.stderr
    return json.loads(result.stdout)


def refused(*arguments, code=2):
    """The one sentence on stderr; nothing is on stdout."""
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if line.startswith("bitwright: ")]
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.stderr
    return lines[0].removeprefix("bitwright: ")


NATIVE_WS = {
    "rows": {"value": 32, "common": 24},
    "weight_loading": {"value": "exposed", "common": "hidden"},
    "fold_pipelining": {"value": False, "common": True},
    "dram_bytes_per_cycle": {"value": 128, "common": None},
}
"""The ANT artifact's array, timed as SCALE-Sim does."""
COMMON = {"name": "common", "differences": {}, "base": "common", "kinds": {}, "published": {}}


class TestLists:
    def test_models(self):
        found = {entry["name"]: entry for entry in json_of("models")["models"]}
        assert found["minilm-l6"]["trained"]
        assert not found["llama2-7b"]["trained"]
        assert "llama2-7b" in run("models").stdout

    def test_methods_and_their_options(self):
        names = [entry["name"] for entry in json_of("methods")["methods"]]
        assert {"float", "int8", "int8-sym", "int8-token", "w4a8"} <= set(names)
        options = {entry["name"]: entry["default"] for entry in json_of("methods", "int7-sym")["method"]["parameters"]}
        assert options["x_bits"] == 7
        assert "width of activations" in run("methods", "int8").stdout

    def test_accelerators_with_somebody_elses(self):
        found = run("accelerators").stdout
        assert "a machine that loses multiply-accumulates" in found
        assert "systolic-ws" in found
        assert "dram_bytes_per_cycle" in run("accelerators", "systolic-os").stdout
        assert "Did you mean 'systolic-ws'" in refused("accelerators", "systolic-sw")


class TestSimulate:
    def test_cycles_of_the_closed_form(self):
        found = json_of(
            "simulate",
            "gemm:841x576x128",
            "-m",
            "int8",
            "-a",
            "systolic-ws",
            "--set",
            "rows=32",
            "--set",
            "objective=latency",
        )
        assert found["compute_cycles"] == 18 * 4 * 841 + 2 * 32 + 32 - 2  # folds follow one another
        assert found["macs"] == 841 * 576 * 128
        assert found["latency_us"] == found["cycles"] / found["parameters"]["clock_mhz"]
        assert found["total_energy_pj"] == pytest.approx(sum(found["energy_pj"].values()))
        assert found["total_energy_pj"] == pytest.approx(sum(e["count"] * e["price_pj"] for e in found["events"]))
        assert found["tops_per_watt"] == pytest.approx(2 * found["macs"] / found["total_energy_pj"])

    def test_keys(self):
        found = json_of("simulate", "gemm:8x8x8")
        assert next(iter(found)) == "schema_version"
        assert found["schema_version"] == 1
        assert {
            "cycles",
            "compute_cycles",
            "macs",
            "latency_us",
            "energy_pj",
            "total_energy_pj",
            "area_um2",
            "traffic_bytes",
            "tops_per_watt",
            "unsupported",
            "other_operations",
            "sites",
            "parameters",
        } <= set(found)
        assert [site["name"] for site in found["sites"]] == ["gemm"]

    def test_several_accelerators_and_parameters_of_one(self):
        found = json_of(
            "simulate",
            "gemm:8x8x8",
            "-a",
            "systolic-ws,systolic-os",
            "--set",
            "rows=16",
            "--set",
            "systolic-os.cols=64",
        )["accelerators"]
        sizes = {name: (each["parameters"]["rows"], each["parameters"]["cols"]) for name, each in found.items()}
        assert sizes == {"systolic-ws": (16, 32), "systolic-os": (16, 64)}

    def test_the_substrate(self):
        command = ("simulate", "gemm:8x8x8", "-a", "systolic-ws", "--substrate")
        assert json_of(*command, "common")["substrate"] == COMMON
        found = json_of(*command, "native")
        assert found["parameters"]["rows"] == found["substrate"]["differences"]["systolic-ws"]["rows"]["value"] == 32
        several = json_of("simulate", "gemm:8x8x8", "-a", "systolic-ws,simd", "--set", "simd.cols=8")
        assert several["substrate"]["differences"] == {"simd": {"cols": {"value": 8, "common": 32}}}
        assert "Substrate: native" in run(*command, "native").stdout
        assert "rows=32 (common: 24)" in run(*command, "native").stdout

    def test_technology(self):
        found = json_of("simulate", "gemm:8x8x8", "--technology", "45")
        assert str(found["parameters"]["node_nm"]) == "45"

    def test_operations_that_no_machine_supports(self):
        found = json_of("simulate", "toy_networks:layers")
        conv, linear, einsum, outer = 2 * 2 * 16 * 2 * 3, 2 * 2 * 16 * 10, 2 * 2 * 2 * 10, 2 * 2 * 2
        assert found["macs"] == conv + linear + einsum + outer
        assert found["cycles"] > 0
        assert found["supported_share"] == (conv + linear + einsum) / found["macs"]
        shares = {entry["reason"].split(";")[0]: entry["share"] for entry in found["unsupported"]}
        assert shares == {"outer product, nothing to reduce": outer / found["macs"]}
        assert [entry["name"] for entry in found["other_operations"]] == ["relu"]
        table = run("simulate", "toy_networks:layers", "--sites", "--wide").stdout
        assert "outer product" in table
        assert re.search(r"conv +conv1d +1 x 32 x 6 x 2", table)
        assert re.search(r"fc +linear +1 x 4 x 16 x 10", table)
        assert re.search(r"matmul +matmul +2 x 2 x 10 x 2", table)

    def test_what_is_not_supported_costs_no_zeros(self):
        found = json_of("simulate", "gemm:8x8x8", "--method", "float", code=2)
        assert not found["supported"]
        assert "--set mac=float32" in found["reason"]
        assert found["cycles"] is found["total_energy_pj"] is None
        result = run("simulate", "gemm:8x8x8", "--method", "float")
        assert "not supported: x is float32" in result.stdout
        assert "nothing was costed: systolic-ws cannot run this plan" in result.stderr

    def test_shape_options(self):
        found = json_of("simulate", "resnet18", "--image-size", "32", "--batch", "2")
        assert found["sites"][0]["m"] == 2 * 16 * 16

    @pytest.mark.parametrize("columns", [80, 100, 120, 160])
    def test_tables_fit_the_page(self, columns, monkeypatch):
        monkeypatch.setenv("COLUMNS", str(columns))
        said = run("simulate", "resnet18", "-a", "systolic-ws,apsq,panacea", "--sites").stdout.splitlines()
        tables = [line for line in said if line.startswith(" ")]
        assert len(tables) > 30
        assert max(len(line.rstrip()) for line in tables) <= columns
        assert any(line.startswith(f"Left out on {columns} columns: ") for line in said)
        every = run("simulate", "resnet18", "-a", "systolic-ws,apsq,panacea", "--wide").stdout
        assert "= mac" in every
        assert "Left out" not in every

    def test_sites_as_a_file(self, toys):
        command = ("simulate", "resnet18", "-a", "systolic-ws,simd", "--out", "s.csv", "--out", "s.json")
        assert run(*command).exit_code == 0
        rows = list(csv.DictReader((toys / "s.csv").read_text().splitlines()))
        found = json.loads((toys / "s.json").read_text())["accelerators"]
        assert {row["accelerator"] for row in rows} == set(found) == {"systolic-ws", "simd"}
        assert len(rows) == sum(len(each["sites"]) for each in found.values())
        assert "s.csv exists; --overwrite" in refused(*command)
        assert "end its name in .json, .csv or .parquet" in refused(*command[:4], "--out", "s.html")

    def test_names_are_not_markup(self):
        assert "[bold]odd[" in run("simulate", "toy_networks:markup", "--sites", "--wide").stdout

    def test_a_machine_that_breaks_conservation(self):
        said = refused("simulate", "gemm:8x8x8", "-a", "broken", code=1)
        assert said.startswith("broken broke conservation at gemm: 0 executed + 0 skipped of 512 dense MACs")


class TestSystems:
    def test_every_system_has_methods_and_machines_that_exist(self):
        found = json_of("systems")["systems"]
        assert {each["system"] for each in found} >= {"panacea", "apsq", "lp", "drift", "int8"}
        assert "aqs, aqs-w4" in run("systems").stdout
        methods = {entry["name"] for entry in json_of("methods")["methods"]}
        machines = {entry["name"] for entry in json_of("accelerators")["accelerators"]}
        for each in found:
            assert set(each["accelerators"]) <= machines
            assert {part for method in each["methods"] for part in method.split("+")} <= methods

    @pytest.mark.parametrize(
        "command",
        [
            ("simulate", "gemm:8x8x8", "--method", "panacea"),
            ("evaluate", "gemm:8x8x8", "--method", "panacea"),
            ("compare", "gemm:8x8x8", "--methods", "int8,panacea"),
        ],
    )
    def test_a_system_is_no_method(self, command):
        said = refused(*command)
        assert said.startswith("no method 'panacea': panacea is a system; its methods are aqs, aqs-w4")
        assert "bitwright systems" in said


class TestEvaluate:
    def test_keys(self):
        found = json_of("evaluate", "toy_networks:layers", "--limit", "8")
        keys = "score float_score metric off_by seconds float_seconds schema_version difference interval samples"
        keys += " tested_on calibrated_on model method options exact notes"
        assert set(keys.split()) <= set(found)
        assert (found["off_by"], found["exact"], found["samples"], found["metric"]) == (0, True, 8, "SQNR")
        assert found["options"]["int8"]["x_bits"] == 8

    def test_float(self):
        found = json_of("evaluate", "toy_networks:layers", "--method", "float", "--limit", "8")
        assert found["off_by"] is None
        assert found["score"] is None  # infinite: JSON has no word for it
        assert "∞ dB" in run("evaluate", "toy_networks:layers", "--method", "float", "--limit", "8").stdout

    def test_options_of_the_method_and_of_single_sites(self):
        found = json_of("evaluate", "toy_networks:layers", "--limit", "8", "--option", "fc:x_bits=7", "--fast")
        assert found["options"]["int8"]["sites"] == {"fc": {"x_bits": 7}}
        assert found["exact"] is False

    def test_the_same_seed_gives_the_same_score(self):
        first, second = (json_of("evaluate", "toy_networks:layers", "--limit", "8", "--seed", "3") for _ in range(2))
        assert {**first, "seconds": 0, "float_seconds": 0} == {**second, "seconds": 0, "float_seconds": 0}

    def test_a_plan_is_kept_and_used(self, toys):
        made = json_of(
            "evaluate", "toy_networks:layers", "--limit", "8", "--method", "int8-sym", "--save-plan", "p.plan"
        )
        used = json_of("evaluate", "toy_networks:layers", "--limit", "8", "--plan", "p.plan")
        assert (used["method"], used["score"]) == ("int8-sym", made["score"])
        assert used["calibrated_on"] == made["calibrated_on"]
        assert json_of("simulate", "toy_networks:layers", "--plan", "p.plan")["method"] == "int8-sym"

    def test_words_say_what_was_run(self):
        said = run("evaluate", "toy_networks:layers", "--limit", "8").stdout
        assert said.startswith(
            "toy_networks:layers, method int8, exact arithmetic.\nTested on 8 inputs: 8 noise inputs"
        )
        assert "Calibrated on 32 noise inputs" in said


class TestOwnInputs:
    def test_tokens_have_an_interval(self):
        found = json_of("evaluate", "toy_networks:tokens")
        assert found["tested_on"].startswith("64 inputs (seed 0) like the network's example (input_0: tokens below 50)")
        assert found["score_interval"]["low"] < found["score"] < found["score_interval"]["high"]

    def test_samples_of_ones_own(self):
        command = ("evaluate", "toy_networks:layers", "--samples", "toy_networks:batches")
        found = json_of(*command, "--save-plan", "own.plan")
        assert found["tested_on"] == "2 of the 4 batches given by the caller (8 inputs)"
        assert found["calibrated_on"] == "2 of the 4 batches given by the caller (8 inputs)"
        used = json_of("evaluate", "toy_networks:layers", "--plan", "own.plan", "--samples", "toy_networks:batches")
        assert used["tested_on"] == "4 batches given by the caller (16 inputs)"
        rows = json_of("compare", "toy_networks:layers", "-m", "int8", "-a", "simd", *command[2:])["rows"]
        assert rows[0]["samples"] == "8 inputs"
        assert json_of("simulate", "toy_networks:layers", *command[2:])["cycles"] > 0

    def test_a_size_goes_to_the_networks_that_have_it(self):
        command = ("compare", "resnet18,gemm:8x8x8", "-m", "int8", "-a", "simd")
        rows = json_of(*command, "--image-size", "32")["rows"]
        assert [row["macs"] for row in rows] == [json_of("simulate", "resnet18", "--image-size", "32")["macs"], 512]
        assert "resnet18, gemm:8x8x8: sequence_length is 8" in refused(*command, "--sequence-length", "8")


class TestExplain:
    def test_without_a_site_it_says_what_bounds_the_network(self):
        found = json_of("explain", "gemm:1x4096x4096", "-a", "simd", "--set", "cols=64")
        (site,) = found["sites"]
        assert site["bound"] == "dram"  # 64 columns take 64 bytes of weights per cycle, DRAM gives 34
        assert found["cycles_by_bound"] == {"dram": found["cycles"]}
        assert site["macs_per_dram_byte"] == pytest.approx(1, rel=0.01)  # every weight is used once
        assert found["ridge_macs_per_dram_byte"] == pytest.approx(24 * 64 / (17070 / 500), rel=0.01)
        said = run("explain", "gemm:512x512x512", "-a", "systolic-ws").stdout
        assert "multipliers" in said
        assert "ridge" in said

    def test_events_have_prices_and_sources(self):
        found = json_of("explain", "gemm:841x576x128", "--site", "gemm")
        assert sum(found["cycles_by_cause"].values()) == found["cycles"]
        assert found["total_energy_pj"] == pytest.approx(sum(e["count"] * e["price_pj"] for e in found["events"]))
        assert all(event["source"] for event in found["events"])
        assert found["mapping"]["bound"] == "array"

    def test_the_substrate(self):
        command = ("explain", "gemm:841x576x128", "--site", "gemm", "--substrate", "native")
        found = json_of(*command)
        assert found["cycles_by_cause"]["busy"] == pytest.approx(841 * 576 * 128 / 1024)  # on 32 rows
        assert found["substrate"]["differences"] == {"systolic-ws": NATIVE_WS}
        assert "rows=32 (common: 24)" in run(*command).stdout

    def test_table(self):
        said = run("explain", "gemm:841x576x128", "--site", "gemm").stdout
        for words in ("fill, drain and idle edges", "waiting for DRAM", "source 1: ", "area of the machine", "tile k"):
            assert words in said


class TestCompare:
    def test_files_and_table(self, toys):
        networks, machines = "gemm:8x8x8,toy_networks:layers", "systolic-ws,systolic-os"
        result = run("compare", networks, "--limit", "8", "-m", "float,int8,int8-sym", "-a", machines, *OUT)
        assert result.exit_code == 0, result.output
        rows = json.loads((toys / "c.json").read_text())["rows"]
        assert len(rows) == 2 * 3 * 2
        assert len((toys / "c.csv").read_text().splitlines()) == 1 + len(rows)
        assert {row["off_by"] for row in rows if row["network"] == "toy_networks:layers"} == {None, 0}
        assert [row["status"] for row in rows[:4]] == ["unsupported", "unsupported", "ok", "ok"]
        assert re.search(r"int8-sym +systolic-os +ok +\S+ dB", result.stdout)
        assert f"Written: {toys / 'c.json'}" in result.stderr

    def test_nothing_is_overwritten_unasked(self, toys):
        (toys / "c.csv").write_text("mine")
        said = refused("compare", "gemm:8x8x8", *OUT)
        assert said.startswith("c.csv exists; --overwrite replaces it")
        assert (toys / "c.csv").read_text() == "mine"
        assert run("compare", "gemm:8x8x8", *OUT, "--overwrite").exit_code == 0
        assert (toys / "c.csv").read_text().startswith("network,")
        assert "c.csv exists" in refused("evaluate", TOY, "--save-plan", "c.csv")
        assert "c.csv exists" in refused("simulate", TOY, "--save-plan", "c.csv")

    def test_code_that_ends_the_program_is_an_error(self, toys):
        assert "code that was given ended the program (exit code 0)" in refused("evaluate", "toy_networks:quits")

    def test_two_results_in_one_file(self, toys):
        assert "are one file, for two results" in refused("simulate", TOY, "--save-plan", "s.json", "-o", "./s.json")
        assert "are one file, for two results" in refused("compare", TOY, "-o", "s.csv", "-o", "./s.csv")
        assert not list(toys.glob("s.*"))

    def test_where_nobody_says_systems_stand_on_their_own_machines(self):
        rows = json_of("compare", TOY, "--limit", "8")["rows"]
        assert [(row["method"], row["accelerator"]) for row in rows] == [
            ("int8", "systolic-ws"),
            ("int8", "systolic-os"),
            ("aqs", "panacea"),
            ("int8+apsq-gs4", "apsq"),
            ("lp6", "lpa"),
            ("drift", "drift"),
        ]
        static = [row["total_energy_pj"] for row in rows[:2]]
        assert [row["gain_energy"] for row in rows] == [
            pytest.approx(min(static) / row["total_energy_pj"]) if row["status"] == "ok" else None for row in rows
        ]

    def test_pairs_that_do_not_fit_are_counted_unless_they_are_asked_for(self):
        shown = json_of("compare", "gemm:8x8x8", "-m", "int8,lp8", code=1)
        assert {row["status"] for row in shown["rows"] if row["accelerator"] != "broken"} == {"ok"}
        assert ("lp8", "lpa") in {(row["method"], row["accelerator"]) for row in shown["rows"]}
        every = json_of("compare", "gemm:8x8x8", "-m", "int8,lp8", "-a", ",".join(accelerator_names()), code=1)
        assert len(every["rows"]) == len(shown["rows"]) + shown["left_out"] == 2 * len(accelerator_names())

    def test_figures_of_a_part_say_of_how_much(self):
        shares = ("--option", "x_share=0.8", "--option", "w_share=0.8")
        command = ("resnet18", "-m", "drift", *shares, "-a")
        said = run("compare", *command, "systolic-ws,drift").stdout
        assert re.search(r"accelerator +status +\[%\]", said)
        assert re.search(r"drift +systolic-ws +partial +6\.53 ", said)
        assert re.search(r"drift +drift +ok +100 ", said)
        assert "costed [%]" not in run("simulate", *command, "drift").stdout

    def test_a_failing_cell_keeps_the_others(self, toys):
        result = run("compare", "gemm:8x8x8", "-m", "int8", "-a", "systolic-ws,broken", *OUT)
        assert result.exit_code == 1
        rows = json.loads((toys / "c.json").read_text())["rows"]
        assert [row["status"] for row in rows] == ["ok", "failed"]
        assert "broke conservation" in result.stdout

    def test_json_is_what_the_file_says(self, toys):
        shown = json_of("compare", "gemm:8x8x8", "-m", "int8", "-a", "systolic-ws", *OUT)
        assert shown == json.loads((toys / "c.json").read_text())
        assert shown["rows"][0]["cycles"] > 0
        assert shown["parameters"]["systolic-ws"]["rows"] == 24
        assert shown["substrate"] == COMMON
        assert (toys / "c.csv").read_text().splitlines()[1].endswith(",common")

    def test_systems_at_equal_accuracy(self, toys):
        command = ("compare", TOY, "--budget", "5%", "--limit", "8", "-m", "sibia", "-a", "sibia,simd", *OUT)
        shown = json_of(*command, "--out", "c.html")
        assert shown == json.loads((toys / "c.json").read_text())
        assert [row["system"] for row in shown["rows"]] == ["int8"] * 2 + ["int4-weights"] * 2 + ["sibia"] * 3
        assert {entry["objective"] for entry in shown["standings"]} == {"energy", "latency", "energy_delay_area"}
        assert shown["budget"] == 0.05
        assert (toys / "c.csv").read_text().splitlines()[0].startswith("system,network,method,accelerator")
        assert "bitwright" in (toys / "c.html").read_text()
        said = run(*command, "--overwrite").stdout
        assert "Least energy: " in said
        assert "at a loss of at most 5 %" in said

    def test_machines_as_published(self):
        command = ("compare", "gemm:8x8x8", "-m", "int8", "-a", "systolic-ws,simd", "--substrate", "native")
        shown = json_of(*command)
        assert shown["parameters"]["systolic-ws"]["rows"] == 32
        assert shown["substrate"]["differences"] == {"systolic-ws": NATIVE_WS}
        said = run(*command).stdout
        assert "Substrate: native" in said
        assert "rows=32 (common: 24)" in said
        assert "simd: " not in said.partition("Substrate")[2]


OUT = ("--out", "c.json", "--out", "c.csv")
TOY = "toy_networks:layers"


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["evaluate", "minilm-l7"], "Did you mean 'minilm-l6'"),
            (["evaluate", TOY, "-m", "int9"], "Did you mean 'int"),
            (["evaluate", TOY, "--option", "x_bit=8"], "Did you mean 'x_bits'"),
            (["evaluate", TOY, "--option", "x_bits=99"], "option x_bits of int8"),
            (["evaluate", TOY, "--option", "x_bits"], "write --option key=value"),
            (["evaluate", TOY, "--option", "x_bits=[8"], "not the YAML"),
            (["evaluate", TOY, "--option", "x_bits=8", "--option", "x_bits=7"], "given twice"),
            (["evaluate", TOY, "--option", "nobody*:x_bits=7"], "matches no site"),
            (["evaluate", TOY, "-t", "fidelty"], "Did you mean 'fidelity'"),
            (["evaluate", TOY, "-t", "sts"], "judges networks of kind sentence"),
            (["evaluate", TOY, "-d", "toy_networks.py"], "leave --data out"),
            (["evaluate", TOY, "--plan", "missing.plan"], "there is no plan missing.plan"),
            (["evaluate", TOY, "--plan", "toy_networks.py"], "toy_networks.py is no plan"),
            (["evaluate", TOY, "--plan", "toy_networks.py", "--option", "x_bits=4"], "leave --option out"),
            (["evaluate", TOY, "--save-plan", "nowhere/p"], "nowhere"),
            (["evaluate", "toy_networks:poisoned"], "'fc.weight' holds NaN or infinity in 1 of its 160 values"),
            (["evaluate", "toy_networks:layer"], "Did you mean 'layers'"),
            (["evaluate", "gemm:8x8x8"], "simulate it"),
            (["evaluate", TOY, "--device", "abacus"], "device 'abacus' cannot be used"),
            (["simulate", "gemm:8x8"], "gemm:MxKxN"),
            (["simulate", "gemm:8x8x8", "-a", "systolic"], "Did you mean 'systolic-"),
            (["simulate", "gemm:8x8x8", "-a", ","], "no accelerator is named"),
            (["simulate", "gemm:8x8x8", "--set", "row=8"], "Did you mean 'rows'"),
            (["simulate", "gemm:8x8x8", "--set", "rows=many"], "parameter rows of systolic-ws is 'many'"),
            (["simulate", "gemm:8x8x8", "--set", "rows=8", "--set", "rows=9"], "set twice"),
            (["simulate", "gemm:8x8x8", "--set", "systolic-os.rows=8"], "among those asked for"),
            (["simulate", "gemm:8x8x8", "--substrate", "nativ"], "unknown substrate 'nativ'; it is common (the same"),
            (["explain", "gemm:8x8x8", "-s", "gemm", "--substrate", "x"], "or native (as published)"),
            (["compare", "gemm:8x8x8", "--substrate", ""], "unknown substrate ''"),
            (["simulate", "gemm:8x8x8", "--technology", "7"], "unknown technology node '7'"),
            (["simulate", "gemm:8x8x8", "--technology", "cheap.yaml"], "has no price for 'multiply_int32'"),
            (["simulate", "twice.yaml"], "key 'layers' is given twice"),
            (["simulate", "misspelt.yaml"], "line 2: unknown key 'mm'"),
            (["simulate", "bert-base", "--phase", "decode"], "only language models decode"),
            (["explain", TOY, "--site", "fcc"], "unknown site 'fcc'"),
            (["compare", TOY, "--out", "page.xlsx"], "end its name in .html, .json, .csv or .parquet"),
            (["compare", TOY, "--budget", "0"], "the budget '0' is not understood"),
            (["compare", TOY, "--budget=-1%"], "the budget '-1%' is not understood"),
            (["compare", TOY, "--budget", "abc"], "a percentage of more than 0 and less than 100, such as 1%"),
            (["compare", TOY, "--budget", "150%"], "the budget '150%' is not understood"),
            (["compare", TOY, "--budget", "1%", "-m", "panacae"], "Did you mean 'panacea'"),
            (
                ["compare", TOY, "--budget", "1%", "--option", "x_bits=7"],
                "with a budget the systems decide the options",
            ),
            (["compare", TOY, "--budget", "1%", "--plan", "nowhere"], "there is no plan nowhere"),
            (["compare", "gemm:8x8x8", "--budget", "1%"], "it cannot be evaluated"),
            (["compare", TOY, "--out", "nowhere/page.csv"], "the folder nowhere"),
            (["compare", TOY, "-m", "int8,int9"], "unknown method 'int9'"),
            (["compare", "gemm:8x8x8", "-d", "toy_networks.py"], "no network has numbers"),
            (["compare", "gemm:8x8x8", "--limit", "3"], "the limit was given, and no network has numbers"),
            (["compare", "gemm:8x8x8", "--fast"], "exact=False (--fast) was given, and no network has numbers"),
            (["compare", "gemm:8x8x8", "--calibration", "3"], "the number of calibration samples was given"),
            (["compare", "gemm:8x8x8", "--batch", "2"], "batch is 2, which changes nothing there"),
            (["evaluate", TOY, "--sequence-length", "8"], "sequence_length is 8, which changes nothing there"),
            (["search", TOY, "--save-plan", "p", "--image-size", "8"], "image_size is 8, which changes nothing"),
            (["train", TOY, "--save-plan", "p", "--image-size", "8"], "image_size is 8, which changes nothing"),
            (["simulate", "resnet18", "--sequence-length", "8"], "it is of kind image"),
            (["simulate", "gemm:8x8x8", "--calibration", "8"], "gemm:8x8x8 has shapes only; leave it out"),
            (["simulate", "gemm:8x8x8", "--seed", "8"], "has shapes only and nothing is drawn"),
            (["explain", "gemm:8x8x8", "-s", "gemm", "--seed", "8"], "has shapes only and nothing is drawn"),
            (["simulate", "gemm:8x8x8", "--samples", "toy_networks:batches"], "has shapes only and runs on no samples"),
            (["evaluate", TOY, "--plan", "toy_networks.py", "--calibration", "4"], "leave --calibration out"),
            (["simulate", TOY, "--plan", "toy_networks.py", "--samples", "x:y"], "leave --samples out"),
            (["evaluate", TOY, "-m", "float", "--calibration", "4"], "method float quantizes nothing"),
            (["evaluate", TOY, "-m", "float", "--fast"], "method float quantizes nothing"),
            (["evaluate", TOY, "--samples", "toy_networks:batches", "--limit", "4"], "leave the limit out"),
            (["evaluate", TOY, "--samples", "toy_networks:batch"], "Did you mean 'batches'"),
            (["evaluate", TOY, "--samples", "toy_networks:layers"], "a data loader or another iterable"),
            (["evaluate", TOY, "--samples", "toy_networks.py"], "reads neither pictures nor text"),
            (["evaluate", TOY, "--calibration-from", "batch-norm"], "those are sources of images"),
            (["evaluate", TOY, "--calibration-from", "batch-norm,nowhere"], "unknown source of calibration images"),
            (["evaluate", TOY, "--samples", "batch-norm"], "calibrate and do not judge"),
            (["simulate", TOY, "--samples", "batch-norm"], "those are sources of images"),
            (["train", TOY, "--save-plan", "p", "--samples", "batch-norm"], "those are sources of images"),
            (["evaluate", "toy_networks:nothing"], "int8 quantizes nothing of toy_networks:nothing"),
        ],
    )
    def test_is_one_sentence(self, toys, arguments, message):
        (toys / "cheap.yaml").write_text(
            "node_nm: 28\nprices: {dram: {energy_pj: 1, unit: bit, source: a test, kind: assumed}}\n"
        )
        (toys / "twice.yaml").write_text("layers: []\nlayers: []\n")
        (toys / "misspelt.yaml").write_text("layers:\n  - {name: a, op: gemm, mm: 1, k: 1, n: 1}\n")
        before = sorted(path.name for path in toys.iterdir() if path.name != "__pycache__")
        assert message in refused(*arguments)
        assert sorted(path.name for path in toys.iterdir() if path.name != "__pycache__") == before

    @pytest.mark.parametrize(
        "arguments", [["evaluate"], ["frobnicate"], ["evaluate", TOY, "--bogus"], ["evaluate", TOY, "--seed", "x"]]
    )
    def test_usage_errors(self, arguments):
        result = run(*arguments)
        assert result.exit_code == 2
        assert result.stdout == ""


class TestSamples:
    """They are looked for before a network is: what takes minutes to load need not be loaded to be told."""

    @pytest.mark.parametrize(
        "arguments",
        [
            ["evaluate", "--data"],
            ["evaluate", "--samples"],
            ["evaluate", "--calibration-from"],
            ["compare", "--data"],
            ["compare", "--samples"],
            ["compare", "--calibration-from"],
            ["simulate", "--samples"],
            ["export", "--out", "here", "--samples"],
            ["train", "--save-plan", "p", "--samples"],
        ],
    )
    def test_are_looked_for_first(self, toys, arguments):
        verb, *options = arguments
        for place in ("no such/place", "a" * 300, "nul\0"):
            said = refused(verb, "a network that nobody has", *options, place)
            assert f"there is no {place[:3]}" in said
            assert f"which {options[-1]} names" in said
        assert "unknown" in refused(verb, "a network that nobody has", *options, "toy_networks.py")

    def test_of_published_figures(self, toys):
        assert "which --data names" in refused("reproduce", "lp", "--models", "nobody's", "--data", "nowhere")


class TestSettings:
    def test_globs_end_at_the_last_colon(self):
        found = given.method_options(["x_bits=7", "*:qk:x_bits=8", "*:qk:attention=false", "w_granularity=group:64"])
        assert found == {"x_bits": 7, "w_granularity": "group:64", "sites": {"*:qk": {"x_bits": 8, "attention": False}}}

    def test_values_are_yaml_scalars(self):
        found = given.machine_settings(["a=1", "b=1.5", "c=true", "d=text", "e=null"], "28")
        assert found == {"node_nm": "28", "a": 1, "b": 1.5, "c": True, "d": "text", "e": None}

    def test_names(self):
        assert given.names(" a, b,a", "thing") == ["a", "b"]
        with pytest.raises(InputError, match="no thing is named"):
            given.names(" ,", "thing")


class TestProgress:
    def test_lines(self, monkeypatch, capsys):
        """None before two seconds; one for a stage that lasts, then one every ten, also while nothing is reported."""
        now = [0.0]
        monkeypatch.setattr(working.time, "monotonic", lambda: now[0])
        monkeypatch.setattr(working._Lines, "_watch", lambda self: None)
        with working.working() as progress:
            print("for stderr")  # noqa: T201
            said = []
            states = {0: ("a", 0, 0), 1: ("b (x)", 0, 8), 20: ("b (y)", 4, 8), 31: ("c", 0, 0)}
            for second in range(40):
                now[0] = second
                if second in states:
                    progress(*states[second])
                if line := progress.line(second):
                    said.append((second, line.rstrip()))
        assert said == [
            (3, "b (x): 0 of 8, 0:02 elapsed"),
            (11, "b (x): 0 of 8, 0:10 elapsed"),
            (19, "b (x): 0 of 8, 0:18 elapsed"),
            (27, "b (y): 4 of 8, 0:26 elapsed"),
            (33, "c: 0:02 elapsed"),
        ]
        assert capsys.readouterr().err == "for stderr\n"

    def test_lines_come_while_nothing_is_reported(self, monkeypatch, capsys):
        for name, seconds in (("PATIENCE_SECONDS", 0.05), ("LINE_EVERY_SECONDS", 0.1), ("LOOK_EVERY_SECONDS", 0.01)):
            monkeypatch.setattr(working, name, seconds)
        with working.working() as progress:
            progress("thinking", 0, 0)
            time.sleep(1)
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.splitlines().count("thinking: 0:00 elapsed") > 2

    def test_what_is_left_is_of_this_stage_and_runs_down(self):
        stage = Stage(text="even", began=100.0)
        for unit in range(5):
            stage.report("even", unit, 10, 100 + 2 * unit)
        assert [stage.left(now) for now in (108, 109, 119, 120.5)] == [12, 11, 1, None]
        assert stage.figures(109) == "4 of 10, 0:09 elapsed, about 0:11 left"

    def test_uneven_units_say_nothing_of_what_is_left(self):
        stage = Stage(text="uneven", began=0.0)
        for unit, now in enumerate((0, 1, 2, 3, 13, 23, 33)):
            stage.report("uneven", unit, 10, now)
        assert stage.left(33) is None
        assert stage.figures(33) == "6 of 10, 0:33 elapsed"

    def test_other_counts_of_a_stage_begin_anew_and_its_clock_goes_on(self):
        stage = Stage(text="a", began=0.0)
        for unit in range(5):
            stage.report("a (first)", unit, 5, unit)
        stage.report("a (second)", 0, 100, 5)
        stage.report("a (second)", 1, 100, 6)
        assert stage.figures(6) == "1 of 100, 0:06 elapsed"

    def test_a_bar_on_a_terminal(self):
        bar = working._Bar()
        for state in (("a", 0, 0), ("b (1)", 1, 2), ("b (2)", 2, 2)):
            bar(*state)
        assert [(task.description, task.completed, task.total) for task in bar.progress.tasks] == [("b (2)", 2, 2)]
        assert bar.progress.columns[-1].render(bar.progress.tasks[0]).plain.startswith("2 of 2, 0:0")
        bar.close()
        assert not bar.timer.is_alive()


class TestThreads:
    def test_what_the_environment_says_goes_before(self, monkeypatch):
        monkeypatch.setattr(threads, "available_cores", lambda: 6)
        bare, given = {}, {"OMP_NUM_THREADS": "2,1", "OMP_WAIT_POLICY": "ACTIVE", "NUMBA_NUM_THREADS": "1"}
        threads.bound_threads(bare)
        threads.bound_threads(given)
        assert (bare["OMP_NUM_THREADS"], bare["NUMBA_NUM_THREADS"], bare["OMP_WAIT_POLICY"]) == ("6", "6", "PASSIVE")
        assert (given["OMP_NUM_THREADS"], given["NUMBA_NUM_THREADS"]) == ("2,1", "1")
        assert given["OMP_WAIT_POLICY"] == "ACTIVE"

    def test_cores_of_this_process(self, monkeypatch, tmp_path):
        """Four processors are two cores of two threads each, of which a quota leaves one and a half."""
        monkeypatch.setattr(threads.os, "sched_getaffinity", lambda process: {0, 1, 2, 3})
        for number in range(4):
            (tmp_path / str(number)).write_text(f"{number % 2},{number % 2 + 2}\n")
        monkeypatch.setattr(threads, "SIBLINGS", str(tmp_path / "{}"))
        monkeypatch.setattr(threads, "QUOTA", tmp_path / "quota")
        monkeypatch.setattr(threads.os, "cpu_count", lambda: 4)
        assert threads.available_cores() == 2
        for limit, cores in (("max 100000", 2), ("150000 100000", 2), ("50000 100000", 1)):
            (tmp_path / "quota").write_text(limit)
            assert threads.available_cores() == cores

    def test_torch_and_numba_take_them(self):
        """By the command itself: a network that says how many threads there are."""
        told = "import torch, numba; print(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)"
        code = f"import os, runpy; from bitwright.cli.threads import bound_threads; bound_threads(os.environ); {told}"
        environment = {key: value for key, value in os.environ.items() if not key.endswith("NUM_THREADS")}
        for more, expected in (({}, threads.available_cores()), ({"OMP_NUM_THREADS": "1"}, 1)):
            shown = subprocess.run(
                [sys.executable, "-c", code], env=environment | more, capture_output=True, text=True, check=True
            )
            assert shown.stdout == f"{expected} {expected}\n"


class TestProcess:
    def test_module_and_exit_codes(self, toys):
        command = [sys.executable, "-m", "bitwright"]
        shown = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
        assert shown.stdout.startswith("bitwright 0.")
        bad = subprocess.run([*command, "simulate", "gemm:1"], capture_output=True, text=True, check=False)
        assert (bad.returncode, bad.stdout) == (2, "")
        said = [line for line in bad.stderr.splitlines() if not line.startswith("loading: ")]  # a busy machine's
        assert len(said) == 1
        assert said[0].startswith("bitwright: cannot read 'gemm:1'")

    def test_interrupted(self, toys):
        (toys / "slow.py").write_text(
            "import time\ndef network():\n    print('ready', flush=True)\n    time.sleep(60)\n"
        )
        for number, code, word in ((signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")):
            with heeding("evaluate", "slow:network") as process:
                assert "ready\n" in iter(process.stderr.readline, "")
                process.send_signal(number)
                out, err = process.communicate(timeout=60)
            assert (process.returncode, out) == (code, "")
            assert err.splitlines()[-1] == f"bitwright: {word}; nothing was written"

    @pytest.mark.parametrize("seconds", [0.0, 0.1, 0.3, 0.6, 1.0, 1.5, 2.0])
    def test_interrupted_while_it_starts(self, toys, seconds):
        """Also while torch and numba are imported, whose C++ aborts where it meets an exception."""
        with heeding("evaluate", TOY, "--limit", "8") as process:
            time.sleep(seconds)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
        if process.returncode:  # it was not done yet
            assert process.returncode == 130
            assert err.splitlines()[-1].startswith("bitwright: interrupted; nothing was written")
        assert "Traceback" not in err
        assert "terminate called" not in err

    def test_an_interrupt_waits_for_an_import_where_there_is_something_to_keep(self, toys):
        (toys / "lazy.py").write_text(
            "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(0.3)\nwhole = True\n"
        )
        code = (
            "from bitwright.cli.interrupts import INTERRUPTS\nimport sys, time\nINTERRUPTS.heed()\n"
            "INTERRUPTS.working = True\n"
            "with INTERRUPTS.keeping():\n    try:\n        import lazy\n        time.sleep(30)\n"
            "    except KeyboardInterrupt:\n        print(sys.modules['lazy'].whole)\n"
        )
        command = [sys.executable, "-c", heed_first(code)]
        shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        assert shown.stdout == "True\n"

    def test_a_swallowed_interrupt_comes_again(self):
        code = (
            "from bitwright.cli.interrupts import INTERRUPTS\nimport os, signal, time\nINTERRUPTS.heed()\n"
            "INTERRUPTS.working = True\n"
            "class Late:\n    def __del__(self):\n        os.kill(os.getpid(), signal.SIGINT)\n"
            "        time.sleep(0.2)\n"
            "try:\n    Late()\n    time.sleep(30)\nexcept KeyboardInterrupt:\n    print('came')\n"
        )
        command = [sys.executable, "-c", heed_first(code)]
        shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        assert (shown.stdout, shown.stderr) == ("came\n", "")


def lines(file):
    return file.read_text(encoding="utf-8").splitlines()


def sent_when(process, number, ready):
    """Send a signal as soon as `ready`; whether that was before the process ended."""
    while process.poll() is None:
        if ready():
            process.send_signal(number)
            return True
        time.sleep(0.02)
    return False


def heed_first(code):
    """Children of a shell's background job ignore interrupts from their start; this one shall not."""
    return f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n{code}"


@contextlib.contextmanager
def heeding(*arguments):
    """The command in a process of its own, once it heeds signals."""
    code = (
        "import runpy, sys; from bitwright.cli.interrupts import INTERRUPTS; INTERRUPTS.heed(); "
        "print('heeding', flush=True); runpy.run_module('bitwright', run_name='__main__')"
    )
    command = [sys.executable, "-c", heed_first(code), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "heeding\n"
        yield process


class TestSearch:
    COMMAND = ("search", "toy_networks:layers", "--save-plan", "found", "--objective", "mse", "--workers", "1")
    SHORT = ("--calibration", "8", "--set", "passes=1", "--set", "cycles=1", "--set", "population=2")

    def test_search_resume_then_evaluate(self, toys):
        shown = json_of(*self.COMMAND, *self.SHORT, "--mean-bits", "6", "--log", "log")
        assert shown["mean_bits"] <= 6
        assert shown["judged"]["metric"] == "SQNR"
        assert shown["judged"]["status"] == ("ok" if shown["judged"]["score"] >= 3 else "dead")
        assert "test" not in shown["samples"]
        assert shown["judged"]["tested_on"] not in shown["samples"]
        assert shown["evaluations"] == len((toys / "log").read_text().splitlines()) - 1
        for more in ([], ["--resume"]):  # the same command goes on by itself
            again = json_of(*self.COMMAND, *self.SHORT, "--mean-bits", "6", "--log", "log", *more)
            assert again["evaluations"] == 0
            assert again["layers"] == shown["layers"]
        before = (toys / "log").read_bytes()
        other = refused(*self.COMMAND, *self.SHORT, "--mean-bits", "5", "--log", "log")
        assert "log was searched with mean_bits=6.0, not 5.0; the same command goes on with it" in other
        assert (toys / "log").read_bytes() == before
        scored = json_of("evaluate", "toy_networks:layers", "--plan", "found", "--limit", "8")
        assert scored["method"] == "lpq"
        assert "searched among" in scored["calibrated_on"]

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("--set", "foo=1"), "foo"),
            (("--set", "seed=1"), "--seed"),
            (("--mean-bits", "9"), "mean_bits = 9"),
            (("--method", "int8"), "int8 has no search"),
            (("--resume",), "name it with --log"),
            (("--resume", "--log", "none"), "leave --resume out"),
            (("--log", "found"), "name two files"),
        ],
    )
    def test_refusals(self, toys, arguments, said):
        assert said in refused(*self.COMMAND, *arguments)
        assert not (toys / "found").exists()

    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_what_is_found_is_kept(self, toys, number, code):
        command = [*self.COMMAND[:-1], "2", "--calibration", "8", "--log", "log", "--set", "passes=100000"]
        with heeding(*command) as process:
            sent = sent_when(process, number, lambda: (toys / "log").is_file() and len(lines(toys / "log")) > 60)
            _, err = process.communicate(timeout=120)
        assert sent
        assert process.returncode == code, err
        word = "interrupted" if code == 130 else "terminated"
        assert err.splitlines()[-1] == (
            f"bitwright: {word}; the best plan so far is in found; the same command goes on from log"
        )
        assert (toys / "found").is_file()

    def test_a_plan_stands_beside_methods(self, toys):
        json_of(*self.COMMAND, *self.SHORT)
        command = ("compare", "toy_networks:layers", "--methods", "int8", "--accelerators", "lpa,systolic-ws")
        rows = json_of(*command, "--plan", "found", "--limit", "4", "--calibration", "4")["rows"]
        assert [(row["method"], row["accelerator"], row["status"]) for row in rows] == [
            ("int8", "lpa", "unsupported"),
            ("int8", "systolic-ws", "ok"),
            ("found", "lpa", "ok"),
            ("found", "systolic-ws", "unsupported"),
        ]
        assert "there is no plan none" in refused(*command, "--plan", "none")
        assert "two plans are named found" in refused(*command, "--plan", "found", "--plan", "./found")


class TestTrain:
    COMMAND = ("train", "toy_networks:layers", "--option", "smoothing=none", "--option", "psum_bits=4")

    def test_train_then_evaluate(self, toys):
        """The plan that training leaves scores as well as it said, and says what it learned from."""
        shown = json_of(*self.COMMAND, "--steps", "6", "--every", "3", "--save-plan", "trained")
        assert [each["step"] for each in shown["losses"]] == [0, 3, 6]
        assert shown["best_loss"] <= shown["first_loss"]
        assert shown["judged"]["relative_loss"] < 0.5
        assert shown["settings"]["steps"] == 6
        scored = json_of("evaluate", "toy_networks:layers", "--plan", "trained", "--limit", "8")
        assert scored["method"] == "int8+apsq"
        assert "trained for 6 steps" in scored["calibrated_on"]
        assert scored["off_by"] == 0
        assert scored["sites"][0]["accumulation_sqnr_db"] > 0
        assert (
            "SQNR of quantized by exact"
            in run("evaluate", "toy_networks:layers", "--plan", "trained", "--sites").stdout
        )

    def test_the_same_command_goes_on(self, toys):
        """Stopped by patience: checkpoints stay, are told of, and go on; other commands are refused."""
        command = (*self.COMMAND, "--steps", "40", "--every", "2", "--patience", "1", "--learning-rate", "0.9")
        first = (*command, "--save-plan", "trained", "--checkpoint", "state")
        shown = run(*first)
        assert shown.exit_code == 0
        assert "state (" in shown.stderr
        assert "keeps all state, from which the same command goes on" in shown.stderr
        stopped = json_of(*first)
        assert stopped["steps"] > 2
        assert stopped["losses"][0]["step"] == 0
        bare = ("train", "toy_networks:layers", "--steps", "40", "--learning-rate", "0.9", "--save-plan", "again")
        resumed = (*bare, "--checkpoint", "state", "--resume")
        assert json_of(*resumed, "--every", "2", "--patience", "1")["steps"] > stopped["steps"]
        fewer = [word if word != "40" else "5" for word in first]
        assert "not 5; resume it with the same" in refused(*fewer)
        assert "not from noise inputs, 3 a step" in refused(*first, "--batch-size", "3")
        other = [word if word != "psum_bits=4" else "psum_bits=6" for word in first]
        assert "with psum_bits=4, not 6; the same command" in refused(*other)
        third = [word if word != "again" else "third" for word in bare]
        assert "is a checkpoint of int8+apsq, not of int8;" in refused(*third, "--checkpoint", "state", "-m", "int8")
        assert "again is a plan of int8+apsq" in refused(*bare, "--checkpoint", "state", "-m", "int8")
        assert "not on 3 noise inputs" in refused(*first, "--calibration", "3")
        (toys / "state").write_bytes(b"cut")
        assert "try the one before it: --checkpoint state.previous --resume" in refused(*first)
        before = [word if word != "state" else "state.previous" for word in resumed]
        assert json_of(*before, "--every", "2", "--patience", "1")["steps"] > 2

    def test_terminated(self, toys):
        command = [*self.COMMAND, "--steps", "1000000", "--every", "2", "--patience", "100000"]
        with heeding(*command, "--save-plan", "trained", "--checkpoint", "state") as process:
            sent = sent_when(process, signal.SIGTERM, (toys / "state.previous").is_file)
            _, err = process.communicate(timeout=120)
        assert sent
        assert process.returncode == 143, err
        assert "the best plan so far is in trained; the same command goes on from state" in err.splitlines()[-1]
        assert (toys / "trained").is_file()
        assert "state (" in err

    def test_after_the_last_step_no_checkpoint_stays(self, toys):
        shown = run(*self.COMMAND, "--steps", "4", "--every", "2", "--save-plan", "trained", "--checkpoint", "state")
        assert shown.exit_code == 0
        assert "state and state.previous (" in shown.stderr
        assert "removed: all steps were taken, and the plan is saved" in shown.stderr
        assert not list(toys.glob("state*"))
        assert (toys / "trained").is_file()

    def test_a_plan_for_another_tile(self, toys):
        """Trained for Pci = 4: the array, whose tiles are 8, says both and what to do."""
        command = (
            "evaluate",
            "toy_networks:layers",
            "--method",
            "int8+apsq",
            "--option",
            "psum_tile=4",
            "--limit",
            "8",
        )
        json_of(*command, "--save-plan", "narrow")
        said = run("simulate", "toy_networks:layers", "--plan", "narrow", "-a", "apsq").stdout
        assert "not supported" in said
        assert "pci=4" in said
        fits = json_of("simulate", "toy_networks:layers", "--plan", "narrow", "-a", "apsq", "--set", "pci=4")
        assert fits["supported"]

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--save-plan", "nowhere/plan"], "the folder nowhere of plan does not exist"),
            (["--save-plan", "p", "--resume"], "name it with --checkpoint FILE"),
            (
                ["--save-plan", "p", "--resume", "--checkpoint", "s", "-m", "int8"],
                "there is no checkpoint s",
            ),
            (["--save-plan", "p", "--resume", "--checkpoint", "s"], "there is no checkpoint s"),
            (["--save-plan", "p", "--checkpoint", "p"], "cannot be both the checkpoint and the plan"),
            (["--save-plan", "."], ". is a folder; name a file in it"),
            (["--save-plan", "p", "--checkpoint", "toy_networks.py"], "toy_networks.py is cut or no checkpoint"),
            (["--save-plan", "p", "--minutes", "0"], "--minutes is 0.0, but it should be greater than 0"),
            (["--save-plan", "p", "--learning-rate", "2"], "--learning-rate is 2.0, but it should be less than 1"),
            (["--save-plan", "p", "-m", "int8+apsq", "--option", "w_granularity=group:4"], "are scaled in groups"),
            (["--save-plan", "p", "-m", "float"], "nothing to train"),
            (["--save-plan", "p", "-m", "int8-token"], "scales learn per tensor or channel"),
            (["--save-plan", "p", "-m", "int8+apsq", "--option", "group_size=0"], "group_size of apsq"),
            (["--save-plan", "p", "-m", "int8+apsq", "--option", "psum_bits=7"], "psum_bits of apsq"),
        ],
    )
    def test_bad_input(self, toys, arguments, said):
        assert said in refused("train", "toy_networks:layers", *arguments)
        assert not (toys / "p").exists()


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        (["simulate", "gemm:8x8x8", "-a", "simd", "--accelerator", "systolic-ws"], "--accelerator"),
        (["evaluate", "minilm-l6", "--method", "int8", "--method=float"], "--method"),
        (["compare", "gemm:8x8x8", "--methods", "int8", "--methods", "aqs"], "--methods"),
    ],
)
def test_an_option_of_one_value_is_not_given_twice(words, flag):
    """The last one alone would count, and nobody would hear of the others."""
    result = RUNNER.invoke(app, words)
    assert result.exit_code == 2
    assert f"{flag} is given 2 times and takes one value" in result.stderr


def test_flags_and_lists_may_be_given_again():
    words = ["simulate", "gemm:8x8x8", "--json", "--json", "--set", "rows=8", "--set", "cols=8"]
    result = RUNNER.invoke(app, words)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)
