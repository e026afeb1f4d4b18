"""Machines, substrates and price lists as files: what is printed builds the same again, and what is refused."""

import json
import time

import pytest
import yaml
from tests.test_cli import RUNNER, app
from typer.testing import CliRunner

import bitwright
from bitwright.errors import InputError
from bitwright.reports.setting_files import machine_yaml, substrate_yaml, technology_yaml
from bitwright.studies import catalogue
from bitwright.studies.frontier import systems_of
from bitwright.studies.machines import accelerator_names, build_accelerators, footing, kinds
from bitwright.studies.setting_files import find_machine, find_substrate
from bitwright.studies.sweep import read_study
from bitwright.technology import load

PRICE = "energy_pj: 1, area_um2: 1, leakage_uw: 1, unit: operation, source: s, kind: assumed"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(folder, name, text):
    (folder / name).write_text(text)
    return name


@pytest.fixture
def mine(folder):
    return written(folder, "mine.yaml", "accelerator: systolic-ws\nparameters:\n  rows: 48\n  cols: 16\n")


def run(*arguments, code=0):
    result = RUNNER.invoke(app, list(arguments))
    assert result.exit_code == code, result.output
    return result


class TestMachines:
    @pytest.mark.parametrize("substrate", ["common", "native"])
    @pytest.mark.parametrize("name", accelerator_names())
    def test_what_is_printed_builds_the_same_machine_on_any_substrate(self, name, substrate, folder):
        entry = catalogue.accelerator(name, substrate)
        file = written(folder, "its.yaml", machine_yaml(entry, name))
        data = yaml.safe_load((folder / file).read_text())
        built = build_accelerators([name], substrate=substrate)[name]
        assert data["parameters"] == built.parameters()
        for below in ("common", "native"):
            (again,) = build_accelerators([file], substrate=below).values()
            assert again == built

    def test_every_value_is_explained(self):
        text = machine_yaml(catalogue.accelerator("panacea"), "panacea")
        for each in catalogue.accelerator("panacea").parameters:
            above = " ".join(text.partition(f"\n  {each.name}: ")[0].rpartition("\n\n")[2].replace("#", "").split())
            assert each.description in above
            assert f"Takes {each.takes}." in above
            assert f"Source: {each.source}." in above

    def test_the_file_goes_before_the_substrate_and_settings_before_the_file(self, mine):
        names = [mine, "systolic-ws"]
        built = build_accelerators(names, {"mine.rows": 24, "systolic-ws.cols": 8}, "native")
        assert (built["mine"].rows, built["mine"].cols, built["mine"].weight_loading) == (24, 16, "exposed")
        assert (built["systolic-ws"].rows, built["systolic-ws"].cols) == (32, 8)

    def test_reports_say_what_it_is(self, mine):
        found = footing(build_accelerators([mine, "lpa"]))
        assert found.kinds == {"mine": "systolic-ws"}
        assert found.differences["mine"]["rows"].value == 48

    def test_two_variants_beside_each_other(self, mine, folder):
        other = written(folder, "b.yaml", "accelerator: systolic-ws\nname: wide one\nparameters: {cols: 64}\n")
        shown = json.loads(run("simulate", "gemm:64x64x64", "-a", f"{mine},{other},systolic-ws", "--json").stdout)
        assert {name: each["parameters"]["cols"] for name, each in shown["accelerators"].items()} == {
            "mine": 16,
            "wide one": 64,
            "systolic-ws": 32,
        }

    def test_every_verb_takes_it(self, mine):
        cycles = json.loads(run("simulate", "gemm:64x64x64", "-a", mine, "--json").stdout)["cycles"]
        same = build_accelerators(["systolic-ws"], {"rows": 48, "cols": 16})["systolic-ws"]
        assert build_accelerators([mine])["mine"] == same
        explained = json.loads(run("explain", "gemm:64x64x64", "-s", "gemm", "-a", mine, "--json").stdout)
        assert explained["mapping"]["cycles"] == cycles
        assert "mine" in run("explain", "gemm:64x64x64", "-a", mine).stdout
        rows = json.loads(run("compare", "gemm:64x64x64", "-m", "int8", "-a", f"simd,{mine}", "--json").stdout)["rows"]
        assert [row["accelerator"] for row in rows] == ["simd", "mine"]
        assert bitwright.simulate("gemm:64x64x64", "int8", mine).accelerator == "mine"
        assert set(bitwright.simulate("gemm:64x64x64", "int8", [mine])) == {"mine"}

    def test_systemies_take_machines_of_their_kind(self, folder):
        file = written(folder, "p.yaml", "accelerator: panacea\n")
        built = build_accelerators(["panacea", file, "simd"])
        found = systems_of(["panacea", "int8+psq"], list(built), kinds(built))
        assert found["panacea"].machines == ("panacea", "p")
        assert found["int8+psq"].machines == ("panacea", "p", "simd")
        assert systems_of(["panacea"], ["p"], {"p": "panacea"})["panacea"].machines == ("p",)

    def test_systems_at_equal_accuracy(self, folder, monkeypatch):
        """As a file's machine is that of its kind with equal values, so are its rows."""
        lines = ["import torch", "def net():", "    torch.manual_seed(0)"]
        made = "torch.nn.Sequential(torch.nn.Linear(32, 32), torch.nn.ReLU(), torch.nn.Linear(32, 16))"
        written(folder, "nets.py", "\n".join([*lines, f"    return {made}, torch.randn(4, 32)"]))
        monkeypatch.syspath_prepend(folder)
        file = written(folder, "s.yaml", "accelerator: sibia\n")
        given = ("compare", "nets:net", "--budget", "5%", "-m", "sibia", "-a", f"sibia,simd,{file}", "--json")
        rows = json.loads(run(*given).stdout)["rows"]
        energy = {
            name: [row["total_energy_pj"] for row in rows if row["system"] == "sibia" and row["accelerator"] == name]
            for name in ("sibia", "s")
        }
        assert len(energy["s"]) == 3
        assert energy["s"] == energy["sibia"]

    def test_prices_lie_beside_the_file_that_names_them(self, folder):
        (folder / "deep").mkdir()
        written(folder / "deep", "prices.yaml", f"extends: 28\nprices:\n  mac_int8: {{{PRICE}}}\n")
        written(folder / "deep", "mine.yaml", "accelerator: systolic-ws\nparameters: {node_nm: prices.yaml}\n")
        machine = build_accelerators(["deep/mine.yaml"])["mine"]
        assert machine.technology.price("mac_int8").energy() == 1

    def test_an_entry_shows_the_machine_in_the_file(self, mine):
        shown = json.loads(run("accelerators", mine, "--json").stdout)["accelerator"]
        values = {each["name"]: each["default"] for each in shown["parameters"]}
        assert (shown["name"], values["rows"], values["clock_mhz"]) == ("mine", 48, 500)
        assert "--accelerator mine.yaml" in shown["example"]


