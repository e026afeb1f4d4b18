"""Stores of sweeps in PostgreSQL, held against a real server: its lock, and everything that a connection may suffer."""

import functools
import json
import sys
import time
from pathlib import Path

import pytest
from tests import postgres
from tests.test_cli import run
from tests.test_stores import BUSY, rows

from bitwright.errors import InputError
from bitwright.studies.sweep import read_study
from bitwright.studies.sweep.run import sweep
from bitwright.studies.sweep.soundness import DamagedStoreError
from bitwright.studies.sweep.store import opened

distributed = pytest.importorskip("distributed")
pytest.importorskip("optuna")
pytest.importorskip("psycopg")
if postgres.programs() is None:
    pytest.skip("no PostgreSQL server is installed (Debian's package postgresql has one)", allow_module_level=True)

COUNT = 64


@pytest.fixture(scope="module")
def server():
    with postgres.serving() as found:
        yield found


@pytest.fixture(scope="module")
def here():
    with (
        distributed.LocalCluster(
            processes=False, n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0", protocol="tcp://"
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


def named(name):
    """A study of 64 points, four tasks, under a name of its own in the server's one database."""
    return read_study(
        {
            "name": name,
            "networks": ["gemm:64x48x32"],
            "methods": ["int8"],
            "accelerators": ["systolic-ws"],
            "parameters": {"rows": {"from": 1, "to": 8}, "cols": {"from": 1, "to": 8}},
        }
    )


def released(server):
    """Wait until the server has noticed that nobody holds a lock any more."""
    deadline = time.monotonic() + postgres.SECONDS
    while server.holders():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def once(happens):
    """A sweep's progress that makes something happen after the first rows."""
    done = []

    def progress(_, computed, __):
        if computed and not done:
            done.append(computed)
            happens()

    return progress


class TestLock:
    def test_a_second_sweep_is_refused_and_another_study_is_not(self, server):
        study, other = named("mine"), named("other")
        with opened(server.address(), study) as first, opened(server.address(), other):
            with pytest.raises(InputError, match=BUSY) as error, opened(server.address(), study):
                pass
            assert "heim" not in str(error.value)
            first.begin({})
            first.add(*rows(study, 0, 1))
        with opened(server.address(), study) as again:
            assert list(again.rows) == [0, 1]
            assert again.rows[1] == rows(study, 1)[1][0]

    def test_its_backend_is_terminated(self, server):
        """The first sweep stops before its next row; the second gets each trial once."""
        study = named("terminated")
        released(server)
        with opened(server.address(), study) as first:
            first.begin({})
            first.add(*rows(study, 0, 1))
            (backend,) = server.holders()
            assert server.ask("SELECT pg_terminate_backend(%s)", backend) == [(True,)]
            released(server)
            with opened(server.address(), study) as second:
                second.begin({})
                second.add(*rows(study, 2, 3))
                with pytest.raises(InputError, match=r"terminating connection due to administrator command.* goes on"):
                    first.add(*rows(study, 2, 3))
                with pytest.raises(InputError, match=r"the connection to .* was lost, and with it the lock"):
                    first.add(*rows(study, 4))
                second.add(*rows(study, 4))
        assert server.trials("terminated") == [0, 1, 2, 3, 4]

    def test_a_lock_that_is_not_the_connection_s(self, server):
        """Poolers that hand statements to several backends keep no advisory lock: the store's own word does."""
        study = named("pooled")
        with opened(server.address(), study) as first:
            first.begin({})
            first.add(*rows(study, 0))
            with first._storage.engine.connect() as connection:
                connection.exec_driver_sql("SELECT pg_advisory_unlock_all()")
                connection.commit()
            with opened(server.address(), study) as second:
                with pytest.raises(InputError, match=BUSY):
                    first.add(*rows(study, 1))
                second.begin({})
                second.add(*rows(study, 1))
        assert server.trials("pooled") == [0, 1]


class TestConnections:
    def whole(self, server, study, here, before):
        """What is run again ends with every trial once, and the rows of a sweep that nothing happened to."""
        assert 0 < len(before) < COUNT
        again = sweep(study, dask=here, place=server.address())
        assert (again.known, again.computed) == (len(before), COUNT - len(before))
        assert server.trials(study.name) == list(range(COUNT))
        assert again.rows == sweep(study, dask=here).rows

    def test_the_server_is_killed_and_started_again(self, server, here):
        study = named("restarted")
        with pytest.raises(InputError, match=r"the store .* cannot be used: .*goes on from there"):
            sweep(study, dask=here, place=server.address(), progress=once(server.restart))
        self.whole(server, study, here, server.trials("restarted"))

    def test_a_proxy_drops_the_connection(self, server, here, tmp_path):
        study, proxy, kept = named("dropped"), postgres.Proxy(server.port), tmp_path / "kept.parquet"
        try:
            with pytest.raises(InputError, match=r"the store .* cannot be used: .*goes on from there"):
                sweep(study, dask=here, place=server.address(proxy.port), results=kept, progress=once(proxy.cut))
        finally:
            proxy.close()
        assert kept.exists()
        released(server)
        self.whole(server, study, here, server.trials("dropped"))

    @pytest.mark.parametrize("swallowed", [("questions", "answers"), ("answers",)])
    def test_a_proxy_goes_silent(self, server, here, monkeypatch, swallowed):
        """It stays, acknowledges, and hands nothing on: the sweep ends, also where what it wrote is there."""
        study, proxy = named(f"silent {len(swallowed)}"), postgres.Proxy(server.port)
        began = []

        def silence(patience):
            patience.setattr("bitwright.studies.sweep.answers.ANSWER_SECONDS", 1.0)
            proxy.swallows.update(swallowed)
            began.append(time.monotonic())

        try:
            with monkeypatch.context() as patience, pytest.raises(InputError, match="did not answer within 1 s"):
                sweep(
                    study,
                    dask=here,
                    place=server.address(proxy.port),
                    progress=once(functools.partial(silence, patience)),
                )
            assert 1 <= time.monotonic() - began[0] < postgres.SECONDS / 2
            if "questions" in swallowed:  # the server has not heard of the end, and keeps the lock
                with pytest.raises(InputError, match=BUSY), opened(server.address(), study):
                    pass
        finally:
            proxy.close()
        released(server)
        self.whole(server, study, here, server.trials(study.name))

    def test_a_slow_answer_is_waited_for(self, server, monkeypatch):
        """Each statement has its own time, and none has it when it is over."""
        monkeypatch.setattr("bitwright.studies.sweep.answers.ANSWER_SECONDS", 3.0)
        study = named("slow")
        with opened(server.address(), study) as store:
            store.begin({})
            for n in range(4):
                time.sleep(0.9)
                store.add(*rows(study, n))
        assert server.trials("slow") == [0, 1, 2, 3]


class TestDamages:
    def test_rows_that_sql_altered(self, server):
        study, (points, records) = named("altered"), rows(named("altered"), *range(4))
        with opened(server.address(), study) as store:
            store.begin({})
            store.add(points, records)
        ours = "trial_id IN (SELECT trial_id FROM trials JOIN studies USING (study_id) WHERE study_name = 'altered')"
        for change, says, sound in (
            (
                "replace(value_json, '\"cycles\": 101', '\"cycles\": 11')",
                "1 of its 4 rows are not as they were",
                [0, 2, 3],
            ),
            ("replace(value_json, '\"trial\": 2', '\"trial\": 2]')", "what it holds cannot be read", [0, 3]),
        ):
            server.ask(f"UPDATE trial_user_attributes SET value_json = {change} WHERE {ours}")  # noqa: S608
            with pytest.raises(DamagedStoreError, match=says) as error, opened(server.address(), study):
                pass
            assert error.value.rows == {n: records[n] for n in sound}
            released(server)


class TestSecrets:
    def test_what_a_command_prints_and_keeps(self, server, here, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        study = "networks: ['gemm:64x48x32']\nmethods: [int8]\naccelerators: [systolic-ws]\nname: told\n"
        Path("study.yaml").write_text(study)
        in_query = f"postgresql://127.0.0.1:{server.port}/postgres?user=me&password={postgres.WRITTEN}"
        for place, form in ((server.address(), "me:***@"), (in_query, "password=***")):
            words = ["sweep", "study.yaml", "--dask", here.scheduler.address, "--store", place, "--json"]
            words += ["--out", "rows.csv", "--overwrite"]
            monkeypatch.setattr(sys, "argv", ["bitwright", *words])
            result = run(*words)
            assert result.exit_code == 0, result.stderr
            record = json.loads(result.stdout)
            assert form in record["store"]
            assert form in record["provenance"]["command"]
            written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
            for text in (result.stdout, result.stderr, written.decode(errors="replace")):
                assert "heim" not in text
        kept = (f"SELECT value_json FROM {of}_user_attributes" for of in ("trial", "study"))  # noqa: S608
        assert not [values for (values,) in server.ask(" UNION ".join(kept)) if "heim" in values]

    @pytest.mark.parametrize("form", ["postgresql://me:{}@{}/postgres", "postgresql://me@{1}/postgres?password={0}"])
    def test_what_the_driver_says(self, server, form):
        for place in (f"127.0.0.1:{server.port}", "127.0.0.1:1", "nowhere.invalid:5432"):
            for word in ("falsch-geheim", "falsch%2Dgeheim"):
                with pytest.raises(InputError, match=r"the store postgresql.* cannot be used") as error:  # noqa: SIM117
                    with opened(form.format(word, place), named("x")):
                        pass
                assert "geheim" not in str(error.value)

    def test_a_database_that_is_not_there(self, server):
        with pytest.raises(InputError, match='database "none" does not exist') as error:  # noqa: SIM117
            with opened(server.address(database="none"), named("x")):
                pass
        assert "heim" not in str(error.value)
