"""Results as tables: every frame of every result, as CSV and Parquet, with whatever names; one flag for them all."""

import csv
import dataclasses
import io
import json
import sys
import textwrap
from pathlib import Path
from typing import ClassVar, TypedDict

import pandas as pd
import pytest
import torch
from tests.test_first_steps import results
from tests.toys import normal
from typer.testing import CliRunner

import bitwright
from bitwright.cli.main import app
from bitwright.errors import InputError
from bitwright.reports.prices import PriceList
from bitwright.reports.verbs import VERBS
from bitwright.shown import Shown, Table, Tabled, frame_of
from bitwright.table_files import write_table
from bitwright.technology import load as technology

RUNNER = CliRunner()
HOSTILE = "=<script>alert(1)</script>\x1b[2J"
NAMES = ["plan", "evaluation", "simulation", "simulations", "comparison", "frontier", "bounds", "explanation"]
NAMES += [
    "exported",
    "sweep",
    "search",
    "training",
    "reproduction",
    "nodes",
    "models",
    "methods",
    "method",
    "systems",
    "prices",
]
OF_ITS_OWN = {"sweep", "reproduction", "models", "methods", "method", "systems", "prices"}
"""Results that do not have the toy's names."""


@pytest.fixture(scope="module")
def every(tmp_path_factory):
    """Every result that there is, of a network and of sites with hostile names."""
    torch.manual_seed(0)
    module = torch.nn.Sequential()
    module.add_module("0", torch.nn.Linear(16, 8))
    module.add_module(HOSTILE, torch.nn.Linear(8, 4))
    network = dataclasses.replace(bitwright.load(module, inputs=normal(4, 16)), name=HOSTILE)
    return {
        **results(network),
        "nodes": bitwright.nodes(network),
        "exported": bitwright.export(network, tmp_path_factory.mktemp("export") / "a", "safetensors", "int8-sym"),
        "models": bitwright.models(),
        "methods": bitwright.methods(),
        "method": bitwright.methods()[0],
        "systems": bitwright.systems(),
        "prices": PriceList(technology("28")),
    }


def subclasses(of):
    for each in of.__subclasses__():
        yield each
        yield from subclasses(each)


class TestFrames:
    @pytest.mark.parametrize("name", NAMES)
    def test_every_table_has_the_columns_of_its_lines(self, every, name):
        result = every[name]
        for part, table in result.TABLES.items():
            frame = result.to_frame(part)
            assert set(table.line.__annotations__) <= set(frame.columns), part
            assert len(frame) or part in ("weight_errors",), part
            assert (table.line.__doc__ or "").strip(), part
        first = next(iter(result.TABLES))
        pd.testing.assert_frame_equal(result.frame(), result.frame(first))

    def test_both_names_are_one_method(self):
        ours = [each for each in subclasses(Tabled) if each.__module__.startswith("bitwright.")]
        assert len(ours) > 15
        assert all(each.to_frame is each.frame for each in ours)
        assert all(each.__repr__ is Shown.__repr__ for each in ours)

    def test_all_that_verbs_write_are_here(self, every):
        kinds = {type(result) for result in every.values()}
        written = {result for output in VERBS.values() for result in output.results.values()}
        elsewhere = {"Reproduction", "Overview", "Entries", "Synthesis"}
        assert {each.__name__ for each in written - kinds} <= elsewhere

    @pytest.mark.parametrize("name", [*NAMES, "network"])
    def test_in_a_notebook_names_are_escaped(self, every, name):
        page, line = every[name]._repr_html_(), repr(every[name])
        assert "<script" not in page
        assert "\x1b" not in page + line
        assert name in OF_ITS_OWN or "&lt;script&gt;" in page or name in ("evaluation", "plan")

    def test_sites_by_components_add_up(self, every):
        found = every["simulation"]
        long = found.frame("site_components").groupby("site")["energy_pj"].sum()
        wide = found.frame("sites").set_index("site")["total_energy_pj"]
        assert long.to_dict() == pytest.approx(wide.to_dict())

    def test_of_a_comparison_by_row(self, every):
        frame = every["comparison"].frame("components")
        whole = frame.groupby(["method", "accelerator"])["energy_pj"].sum()
        rows = every["comparison"].frame().query("status == 'ok'").set_index(["method", "accelerator"])
        assert whole.to_dict() == pytest.approx(rows["total_energy_pj"].to_dict())
        systems = every["frontier"].frame("sites")["system"]
        assert set(systems) == set(every["frontier"].frame()["system"])

    def test_bounds_add_up(self, every):
        found = every["bounds"]
        assert found.frame("bounds")["cycles"].sum() == found.simulation.cost.cycles
        assert found.frame("bounds")["share"].sum() == pytest.approx(1)
        assert list(found.frame()["bound"]) == [point.bound for point in found.points]

    def test_nothing_that_runs_leaves_the_columns(self):
        found = bitwright.simulate("gemm:8x8x8", "int8", ["lpa"])
        assert len(found.frame("sites")) == 0
        assert {"site", "cycles", "total_energy_pj"} <= set(found.frame("sites").columns)