class TestSweeps:
    STUDY = "networks: ['gemm:64x64x64']\nmethods: [int8]\naccelerators: [mine.yaml, simd]\n"

    def test_a_file_beside_the_study(self, folder):
        (folder / "deep").mkdir()
        written(folder / "deep", "mine.yaml", "accelerator: systolic-ws\nparameters: {rows: 48, cols: 16}\n")
        study = f"{self.STUDY}parameters:\n  mine.rows: [8, 16]\nwhen: cols <= 32\n"
        written(folder / "deep", "study.yaml", study)
        found = bitwright.sweep("deep/study.yaml").frame()
        rows = found[found["accelerator"] == "mine"]
        assert sorted(rows["parameters.rows"]) == [8, 16]
        cycles = {
            size: bitwright.simulate(
                "gemm:64x64x64", "int8", "systolic-ws", parameters={"rows": size, "cols": 16}
            ).cost.cycles
            for size in (8, 16)
        }
        assert dict(zip(rows["parameters.rows"], rows["cycles"], strict=True)) == cycles

    def test_what_a_file_states_is_part_of_the_study(self, mine, folder):
        study = written(folder, "study.yaml", self.STUDY)
        before = read_study(study).identity()
        written(folder, mine, "accelerator: systolic-ws\nparameters: {rows: 24, cols: 16}\n")
        assert read_study(study).identity() != before

    def test_a_substrate_of_ones_own(self, mine, folder):
        written(folder, "edge.yaml", "substrate: common\nparameters: {clock_mhz: 250}\n")
        study = written(folder, "study.yaml", f"{self.STUDY}substrate: edge.yaml\n")
        assert read_study(study).substrate.values == {"clock_mhz": 250}
        frame = bitwright.sweep(study).frame()
        slow = bitwright.simulate("gemm:64x64x64", "int8", "simd", parameters={"clock_mhz": 250})
        assert frame[frame["accelerator"] == "simd"]["latency_us"].item() == pytest.approx(slow.cost.cycles / 250)


