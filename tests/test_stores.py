"""Stores of sweeps in files: names that go where they say, and a lock for each file whatever it is called."""

import contextlib
import os
import sqlite3
from pathlib import Path

import pytest

from bitwright.errors import InputError
from bitwright.studies.sweep import read_study
from bitwright.studies.sweep.address import address_of
from bitwright.studies.sweep.points import grid
from bitwright.studies.sweep.store import opened

pytest.importorskip("optuna")

STUDY = {
    "networks": ["gemm:64x48x32"],
    "methods": ["int8"],
    "accelerators": ["systolic-ws"],
    "parameters": {"rows": [8, 16], "cols": [8, 16, 24, 32]},
}
NAMES = ("a.db", "what?mode=ro", "100%25 of it.db", "a#b.db", "a b;c&d=e", "{x}{}.db", "file:a.db", ":memory:", "é€.db")
BUSY = "another sweep is at work on"


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def study():
    return read_study(STUDY)


def rows(study, *numbers):
    """Points of a study by number, and rows for them as a sweep makes them."""
    points = list(grid(study))
    records = [
        {"trial": n, **points[n].columns, "status": "ok", "cycles": 100 + n, "total_energy_pj": n / 3} for n in numbers
    ]
    return [points[n] for n in numbers], records


def trials(file):
    """Numbers of the trials in a file, as SQL has them."""
    with contextlib.closing(sqlite3.connect(file)) as connection:
        found = connection.execute("SELECT json_extract(value_json, '$.trial') FROM trial_user_attributes").fetchall()
    return sorted(number for (number,) in found)


class TestNames:
    @pytest.mark.parametrize("form", ["{}", "sqlite:///{}", "sqlite:///{here}/{}", "{here}/{}"])
    def test_the_file_named_is_the_file(self, form, study, tmp_path):
        for name in NAMES:
            with opened(form.format(name, here=tmp_path), study) as store:
                store.begin({})
                store.add(*rows(study, 0))
            assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, f"{name}.lock"])
            with opened(name, study) as again:
                assert list(again.rows) == [0]
            Path(name).unlink()
            Path(f"{name}.lock").unlink()

    def test_names_that_are_none(self, study, tmp_path):
        os.mkfifo("pipe.db")
        Path("circle.db").symlink_to("circle.db")
        Path("dangling.db").symlink_to("nowhere/a.db")
        for name, says in (
            ("pipe.db", "is no file"),
            ("", "is no file"),
            ("sqlite:///", "is no file"),
            ("circle.db", "cannot be the file of a store"),
            ("dangling.db", "folder .*nowhere of the store does not exist"),
            ("a\0b", "cannot be the file of a store"),
            ("a" * 300, "cannot be the file of a store"),
            ("postgresql://u:p@w@host/db", "its host has an @; .*%40"),
            ("postgresql://u:pw@host:port/db", "it cannot be taken apart"),
            ("postgresql+asyncpg://u:pw@host/db", "the driver asyncpg; sweeps use psycopg, psycopg2, pg8000"),
            ("mysql://u:pw@host/db", "a store is a file, "),
        ):
            with pytest.raises(InputError, match=says) as error, opened(name, study):
                pass
            assert "pw" not in str(error.value)
            assert "\n" not in str(error.value)
        assert "secret" not in repr(address_of("postgresql://u:secret@host/db?password=secret"))
        assert len(list(tmp_path.iterdir())) == 3


class TestLocks:
    def test_one_sweep_per_file_by_whatever_name(self, study, tmp_path):
        Path("deep").mkdir()
        Path("other").symlink_to("deep")
        Path("link.db").symlink_to("deep/a.db")
        Path("second.db").symlink_to("link.db")
        names = ("deep/a.db", "link.db", "second.db", "other/a.db", str(tmp_path / "deep/a.db"), "sqlite:///link.db")
        for first in names:
            with opened(first, study):
                for second in names:
                    with pytest.raises(InputError, match=BUSY), opened(second, study):
                        pass
        assert not Path("a.db").exists()

    def test_hard_links_are_refused(self, study):
        """SQLite keeps a journal beside each name, so that one that was killed is not mended by the other."""
        with opened("a.db", study):
            Path("b.db").hardlink_to("a.db")
            with pytest.raises(InputError, match=r"b\.db has 2 names \(hard links\)"), opened("b.db", study):
                pass
        Path("b.db").unlink()
        with opened("a.db", study):
            pass

    def test_a_lock_that_is_lost_stops_before_the_next_row(self, study):
        """Whoever removed its file: the first sweep notices what the second wrote, in the transaction that writes."""
        with opened("a.db", study) as first:
            first.begin({})
            first.add(*rows(study, 0, 1))
            Path("a.db.lock").unlink()
            with opened("a.db", study) as second:
                assert list(second.rows) == [0, 1]
                with pytest.raises(InputError, match=BUSY):
                    first.add(*rows(study, 2, 3))
                second.begin({})
                second.add(*rows(study, 2, 3))
            with pytest.raises(InputError, match=BUSY):
                first.add(*rows(study, 4))
        assert trials("a.db") == [0, 1, 2, 3]

    def test_one_that_lost_its_store_while_it_began(self, study):
        with opened("a.db", study) as first:
            Path("a.db.lock").unlink()
            with opened("a.db", study):  # which begins the study anew: it had nothing yet
                pass
            with pytest.raises(InputError, match=BUSY):
                first.begin({})