class Mixed(Tabled):
    """A result of somebody's own, whose values are of any type."""

    class Line(TypedDict):
        """A line."""

        name: str
        value: float

    LINES = (
        {"name": "=1+1", "value": 1, "mixed": 1, "flag": True, "none": None},
        {"name": "-2", "value": float("nan"), "mixed": "a", "flag": None, "none": None},
        {"name": "@x", "value": float("inf"), "mixed": None, "flag": False, "none": None},
        {"name": "\t=1", "value": -3.5, "mixed": True, "flag": False, "none": None},
        {"name": 'a "b", c\nd', "value": 0.1, "mixed": -4, "flag": False, "none": None},
        {"name": "\r+é", "value": 1e300, "mixed": 0.5, "flag": False, "none": None},
        {"name": "a=b", "value": None, "mixed": None, "flag": False, "none": None},
    )
    TABLES: ClassVar = {"lines": Table(Line, lambda _: Mixed.LINES)}

    def headline(self):
        raise NotImplementedError


class TestFiles:
    @pytest.mark.parametrize("name", NAMES)
    def test_parquet_gives_the_frame_back(self, every, name, tmp_path):
        pytest.importorskip("pyarrow")
        for part in every[name].TABLES:
            frame = every[name].frame(part)
            write_table(frame, tmp_path / "t.parquet")
            pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "t.parquet").convert_dtypes(), frame)

    @pytest.mark.parametrize("name", NAMES)
    def test_csv_gives_the_numbers_back_and_computes_nothing(self, every, name, tmp_path):
        for part in every[name].TABLES:
            frame = every[name].frame(part)
            write_table(frame, tmp_path / "t.csv")
            text = (tmp_path / "t.csv").read_bytes().decode()
            rows = list(csv.reader(io.StringIO(text, newline="")))
            assert len(rows) == 1 + len(frame)
            for column, cells in zip(frame.columns, zip(*rows[1:], strict=True), strict=False):
                number = pd.api.types.is_numeric_dtype(frame[column]) and frame[column].dtype != "boolean"
                for value, cell in zip(frame[column], cells, strict=True):
                    if number and not pd.isna(value):
                        assert float(cell) == pytest.approx(float(value), rel=1e-15)
                    elif not number:
                        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
                        assert pd.isna(value) or cell.removeprefix("'") == str(value).removeprefix("'")

    def test_by_hand(self, tmp_path):
        write_table(Mixed().to_frame(), tmp_path / "t.csv")
        assert (tmp_path / "t.csv").read_bytes().decode() == (
            "name,value,mixed,flag,none\n"
            "'=1+1,1.0,1,True,\n"
            "'-2,,a,,\n"
            "'@x,inf,,False,\n"
            "'\t=1,-3.5,True,False,\n"
            '"a ""b"", c\nd",0.1,\'-4,False,\n'
            '"\'\r+é",1e+300,0.5,False,\n'
            "a=b,,,False,\n"
        )

    def test_names_of_columns_too(self, tmp_path):
        write_table(pd.DataFrame({"=cmd()": [1], "b": ["=x"]}), tmp_path / "t.csv")
        assert (tmp_path / "t.csv").read_text() == "'=cmd(),b\n1,'=x\n"

    def test_texts_beside_numbers_and_among_categories(self, tmp_path):
        table = pd.DataFrame({"a": [1, "=x", -2.5], "b": pd.Categorical(["@y", "z", "@y"])})
        write_table(table, tmp_path / "t.csv")
        assert (tmp_path / "t.csv").read_text() == "a,b\n1,'@y\n'=x,z\n-2.5,'@y\n"

    @pytest.mark.parametrize("suffix", [".csv", ".parquet"])
    def test_file_names_that_are_not_utf8(self, tmp_path, suffix):
        write_table(frame_of([{"a\udcff": "b\udcff"}, {"a\udcff": None}]), tmp_path / f"t{suffix}")
        read = pd.read_csv if suffix == ".csv" else pd.read_parquet
        assert read(tmp_path / f"t{suffix}")[r"a\udcff"][0] == r"b\udcff"

    def test_without_pyarrow(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(InputError, match=r"need pyarrow.*pip install 'bitwright\[parquet\]'"):
            write_table(pd.DataFrame({"a": [1]}), tmp_path / "t.parquet")
        said = refused("simulate", "gemm:8x8x8", "-o", "sites=t.parquet")
        assert "Parquet files need pyarrow, which is not installed; pip install 'bitwright[parquet]'" in said

    def test_whole_or_not_at_all(self, tmp_path, monkeypatch):
        (tmp_path / "t.csv").write_text("old")

        def full(self, other):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("pathlib.Path.replace", full)
        with pytest.raises(InputError, match="No space left"):
            write_table(pd.DataFrame({"a": [1]}), tmp_path / "t.csv")
        assert (tmp_path / "t.csv").read_text() == "old"
        assert {file.name for file in tmp_path.iterdir()} == {"t.csv", "toy_tabled.py", "study.yaml"}


TOY = """
    import torch

    def layers():
        torch.manual_seed(0)
        module = torch.nn.Sequential()
        module.add_module("=1", torch.nn.Linear(16, 8))
        module.add_module("out", torch.nn.Linear(8, 4))
        module.example_inputs = torch.randn(4, 16)
        return module
"""
NET, GEMM, SMALL = "toy_tabled:layers", "gemm:16x32x8", ("--limit", "8")
BRIEF = [part for key in ("population=2", "passes=1", "cycles=1", "random_parents=1") for part in ("--set", key)]
STUDY = "networks: [gemm:64x64x64]\nmethods: [int8]\naccelerators: [systolic-ws]\nparameters: {rows: [16, 32]}\n"
COMMANDS = [
    ("simulate", "", (NET, "-a", "systolic-ws,simd", "--calibration", "4")),
    ("evaluate", "", (NET, *SMALL)),
    ("evaluate", "", (NET, "-m", "float", *SMALL)),
    ("compare", "", (f"{NET},{GEMM}", "-m", "int8", *SMALL)),
    ("compare", "--budget", (NET, "--budget", "5%", "-m", "sibia", "-a", "sibia,simd", *SMALL)),
    ("explain", "", (GEMM,)),
    ("explain", "--site", (NET, "--site", "=1", "--calibration", "4")),
    ("nodes", "", (NET,)),
    ("search", "", (NET, "--save-plan", "p", "--objective", "mse", "--workers", "1", *BRIEF)),
    ("train", "", (NET, "--save-plan", "p", "--steps", "2", "--option", "smoothing=none")),
    ("sweep", "", ("study.yaml", "--workers", "1")),
    ("reproduce", "apsq", ("apsq", "--models", GEMM)),
    ("reproduce", "lp", ("lp", "--models", GEMM)),
    ("models", "", ()),
    ("methods", "", ()),
    ("accelerators", "NAME", ("lpa",)),
    ("systems", "", ()),
    ("substrate", "", ()),
    ("technology", "", ()),
]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "toy_tabled.py").write_text(textwrap.dedent(TOY))
    (tmp_path / "study.yaml").write_text(STUDY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("toy_tabled", None)


def refused(*arguments):
    result = RUNNER.invoke(app, list(arguments))
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if line.startswith("bitwright: ")]
    assert len(lines) == 1, result.stderr
    return lines[0].removeprefix("bitwright: ")