class TestSubstrates:
    def test_what_is_printed_is_the_common_substrate(self, folder):
        file = written(folder, "s.yaml", substrate_yaml(catalogue.substrate(), "common"))
        names = accelerator_names()
        assert build_accelerators(names, substrate=file) == build_accelerators(names)

    def test_it_goes_to_all_machines_below_what_they_state(self, mine, folder):
        file = written(folder, "edge.yaml", "substrate: native\nparameters: {clock_mhz: 250, vector_lanes: 8}\n")
        written(folder, mine, "accelerator: simd\nparameters: {vector_lanes: 64}\n")
        built = build_accelerators([mine, "systolic-ws"], {"systolic-ws.clock_mhz": 400}, file)
        assert (built["mine"].clock_mhz, built["mine"].vector_lanes) == (250, 64)
        assert (built["systolic-ws"].clock_mhz, built["systolic-ws"].vector_lanes) == (400, 8)
        assert built["systolic-ws"].rows == 32  # natively
        assert (footing(built, file).name, footing(built, file).base) == ("edge", "native")


HOSTILE = {
    "no accelerator": ("parameters: {rows: 8}\n", "key 'accelerator' is missing"),
    "unknown accelerator": ("accelerator: systolic-sw\n", "line 1: unknown accelerator .* Did you mean 'systolic-ws'"),
    "unknown key": (
        "accelerator: lpa\nparametrs: {}\n",
        "line 2: unknown key of a machine .* Did you mean 'parameters'",
    ),
    "unknown parameter": ("accelerator: lpa\nparameters:\n  row: 8\n", "line 3: unknown parameter of lpa 'row'"),
    "out of range": (
        "accelerator: lpa\nparameters:\n  rows: 0\n",
        "line 3: parameter rows of bad is 0, but it should be",
    ),
    "a text for a number": ("accelerator: lpa\nparameters:\n  rows: '8'\n", "line 3: .* should be an integer above 0"),
    "true for a number": (
        "accelerator: lpa\nparameters:\n  rows: true\n",
        "rows of bad is True, but it should be an int",
    ),
    "no such word": ("accelerator: lpa\nparameters:\n  priced_by: weight\n", "it should be area or parts"),
    "no such DRAM": (
        "accelerator: lpa\nparameters:\n  dram: ddr9\n",
        "line 3: parameter dram of bad .* is none of lpddr4",
    ),
    "not finite": ("accelerator: lpa\nparameters:\n  clock_mhz: .inf\n", "line 3: parameter clock_mhz"),
    "a list": ("- lpa\n", "a machine is a mapping"),
    "empty": ("", "a machine is a mapping"),
    "parameters that are a list": ("accelerator: lpa\nparameters: [1]\n", "line 2: parameters is a mapping"),
    "a parameter given twice": (
        "accelerator: lpa\nparameters:\n  rows: 8\n  rows: 9\n",
        "line 4: key 'rows' is given twice, first on line 3",
    ),
    "a registered name": ("accelerator: lpa\nname: lpa\n", "line 2: .* registered accelerator; .*name: my-lpa"),
    "a name with a comma": ("accelerator: lpa\nname: 'a,b'\n", "'a,b' cannot be a name"),
    "a name that clears the screen": ('accelerator: lpa\nname: "\\e[2J"\n', "characters that cannot be printed"),
    "a control character": ("accelerator: lpa\nname: \x1b\n", "special characters are not allowed"),
    "text that turns around": ('accelerator: "\\u202elpa"\n', "characters that cannot be printed"),
    "a python object": ("accelerator: !!python/name:os.system\n", "not the YAML"),
    "an alias of itself": ("accelerator: lpa\nparameters: &a {rows: *a}\n", "alias stands for what it is a part of"),
    "deep": ("a: " + "[" * 5000, "nested too deeply"),
    "a bomb": (
        "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)),
        "more than 1,000,000 values",
    ),
    "a price list": (f"node_nm: 28\nprices:\n  a: {{{PRICE}}}\n", "unknown key of a machine"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_machines_are_refused_in_one_sentence(case, folder):
    text, expected = HOSTILE[case]
    began = time.monotonic()
    with pytest.raises(InputError, match=expected) as caught:
        build_accelerators([written(folder, "bad.yaml", text)])
    assert str(caught.value).startswith("bad.yaml")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    assert time.monotonic() - began < 5


class TestFiles:
    def test_that_are_not_there_or_too_large(self, folder):
        with pytest.raises(InputError, match=r"cannot read the machine nowhere\.yaml"):
            find_machine("nowhere.yaml")
        with (folder / "large.yaml").open("wb") as file:
            file.truncate(2**33)
        with pytest.raises(InputError, match=r"large\.yaml: it is larger than 8 MiB"):
            find_machine("large.yaml")
        with pytest.raises(InputError, match="larger than 8 MiB"):
            find_substrate("large.yaml")

    def test_of_one_name(self, mine, folder):
        (folder / "other").mkdir()
        written(folder / "other", mine, "accelerator: lpa\n")
        with pytest.raises(InputError, match=r"mine.yaml and other/mine.yaml both make a machine called mine"):
            build_accelerators([mine, f"other/{mine}"])
        assert list(build_accelerators([mine, mine])) == ["mine"]

    def test_printed_under_a_registered_name(self, folder):
        written(folder, "lpa.yaml", machine_yaml(catalogue.accelerator("lpa"), "lpa"))
        with pytest.raises(InputError, match="would be called lpa, which is a registered accelerator; rename the file"):
            build_accelerators(["lpa.yaml"])

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("substrate: commn\n", "line 1: substrate is 'commn'; it is common or native"),
            ("substrate: common\nparameters:\n  rows: 8\n", "line 3: unknown parameter of all machines 'rows'"),
            ("substrate: common\nparameters:\n  clock_mhz: fast\n", "line 3: parameter clock_mhz of bad is 'fast'"),
            ("substrate: common\nname: native\n", "native is a substrate already"),
            ("accelerator: lpa\n", "unknown key of a substrate 'accelerator'"),
        ],
    )
    def test_substrates(self, text, message, folder):
        with pytest.raises(InputError, match=message):
            build_accelerators(["simd"], substrate=written(folder, "bad.yaml", text))

    def test_the_command_line_ends_with_2_and_writes_nothing_that_moves_the_cursor(self, folder):
        written(folder, "bad.yaml", "accelerator: lpa\nparameters: {rowz: 8}\n")
        result = run("simulate", "gemm:8x8x8", "-a", "bad.yaml", code=2)
        assert result.stdout == ""
        assert result.stderr.splitlines()[-1].startswith(
            "bitwright: bad.yaml, line 2: unknown parameter of lpa 'rowz'."
        )
        result = run("simulate", "gemm:8x8x8", "-a", "\x1b[2J.yaml", code=2)
        assert "\x1b" not in result.stderr


