"""Stores of sweeps in files: names that go where they say, a lock for each file whatever it is called, damages."""

import contextlib
import os
import random
import shutil
import sqlite3
from pathlib import Path

import pandas as pd
import pytest

from bitwright.errors import InputError
from bitwright.studies.sweep import read_study
from bitwright.studies.sweep.address import address_of
from bitwright.studies.sweep.points import grid
from bitwright.studies.sweep.run import sweep
from bitwright.studies.sweep.soundness import DamagedStoreError
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
        for name in NAMES if form == "{}" else NAMES[1:3]:
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


MUTANTS = 60
TEXTS = {
    "trial_user_attributes": ("value_json", "key"),
    "study_user_attributes": ("value_json", "key"),
    "trial_params": ("param_value", "param_name", "distribution_json"),
    "trial_values": ("value", "objective", "value_type"),
    "trials": ("state", "number", "study_id", "datetime_complete"),
    "studies": ("study_name",),
    "study_directions": ("direction", "objective"),
    "version_info": ("schema_version", "library_version"),
    "alembic_version": ("version_num",),
}
"""What a row of a store has in SQL, beside the numbers that join tables."""


def mutate(file, rng):
    """Damage a store as a disk does, or as somebody with SQL."""
    kind = rng.choice(("bytes", "bit", "page", "cut", "swap", "sql", "sql", "sql", "digit", "digit"))
    data = bytearray(file.read_bytes())
    pages = len(data) // 4096
    if kind == "bytes":
        for _ in range(rng.randint(1, 20)):
            data[rng.randrange(len(data))] = rng.randrange(256)
    elif kind == "bit":
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == "page":
        start = rng.randrange(pages) * 4096
        data[start : start + 4096] = bytes(4096) if rng.random() < 0.5 else rng.randbytes(4096)
    elif kind == "cut":
        del data[rng.randrange(17, len(data)) :]
    elif kind == "swap":
        a, b = (rng.randrange(pages) * 4096 for _ in range(2))
        data[a : a + 4096], data[b : b + 4096] = data[b : b + 4096], data[a : a + 4096]
    elif kind == "digit":  # where rows are texts
        places = [i for i in range(4096, len(data)) if chr(data[i]).isdigit()]
        data[rng.choice(places)] = ord(str(rng.randrange(10)))
    file.write_bytes(data)
    if kind == "sql":
        _mutate_sql(file, rng)
    return kind


def _mutate_sql(file, rng):
    table = rng.choice(list(TEXTS))
    column = rng.choice(TEXTS[table])
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        found = connection.execute(f"SELECT rowid, {column} FROM {table}").fetchall()  # noqa: S608
        at, value = rng.choice(found)
        text = str(value)
        i = rng.randrange(len(text) + 1)
        new = rng.choice(
            (None, "", "{}", "[]", "null", "-1", "1e999", 2**62, b"\xff", text[:i], text[:i] + "7" + text[i + 1 :])
        )
        if rng.random() < 0.2:
            connection.execute(f"DELETE FROM {table} WHERE rowid = ?", (at,))  # noqa: S608
        else:
            connection.execute(f"UPDATE OR IGNORE {table} SET {column} = ? WHERE rowid = ?", (new, at))  # noqa: S608


def outcome(file, study, original):
    """What becomes of a mutated store: refused, or read as far as it is as it was; anything else fails."""
    try:
        with opened(file, study) as store:
            for number, row in store.rows.items():
                assert row == original[number]
            store.begin({})
            missing = [number for number in original if number not in store.rows]
            if missing:
                store.add(*rows(study, *missing))
            assert store.rows == original
        return "whole" if not missing else "rows missing"
    except InputError as error:
        found = error
    assert "\n" not in str(found)
    if not isinstance(found, DamagedStoreError):
        return "refused"
    for number, row in found.rows.items():
        assert row == original[number]
    return "damaged"


@pytest.fixture(scope="module")
def sound(study, tmp_path_factory):
    file = tmp_path_factory.mktemp("sound") / "a.db"
    points, records = rows(study, *range(8))
    with opened(file, study) as store:
        store.begin({})
        store.add(points, records)
    return file, {record["trial"]: record for record in records}


class TestDamages:
    def test_any_damage_is_refused_or_changes_nothing(self, study, sound):
        file, original = sound
        rng, place, found = random.Random(0), Path("b.db"), set()  # noqa: S311
        for _ in range(MUTANTS):
            shutil.copy(file, place)
            mutate(place, rng)
            found.add(outcome(place, study, original))
        assert found >= {"damaged", "refused", "whole"}

    def test_an_altered_row_is_refused_with_what_can_be_saved(self, study, sound):
        file, original = sound
        shutil.copy(file, "b.db")
        with contextlib.closing(sqlite3.connect("b.db")) as connection, connection:
            connection.execute(
                "UPDATE trial_user_attributes SET value_json = replace(value_json, '\"cycles\": 103', '\"cycles\": 13')"
            )
        before = Path("b.db").read_bytes()
        says = (
            r"b\.db is damaged: 1 of its 8 rows are not as they were written; 7 rows of it are sound and now in "
            r".*b\.sound\.parquet; keep it as it is, and name another --store"
        )
        with pytest.raises(InputError, match=says):
            sweep(study, place="b.db", results=Path("b.parquet"))
        assert Path("b.db").read_bytes() == before
        assert not Path("b.parquet").exists()
        frame = pd.read_parquet("b.sound.parquet")
        assert frame["trial"].tolist() == [n for n in range(8) if n != 3]
        assert frame["cycles"].tolist() == [original[n]["cycles"] for n in range(8) if n != 3]

    def test_what_is_before_and_after_a_lost_page_is_saved(self, study):
        points, records = rows(study, *range(8))
        with opened("a.db", study) as store:
            store.begin({})
            store.add(points, [{**record, "reason": "x" * 3000} for record in records])  # a page each, and more
        data = bytearray(Path("a.db").read_bytes())
        where = data.index(b'"trial": 4')
        page = where // 4096 * 4096
        data[page : page + 4096] = bytes(4096)
        Path("a.db").write_bytes(data)
        with pytest.raises(DamagedStoreError, match="is damaged") as error, opened("a.db", study):
            pass
        assert {0, 1, 7} <= set(error.value.rows)
        assert 4 not in error.value.rows