class TestOut:
    @pytest.mark.parametrize(("verb", "when", "arguments"), COMMANDS, ids=str)
    def test_every_table_of_every_verb(self, verb, when, arguments):
        """All at once, with the record beside them; without a name it is the first table."""
        command, result = (verb, *arguments), VERBS[verb].results[when]
        first, *_ = result.TABLES
        outs = [f"{name}={name}.csv" for name in result.TABLES] + ["first.csv", "record.json"]
        found = RUNNER.invoke(app, [*command, "--json", *(part for out in outs for part in ("--out", out))])
        assert found.exit_code == 0, found.output
        assert json.loads(Path("record.json").read_text()) == json.loads(found.stdout)
        assert Path("first.csv").read_text() == Path(f"{first}.csv").read_text()
        for name, table in result.TABLES.items():
            header, *lines = list(csv.reader(io.StringIO(Path(f"{name}.csv").read_bytes().decode(), newline="")))
            assert set(table.line.__annotations__) <= set(header), name
            assert all(len(line) == len(header) for line in lines)
            assert not any(cell.startswith("=") for line in lines for cell in line)
            assert f"Written: {Path(f'{name}.csv').resolve()}" in found.stderr

    def test_a_disk_that_is_full_at_the_end_takes_no_result_away(self, monkeypatch):
        """It is shown, and the file is an error then; nothing is left in its place."""

        def full(*_):
            raise OSError(28, "No space left on device")

        command = ["simulate", "gemm:8x8x8", "-a", "simd", "--json"]
        there = json.loads(RUNNER.invoke(app, command).stdout)
        monkeypatch.setattr(Path, "write_bytes", full)
        found = RUNNER.invoke(app, [*command, "-o", "t.csv"])
        assert found.exit_code == 2
        assert "cannot write t.csv: No space left on device; give a writable path" in " ".join(found.stderr.split())
        assert json.loads(found.stdout)["events"] == there["events"]
        assert "Written" not in found.stderr
        assert not [each for each in Path().iterdir() if "t.csv" in each.name]

    def test_where_a_plan_is_is_said(self):
        found = RUNNER.invoke(app, ["simulate", NET, "-a", "simd", "--save-plan", "kept"])
        assert f"Written: {Path('kept').resolve()}" in found.stderr
        assert Path("kept").is_file()

    def test_parquet(self):
        pytest.importorskip("pyarrow")
        names = ("sites", "components", "site_components", "events", "total")
        outs = [part for name in names for part in ("-o", f"{name}={name}.parquet")]
        assert RUNNER.invoke(app, ["simulate", NET, "-a", "systolic-ws,simd", *outs]).exit_code == 0
        found = bitwright.simulate(bitwright.load(NET), "int8", ["systolic-ws", "simd"])
        for name in names:
            frame = pd.read_parquet(f"{name}.parquet").convert_dtypes()
            pd.testing.assert_frame_equal(frame, found.frame(name))

    @pytest.mark.parametrize(
        ("outs", "said"),
        [
            (["a.xlsx"], "a.xlsx has no known form; end its name in .json, .csv or .parquet"),
            (["a.html"], "end its name in .json, .csv or .parquet"),
            (["a"], "a has no known form"),
            (["sits=a.csv"], "unknown table of Simulation 'sits'. Did you mean 'sites'?"),
            (["=a.csv", "nowhere/a.csv"], "the folder nowhere of a.csv does not exist"),
            (["sites=a.json"], "a.json is no table, so that sites= says nothing; give a.json, or ./sites=a.json"),
            (["sites=a.csv", "events=a.csv"], "a.csv and a.csv are one file"),
            (["sites=a.csv", "./a.csv"], "are one file"),
            (["there.csv"], "there.csv exists; --overwrite replaces it"),
            (["sites=there.csv"], "there.csv exists; --overwrite replaces it"),
            (["folder.csv"], "folder.csv is a folder"),
        ],
    )
    def test_what_is_refused_before_anything_runs(self, outs, said):
        Path("there.csv").write_text("old")
        Path("folder.csv").mkdir()
        before = sorted(Path().iterdir())
        assert said in refused("simulate", GEMM, *(part for out in outs for part in ("--out", out)))
        assert sorted(Path().iterdir()) == before
        assert Path("there.csv").read_text() == "old"

    def test_what_exists_is_replaced_if_it_is_said(self):
        Path("there.csv").write_text("old")
        assert RUNNER.invoke(app, ["simulate", GEMM, "-o", "there.csv", "--overwrite"]).exit_code == 0
        assert Path("there.csv").read_text().startswith("network,method,accelerator,site,")

    def test_a_name_with_an_equals_sign(self):
        for text, file in (("./sites=a.csv", "sites=a.csv"), ("sites=b=c.csv", "b=c.csv"), ("a b=c.csv", "a b=c.csv")):
            assert RUNNER.invoke(app, ["simulate", GEMM, "-o", text]).exit_code == 0
            assert Path(file).read_text().startswith("network,")

    def test_not_where_another_result_goes(self):
        assert "are one file" in refused("evaluate", NET, "--save-plan", "p.csv", "--out", "p.csv", *SMALL)
        assert "are one file" in refused("search", NET, "--save-plan", "p", "--log", "l.json", "--out", "l.json")
        assert "are one file" in refused("train", NET, "--save-plan", "p", "--checkpoint", "c.csv", "-o", "c.csv")
        assert "are one file" in refused("sweep", "study.yaml", "--out", "study.parquet")
        assert "two forms" in refused("technology", "--yaml", "--out", "a.csv")

    def test_tables_of_what_is_asked_for(self):
        """A verb's tables depend on what it gives, which is known before it runs."""
        assert "unknown table of Comparison 'points'" in refused("compare", GEMM, "-o", "points=a.csv")
        assert "unknown table of Bounds 'cycles'" in refused("explain", GEMM, "-o", "cycles=a.csv")
        assert "unknown table of Explanation 'sites'" in refused("explain", GEMM, "-s", "gemm", "-o", "sites=a.csv")
        assert "unknown table of Overview 'sites'" in refused("reproduce", "-o", "sites=a.csv")

    def test_a_machine_that_runs_nothing(self):
        result = RUNNER.invoke(app, ["simulate", GEMM, "-m", "float", "-o", "s.csv", "-o", "total=t.csv"])
        assert result.exit_code == 2
        assert Path("s.csv").read_text().startswith("network,method,accelerator,")
        assert len(Path("s.csv").read_text().splitlines()) == 1
        assert "unsupported" in Path("t.csv").read_text()


@pytest.mark.parametrize("largest", [2**63, 2**64, 2**70, -(2**70), 10**38 - 1])
def test_whole_numbers_beyond_64_bits_are_decimals_in_parquet(largest, tmp_path):
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"site": ["a", "b"], "cycles": pd.Series([largest, 1], dtype=object)})
    write_table(frame, tmp_path / "a.parquet")
    assert [int(each) for each in pd.read_parquet(tmp_path / "a.parquet")["cycles"]] == [largest, 1]


@pytest.mark.parametrize(("values", "why"), [([10**38, 1], "more than 38 digits"), ([2**70, 1.5], "cannot hold")])
def test_what_parquet_cannot_hold_is_told(values, why, tmp_path):
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"cycles": pd.Series(values, dtype=object)})
    with pytest.raises(InputError, match=rf"(?s){why}.*a\.csv instead"):
        write_table(frame, tmp_path / "a.parquet")
    assert not (tmp_path / "a.parquet").exists()
