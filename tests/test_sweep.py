"""Sweeps: studies and their mistakes, what is computed once, stores that were killed, workers that die, clusters."""

import importlib
import importlib.metadata
import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pandas as pd
import pytest
from tests.test_cli import refused, run

import bitwright
from bitwright import registry, strict_yaml
from bitwright.accelerators.cost import Cost, Event, total_cost
from bitwright.errors import InputError
from bitwright.studies.sweep import database, extra, pool, read_study, store
from bitwright.studies.sweep.points import grid
from bitwright.studies.sweep.run import sweep
from bitwright.studies.sweep.soundness import ROW, Seal, seal_of

distributed = pytest.importorskip("distributed")
optuna = pytest.importorskip("optuna")

MACHINE = """
    import os
    import signal
    import time
    from pathlib import Path
    from typing import ClassVar

    import pydantic

    from bitwright.accelerators.cost import Area, Cost


    class Moody(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(frozen=True, extra="forbid")
        summary: ClassVar[str] = "a machine that takes its time, raises, or kills its process"
        needs_codes: ClassVar[bool] = False
        clock_mhz: float = 1
        peak_macs_per_cycle: float = 1
        size: int = pydantic.Field(default=1, gt=0)
        seconds: float = 0
        mood: str = "good"
        flag: str = "flag"

        def supports(self, plan):
            return None

        def run(self, work):
            time.sleep(self.seconds)
            if self.mood == "angry":
                raise ValueError("not today")
            if self.mood == "deadly" or (self.mood == "deadly once" and not Path(self.flag).exists()):
                Path(self.flag).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            cycles = work.site.macs + self.size
            return Cost(cycles=cycles, compute_cycles=1, macs_dense=work.site.macs, macs_executed=work.site.macs)

        def area(self):
            return Area(components_um2={"all": float(self.size)})

        def parameters(self):
            return self.model_dump()
"""
NETWORK = """
    import torch

    def layers():
        torch.manual_seed(0)
        module = torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3))
        module.example_inputs = torch.randn(2, 8)
        print("a module that prints")
        return module
"""
GEMM = "gemm:64x48x32"
ARRAYS = {
    "networks": [GEMM],
    "methods": ["int8"],
    "accelerators": ["systolic-ws", "systolic-os"],
    "parameters": {"rows": [8, 16], "cols": [8, 16]},
}
FRONT = {"area_um2": "minimise", "cycles": "maximise"}