class TestPrices:
    @pytest.mark.parametrize("node", [28, 45])
    def test_what_is_printed_is_the_same_technology(self, node, folder):
        found = load(node)
        again = load(written(folder, "p.yaml", technology_yaml(found)))
        parts = ("energy_pj", "area_um2", "leakage_uw", "unit", "kind", "source")
        for event, price in found.prices.items():
            assert [getattr(again.prices[event], part) for part in parts] == [getattr(price, part) for part in parts]
        assert again.prices.keys() == found.prices.keys()
        assert again.drams == found.drams
        assert again.sram_table.points == found.sram_table.points

    def test_dram_and_sram_of_ones_own(self, folder):
        rows = [[c, w, c / 1e3, w / 10, 1, c, 0.5, 0.5] for c in (1024, 4096) for w in (64, 256)]
        text = (
            f"node_nm: 22\nprices: {{}}\ndram: {{mine: {{gb_per_s: 50, pj_per_bit: 5, source: s}}}}\n"
            f"sram: {{source: our compiler, macros: {rows}}}\n"
        )
        found = load(written(folder, "p.yaml", text))
        assert (found.dram("mine").gb_per_s, found.dram("hbm2").gb_per_s) == (50, 256)
        assert found.sram(4096, 64).read_pj == 4.096
        assert found.sram(2048, 64).read_pj == pytest.approx(2.048)  # a straight line in the logarithms
        assert found.sram(2048, 64).source == "our compiler"
        with pytest.raises(InputError, match="1024 to 4096"):
            found.sram(8192, 64)

    def test_a_dram_of_the_list_is_one_for_machines(self, folder):
        file = written(
            folder, "p.yaml", "extends: 28\nprices: {}\ndram: {x: {gb_per_s: 50, pj_per_bit: 5, source: s}}\n"
        )
        machine = build_accelerators(["simd"], {"node_nm": file, "dram": "x"})["simd"]
        assert (machine.dram_bandwidth, machine.dram_price) == (100, (5, "s"))
        with pytest.raises(InputError, match="dram of simd is 'x', but it is none of"):
            build_accelerators(["simd"], {"dram": "x"})

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("sram: {source: s, macros: []}", r"sram\.macros"),
            ("sram: {source: s, macros: [[512, 8, 1]]}", "rows are capacity_bytes, width_bits, read_pj"),
            ("sram: {source: s, macros: [[512, 8, 1, 1, 1, 1, 1, -1]]}", "sram.macros.0.7.*greater than 0"),
            ("sram: {macros: [[512, 8, 1, 1, 1, 1, 1, 1]]}", r"sram\.source: this key is required"),
            ("sram: {source: s, macros: [[9, 8, 1, 1, 1, 1, 1, 1], [9, 8, 1, 1, 1, 1, 1, 1]]}", "given twice"),
            (
                "sram: {source: s, macros: ["
                + ", ".join(f"[{c}, {w}, 1, 1, 1, 1, 1, 1]" for c in (1, 2, 3) for w in (8, 9) if (c, w) != (2, 9))
                + "]}",
                "there is none of 2 bytes with 9 bits",
            ),
            ("dram: {x: {gb_per_s: 0, pj_per_bit: 1, source: s}}", r"dram\.x\.gb_per_s.*greater than 0"),
            ("dram: {x: {gb_per_s: 1, pj_per_bit: 1}}", r"dram\.x\.source: this key is required"),
            ("dram: {x: {gbps: 1}}", r"dram\.x\.gb_per_s: this key is required|no such key"),
        ],
    )
    def test_bad_tables(self, text, message, folder):
        with pytest.raises(InputError, match=message) as caught:
            load(written(folder, "p.yaml", f"extends: 28\nprices: {{}}\n{text}\n"))
        assert "\n" not in str(caught.value)

    def test_the_verb(self):
        shown = json.loads(run("technology", "45", "--json").stdout)["technology"]
        assert shown["prices"]["add_int32"]["energy_pj"] == 0.1  # Horowitz, ISSCC 2014
        assert "hbm2" in run("technology").stdout
        assert "unknown technology node '7'" in run("technology", "7", code=2).stderr


def test_one_form_at_a_time():
    assert "common or the native" in CliRunner().invoke(app, ["reproduce", "lp", "--substrate", "e.yaml"]).stderr
    assert "two forms" in CliRunner().invoke(app, ["substrate", "--yaml", "--json"]).stderr
    assert "name it" in CliRunner().invoke(app, ["accelerators", "--yaml"]).stderr