@pytest.fixture(autouse=True)
def toys(tmp_path, monkeypatch):
    """A machine with moods, installed as a package would be, for this process and for workers."""
    (tmp_path / "moody_machine.py").write_text(textwrap.dedent(MACHINE))
    (tmp_path / "sweep_networks.py").write_text(textwrap.dedent(NETWORK))
    info = tmp_path / "moody_machine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: moody-machine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[bitwright.accelerators]\nmoody = moody_machine:Moody\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.chdir(tmp_path)
    registry.refresh()
    yield tmp_path
    registry.refresh()
    for name in ("moody_machine", "sweep_networks"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def here():
    """A cluster in this process, with two workers."""
    with (
        distributed.LocalCluster(
            processes=False, n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0"
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


def moody(**parameters):
    return {"networks": [GEMM], "methods": ["int8"], "accelerators": ["moody"], "parameters": parameters}


def written(text, name="study.yaml"):
    Path(name).write_text(textwrap.dedent(text))
    return name


def refused_study(text, *more):
    return refused("sweep", written(text), *more)


def kept(file):
    """Numbers of the trials in a store, as SQL has them."""
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as connection:
        rows = connection.execute("SELECT value_json FROM trial_user_attributes").fetchall()
    return sorted(json.loads(row)["trial"] for (row,) in rows)


class TestStudies:
    def test_ranges_lists_and_conditions(self):
        study = read_study(
            {
                **ARRAYS,
                "options": {"x_bits": [7, 8]},
                "parameters": {
                    "rows": {"from": 8, "to": 64, "factor": 2},
                    "cols": {"from": 8, "to": 24, "step": 8},
                    "systolic-os.dram_bytes_per_cycle": {"from": 0.1, "to": 0.3, "step": 0.1},
                },
                "when": ["rows * cols <= 512", "rows in [8, 64] or accelerator == 'systolic-os'", "options.x_bits > 7"],
            }
        )
        points = list(grid(study))
        assert {dict(point.options)["x_bits"] for point in points} == {8}
        sizes = {
            (dict(p.parameters)["rows"], dict(p.parameters)["cols"]) for p in points if p.accelerator == "systolic-ws"
        }
        assert sizes == {(8, 8), (8, 16), (8, 24), (64, 8)}
        others = [point for point in points if point.accelerator == "systolic-os"]
        assert {dict(point.parameters)["dram_bytes_per_cycle"] for point in others} == {0.1, 0.2, 0.3}
        assert "dram_bytes_per_cycle" not in dict(points[0].parameters)
        assert len(points) == len(set(points)) == 4 + 3 * (3 + 3 + 1 + 1 + 1 - 1 + 1)

    def test_a_machine_of_its_own_goes_before_all(self):
        study = read_study({**ARRAYS, "parameters": {"rows": [8, 16], "systolic-os.rows": [32]}})
        rows = [(point.accelerator, dict(point.parameters)["rows"]) for point in grid(study)]
        assert rows == [("systolic-ws", 8), ("systolic-ws", 16), ("systolic-os", 32)]

    @pytest.mark.parametrize(
        ("change", "line", "says"),
        [
            ("parametres: {rows: [8]}", 4, "unknown key of a study 'parametres'. Did you mean 'parameters'"),
            ("seed: 1\nseed: 2", 5, "key 'seed' is given twice, first on line 4"),
            ("parameters:\n  rows: [8, 8]", 5, "rows has the value 8 twice"),
            ("parameters:\n  rows: [8, -8]", 5, "parameter rows of systolic-ws is -8"),
            ("parameters:\n  row: [8]", 5, "Did you mean 'rows'"),
            ("parameters:\n  rows: {from: 8, to: 4}", 5, "from must not be larger than to"),
            ("parameters:\n  rows: {from: 8, to: 64, step: 8, factor: 2}", 5, "both a step and a factor"),
            ("parameters:\n  clock_mhz: {from: 1.5, to: 4}", 5, "an interval without a step"),
            ("search: {kind: grid, trials: 5}", 4, "a grid has all its points"),
            ("search:\n  kind: random", 4, "key 'trials' is missing"),
            ("search: {kind: random, trials: 5, population: 3}", 4, "random has no population"),
            ("objectives: {cylces: minimise}", 4, "Did you mean 'cycles'"),
            ("objectives: {energy_pj: minimise, total_energy_pj: maximise}", 4, "is the same objective"),
            ("when: [rows < 3]", 4, "unknown name 'rows'"),
            ("when: ['open(1) == 2']", 4, "is not allowed"),
            ("options: {x_bits: 99}", 4, "option x_bits of int8"),
            ("task: top1\ndata: nowhere", 5, "there is no nowhere"),
        ],
    )
    def test_mistakes_have_lines(self, change, line, says):
        begin = f"networks: [{GEMM}]\nmethods: [int8]\naccelerators: [systolic-ws]\n"
        with pytest.raises(InputError) as error:
            read_study(written(begin + change + "\n"))
        assert f"study.yaml, line {line}" in str(error.value)
        assert says in str(error.value)

    def test_set_and_varied(self):
        text = f"""
            networks: [{GEMM}]
            methods: [int8]
            accelerators:
              - {{accelerator: systolic-ws, set: {{rows: 8}}}}
            parameters: {{rows: [8, 16]}}
        """
        assert "line 6: rows of systolic-ws is set to 8 and varied too" in refused_study(text)

    def test_a_condition_that_nothing_fulfils(self, here):
        with pytest.raises(InputError, match="no point of sweep fulfils"):
            sweep(read_study({**ARRAYS, "when": "rows > 99"}), dask=here)


class TestRows:
    def test_a_grid_is_what_compare_says(self, here):
        found = bitwright.sweep(ARRAYS, dask=here)
        frame = found.frame()
        assert frame["trial"].tolist() == list(range(8))
        row = frame[
            (frame["accelerator"] == "systolic-os") & (frame["parameters.rows"] == 16) & (frame["parameters.cols"] == 8)
        ]
        alone = bitwright.compare(GEMM, ["int8"], ["systolic-os"], parameters={"rows": 16, "cols": 8}).frame()
        for column in ("cycles", "total_energy_pj", "energy_dram_pj", "dram_read_bytes", "area_um2", "input"):
            assert row[column].tolist() == alone[column].tolist()
        assert row["energy_delay_pj_us"].item() == alone["total_energy_pj"].item() * alone["latency_us"].item()
        assert frame["fingerprint"].nunique() == 8
        assert json.loads(frame["versions"][0])["bitwright"] == importlib.metadata.version("bitwright")
        assert set(frame["seed"]) == {0}
        best = found.front()
        assert min(frame["cycles"]) == min(row["cycles"] for row in best)
        figure = found.plot()
        assert figure.layout.xaxis.title.text == "cycles"
        with pytest.raises(InputError, match="no row has the column 'colour'"):
            found.plot(y="colour")

    def test_networks_with_numbers_are_scored_once_and_shared(self, here):
        study = {
            **ARRAYS,
            "networks": [{"model": "sweep_networks:layers", "label": "toy"}],
            "methods": ["float", "int8"],
            "options": {"w_bits": [4, 8]},
            "limit": 16,
            "objectives": {"score": "maximise", "cycles": "minimise"},
        }
        frame = bitwright.sweep(study, dask=here).frame()
        assert len(frame) == 8 + 16
        assert frame[frame["method"] == "int8"].groupby("options.w_bits")["score"].nunique().tolist() == [1, 1]
        assert set(frame[frame["method"] == "float"]["status"]) == {"unsupported"}
        exact = bitwright.evaluate("sweep_networks:layers", "int8", options={"w_bits": 4}, limit=16)
        narrow = frame[(frame["method"] == "int8") & (frame["options.w_bits"] == 4)]
        assert set(narrow["score"]) == {exact.score.value}
        assert "seconds" not in frame

    def test_what_goes_wrong_stands_in_its_row(self, here):
        found = bitwright.sweep({**moody(mood=["good", "angry"], size=[1, 2])}, dask=here)
        frame = found.frame()
        assert frame["status"].tolist() == ["ok", "ok", "failed", "failed"]
        assert set(frame["reason"][2:]) == {"ValueError: not today"}
        small = bitwright.sweep(
            {**ARRAYS, "parameters": {"psum_bits": [32, 10000], "output_sram_kib": [1]}}, dask=here
        ).frame()
        assert small["status"].tolist() == ["ok", "infeasible", "ok", "infeasible"]
        assert "raise output_sram_kib to" in small["reason"][1]

    def test_random_points_are_distinct_and_do_not_depend_on_how_many(self, here):
        study = {
            **ARRAYS,
            "parameters": {"rows": {"from": 1, "to": 9}, "clock_mhz": {"from": 1.0, "to": 9.0, "log": True}},
        }
        more, fewer = (
            bitwright.sweep({**study, "search": {"kind": "random", "trials": trials}}, dask=here).frame()
            for trials in (9, 6)
        )
        pd.testing.assert_frame_equal(more.head(6), fewer)
        assert len(more.drop_duplicates(["accelerator", "parameters.rows", "parameters.clock_mhz"])) == 9
        few = {**moody(size=[1, 2, 3]), "search": {"kind": "random", "trials": 9}}
        assert sorted(bitwright.sweep(few, dask=here).frame()["parameters.size"]) == [1, 2, 3]

    def test_sums_of_costs_are_what_pairs_give(self):
        def event(count, price):
            return Event(component="mac", name="mac", count=count, unit="operation", price_pj=price, source="here")

        costs = [
            Cost(cycles=i, traffic_bytes={"dram_read": 0.1 * i}, events=(event(0.1 * i, i % 2),)) for i in range(1, 9)
        ]
        assert total_cost(costs) == sum(costs[1:], costs[0])
        assert [e.price_pj for e in total_cost(costs).events] == [1, 0]
        assert total_cost([]) == Cost()


GENETIC = {
    **moody(size={"from": 1, "to": 30}, clock_mhz=[1, 2, 3]),
    "objectives": {"latency_us": "minimise", "area_um2": "maximise"},
    "search": {"kind": "nsga2", "trials": 24, "population": 6},
    "when": "size != 7",
}


class TestGenetic:
    def test_one_worker_or_two_or_a_store_that_was_cut(self, here, tmp_path):
        whole = sweep(read_study(GENETIC), dask=here, place="whole.db")
        assert len(whole.rows) == 24
        assert 7 not in set(whole.frame()["parameters.size"])
        assert whole.frame()["same_as"].notna().any()
        # what a kill in the third population leaves: some of its trials, in any order
        with sqlite3.connect("whole.db") as connection:
            for (trial,) in connection.execute(
                "SELECT trial_id FROM trial_user_attributes"
                " WHERE json_extract(value_json, '$.trial') IN (12, 14, 15, 18, 23)"
            ).fetchall():
                for table in ("trial_user_attributes", "trial_params", "trial_values", "trials"):
                    connection.execute(f"DELETE FROM {table} WHERE trial_id = ?", (trial,))  # noqa: S608
        again = sweep(read_study(GENETIC), dask=here, place="whole.db")
        assert (again.computed, again.known) == (5, 19)
        assert again.rows == whole.rows

    def test_it_finds_better_points_than_it_began_with(self, here):
        study = {**GENETIC, "search": {"kind": "nsga2", "trials": 60, "population": 10}}
        frame = bitwright.sweep(study, dask=here).frame()
        assert frame["latency_us"].tail(20).mean() < frame["latency_us"].head(20).mean()


class TestStores:
    def test_a_second_run_computes_nothing_and_optuna_reads_it(self, here):
        first = sweep(read_study(ARRAYS), dask=here, place="a.db", results=Path("a.parquet"))
        before = Path("a.parquet").read_bytes()
        second = sweep(read_study(ARRAYS), dask=here, place="a.db", results=Path("a.parquet"))
        assert (first.computed, second.computed, second.known) == (8, 0, 8)
        assert second.rows == first.rows
        assert Path("a.parquet").read_bytes() == before
        pd.testing.assert_frame_equal(pd.read_parquet("a.parquet").convert_dtypes(), first.frame(), check_dtype=False)
        study = optuna.load_study(storage="sqlite:///a.db", study_name="sweep")
        seal = seal_of(read_study(ARRAYS))
        found = [seal.read(trial.user_attrs[ROW]) for trial in study.trials]
        trials = {row["trial"]: trial for row, trial in zip(found, study.trials, strict=True)}
        assert [trial.number for trial in study.trials] == list(range(8))
        for row in first.rows:
            assert trials[row["trial"]].values == [row["cycles"], row["total_energy_pj"]]
            assert trials[row["trial"]].params["parameters.rows"] == row["parameters.rows"]
        assert {trial.number for trial in study.best_trials} == {
            number for number, row in enumerate(found) if row in first.front()
        }

    def test_another_study_another_network_a_newer_version(self, here):
        sweep(read_study(ARRAYS), dask=here, place="a.db")
        before = Path("a.db").read_bytes()
        other = read_study({**ARRAYS, "parameters": {"rows": [8, 32], "cols": [8, 16]}})
        with pytest.raises(InputError, match=r"another study: parameters.rows was \[8, 16\] and is \[8, 32\]"):
            sweep(other, dask=here, place="a.db")
        with pytest.raises(InputError, match="is the store of sweep, not of mine"):
            sweep(read_study({**ARRAYS, "name": "mine"}), dask=here, place="a.db")
        with pytest.raises(InputError, match="seed was 0 and is 3"):
            sweep(read_study(ARRAYS, seed=3), dask=here, place="a.db")
        assert Path("a.db").read_bytes() == before
        study = optuna.load_study(storage="sqlite:///a.db", study_name="sweep")
        about = Seal().read(study.user_attrs[store.ABOUT])
        study.set_user_attr(store.ABOUT, Seal().put({**about, "inputs": {GEMM: "other"}}))
        with pytest.raises(InputError, match=f"made from another {GEMM}"):
            sweep(read_study(ARRAYS), dask=here, place="a.db")
        study.set_user_attr(store.ABOUT, {**about, "inputs": {GEMM: "other"}})
        with pytest.raises(InputError, match="damaged: what it says of its study is not as it was written"):
            sweep(read_study(ARRAYS), dask=here, place="a.db")
        study.set_user_attr(store.ABOUT, {"version": 1, "study": about["study"], "inputs": about["inputs"]})
        with pytest.raises(InputError, match=r"earlier bitwright .* whose rows carry no checksum"):
            sweep(read_study(ARRAYS), dask=here, place="a.db")
        study.set_user_attr(store.ABOUT, Seal().put({**about, "version": store.VERSION + 1}))
        with pytest.raises(InputError, match="written by a newer bitwright"):
            sweep(read_study(ARRAYS), dask=here, place="a.db")
        with sqlite3.connect("a.db") as connection:
            connection.execute("UPDATE alembic_version SET version_num = 'v99.0.0.a'")
        with pytest.raises(InputError, match="made by another version of Optuna"):
            sweep(read_study(ARRAYS), dask=here, place="a.db")

    def test_tables_of_another_optuna(self, here, monkeypatch):
        """Where its tables have other columns, rows are written in Optuna's own way."""
        sweep(read_study(ARRAYS), dask=here, place="a.db")

        def unknown_column(*_):
            raise TypeError("'_datetime_start_utc' is an invalid keyword argument for TrialModel")

        with monkeypatch.context() as patch:
            patch.setattr(store.Store, "_write_at_once", unknown_column)
            found = sweep(read_study(ARRAYS), dask=here, place="b.db")
        assert (found.computed, kept("b.db")) == (8, list(range(8)))
        assert found.rows == sweep(read_study(ARRAYS), dask=here, place="a.db").rows

    def test_two_at_once(self, here):
        study = read_study(ARRAYS)
        with store.opened("a.db", study), pytest.raises(InputError, match=r"another sweep is at work on .*a\.db"):
            sweep(study, dask=here, place="a.db")

    def test_a_full_disk_keeps_what_there_is(self, here, monkeypatch):
        study = read_study(moody(size={"from": 1, "to": 400}))
        original = database.storage

        def small(address, study):
            made = original(address, study)
            event = importlib.import_module("sqlalchemy.event")
            event.listen(made.engine, "connect", lambda connection, _: connection.execute("PRAGMA max_page_count = 90"))
            made.engine.dispose()
            return made

        monkeypatch.setattr(store, "storage", small)
        with pytest.raises(InputError, match="cannot be used: database or disk is full"):
            sweep(study, dask=here, place="a.db", results=Path("a.parquet"))
        there = kept("a.db")
        assert 0 < len(there) < 400
        assert sorted(pd.read_parquet("a.parquet")["trial"]) == there
        monkeypatch.setattr(store, "storage", original)
        assert sweep(study, dask=here, place="a.db").computed == 400 - len(there)
        assert kept("a.db") == list(range(400))

    @pytest.mark.parametrize(
        ("place", "says"),
        [
            ("nowhere/a.db", "folder .*nowhere of the store does not exist"),
            ("mysql://u:secret@host/x", r"a store is a file, .* not mysql://u:[*]+@host/x"),
            ("text.db", "text.db is not a sweep's store"),
            (".", "is no file"),
        ],
    )
    def test_places_that_are_no_stores(self, place, says, here):
        Path("text.db").write_text("not a database")
        with pytest.raises(InputError, match=says):
            sweep(read_study(ARRAYS), dask=here, place=place)

    def test_a_database_that_is_not_there(self):
        with pytest.raises(InputError, match=r"postgresql.*(cannot be used|is not installed)"):
            sweep(read_study(ARRAYS), place="postgresql://nobody@127.0.0.1:1/none")


class TestCommand:
    def test_a_cluster_that_is_not_there(self, monkeypatch):
        monkeypatch.setattr(pool, "CONNECT_SECONDS", 1)
        text = f"networks: [{GEMM}]\nmethods: [int8]\naccelerators: [moody]\n"
        assert "cannot be reached" in refused_study(text, "--dask", "tcp://127.0.0.1:1")
        assert "give one of them" in refused_study(text, "--dask", "tcp://127.0.0.1:1", "--workers", "2")
        assert "results are written as .parquet" in refused_study(text, "--results", "a.csv")

    def test_json_through_a_cluster_by_address(self):
        study = written(f"networks: [{GEMM}]\nmethods: [int8]\naccelerators: [moody]\nparameters: {{size: [1, 2]}}\n")
        options = {"processes": False, "n_workers": 1, "threads_per_worker": 2, "dashboard_address": "127.0.0.1:0"}
        with distributed.LocalCluster(**options, protocol="tcp://") as cluster:
            result = run("sweep", study, "--dask", cluster.scheduler_address, "--json")
        assert result.exit_code == 0, result.stderr
        found = json.loads(result.stdout)
        assert found["statuses"] == {"ok": 2}
        assert [row["cycles"] for row in found["rows"]] == [64 * 48 * 32 + 1, 64 * 48 * 32 + 2]
        assert len(pd.read_parquet("study.parquet")) == 2
        assert kept("study.db") == [0, 1]

    def test_results_are_in_the_current_folder(self, monkeypatch):
        """Not beside the study, which may be in an installed or a shared folder."""
        Path("studies").mkdir()
        text = f"networks: [{GEMM}]\nmethods: [int8]\naccelerators: [moody]\nparameters: {{size: [1, 2]}}\n"
        Path("studies/mine.yaml").write_text(text)
        options = {"processes": False, "n_workers": 1, "threads_per_worker": 2, "dashboard_address": "127.0.0.1:0"}
        with distributed.LocalCluster(**options, protocol="tcp://") as cluster:
            result = run("sweep", "studies/mine.yaml", "--dask", cluster.scheduler_address)
        assert result.exit_code == 0, result.stderr
        assert [path.name for path in Path("studies").iterdir()] == ["mine.yaml"]
        assert kept("mine.db") == [0, 1]
        assert len(pd.read_parquet("mine.parquet")) == 2
        assert "Store: mine.db; all rows: mine.parquet" in result.stdout

    def test_a_network_nobody_knows(self, here):
        with pytest.raises(InputError, match="Did you mean 'bert-base'"):
            sweep(read_study({**ARRAYS, "networks": ["bert-bass"]}), dask=here)
        with pytest.raises(InputError, match="scores are an objective"):
            sweep(read_study({**ARRAYS, "objectives": {"score": "maximise"}}), dask=here)

    def test_the_example(self):
        example = Path(__file__).parents[1] / "examples" / "arrays.yaml"
        study = read_study(example)
        points = list(grid(study))
        assert len(points) == 8 * (2 + 1 + 2)
        assert all(dict(p.parameters)["rows"] * dict(p.parameters)["cols"] <= 2048 for p in points)
        page = example.parents[1].joinpath("docs", "studies", "sweep.md").read_text(encoding="utf-8")
        shown = page.partition("```yaml\n")[2].partition("```")[0]
        assert strict_yaml.parse(shown, file="sweep.md").data == strict_yaml.read(example).data

    @pytest.mark.parametrize("package", ["optuna", "distributed"])
    def test_a_package_that_is_missing(self, package, monkeypatch):
        monkeypatch.setitem(sys.modules, package, None)
        extra.optuna.cache_clear()
        extra.distributed.cache_clear()
        text = f"networks: [{GEMM}]\nmethods: [int8]\naccelerators: [moody]\n"
        assert f"sweeps need {package}, which is not installed; pip install 'bitwright[sweep]'" in refused_study(text)


class TestDeath:
    def test_sigkill_at_any_moment(self, here):
        """The command is killed after its first rows, and run again: the same rows, bit for bit, none of them twice."""
        text = f"""
            networks: [{GEMM}]
            methods: [int8]
            accelerators: [{{accelerator: moody, set: {{seconds: 0.02}}}}]
            parameters: {{size: {{from: 1, to: 120}}}}
        """
        study = written(text)
        command = [sys.executable, "-m", "bitwright", "sweep", study, "--workers", "1"]
        killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 400  # of a machine that has other work
        while not (Path("study.db").exists() and _count("study.db")):
            assert killed.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        there = kept("study.db")
        assert 0 < len(there) < 120
        again = sweep(read_study(study), dask=here, place="study.db", results=Path("study.parquet"))
        assert again.computed == 120 - len(there)
        assert kept("study.db") == list(range(120))
        sweep(read_study(study), dask=here, place="whole.db", results=Path("whole.parquet"))
        assert Path("study.parquet").read_bytes() == Path("whole.parquet").read_bytes()

    def test_workers_that_die(self, tmp_path):
        """One trial kills every worker and fails, one kills a worker once; the others never notice."""
        once = str(tmp_path / "once")
        study = moody(mood=["good", "deadly once", "deadly"], size={"from": 1, "to": 3})
        study["accelerators"] = [{"accelerator": "moody", "set": {"flag": once}}]
        study["when"] = ["mood != 'deadly' or size == 2"]
        found = sweep(read_study(study), place="a.db", workers=2).frame()
        assert found["status"].tolist() == ["ok"] * 6 + ["failed"]
        assert "died" in found["reason"].tolist()[-1]
        assert found[["fingerprint", "seed", "versions"]].notna().all(axis=None)
        assert kept("a.db") == list(range(7))


def _count(file):
    try:
        return len(kept(file))
    except sqlite3.OperationalError:
        return 0
