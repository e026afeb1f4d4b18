"""Where a sweep's rows are kept: a study of Optuna's in a SQL database, a trial per row.

A trial has Optuna's parameters and values, and the row itself as the attribute `bitwright_row`; the study says what it
is a sweep of, and which process is at work on it. Rows are written in one transaction per task, which begins with the
renewal of that word: a process that is killed leaves whole rows or none, and one whose store another took over, for
whatever reason its lock did not hold, writes nothing more.
"""

import contextlib
import datetime
import functools
import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bitwright.errors import BitwrightError, InputError
from bitwright.studies.sweep.address import Address, address_of
from bitwright.studies.sweep.database import check_file, explained, file_lock, storage, taken
from bitwright.studies.sweep.extra import optuna
from bitwright.studies.sweep.metrics import MAXIMISE, values_of
from bitwright.studies.sweep.points import Point, Record
from bitwright.studies.sweep.proposals import distributions
from bitwright.studies.sweep.soundness import (
    ROW,
    DamagedStoreError,
    Seal,
    check_whole,
    looked_at,
    rows_of,
    saved,
    seal_of,
)
from bitwright.studies.sweep.study import Study

VERSION = 2
ABOUT, AT_WORK = "bitwright_sweep", "bitwright_at_work"


class Store:
    """Rows by number, in a database or, without one, in memory only."""

    def __init__(self, study: Study, address: Address, storage: Any = None, made: Any = None) -> None:
        self.study, self.name, self._address, self._storage, self._made = study, address.shown, address, storage, made
        self.rows: dict[int, Record] = {}
        self._count = 0
        self._seal = seal_of(study)
        self._token = uuid.uuid4().hex

    def take(self) -> None:
        """Take up what is there, and say that this process is at work."""
        trials = self._made.get_trials(deepcopy=False)
        self._count = len(trials)
        self.rows, unsound = rows_of(self.study, trials)
        if unsound:
            what = f"{unsound:,} of its {self._count:,} rows are not as they were written"
            raise DamagedStoreError(self.name, what, self.rows)
        self._made.set_user_attr(AT_WORK, self._token)

    @property
    def about(self) -> Mapping[str, Any]:
        """What the store says of its study; empty if it is new."""
        found = {} if self._made is None else self._made.user_attrs.get(ABOUT, {})
        return found if isinstance(found, dict) else {}

    def begin(self, inputs: Mapping[str, str]) -> None:
        """Say, once, what the study is and what its inputs are; refuse other inputs.

        Raises
        ------
        InputError
            If a network or the data are not what the store's rows were made from.
        """
        if self._made is None:
            return
        with self.guarded():
            self._check_at_work()
        before = self.about.get("inputs")
        if before is None:
            about = {"version": VERSION, "study": self.study.identity(), "inputs": dict(inputs)}
            with self.guarded():
                self._made.set_user_attr(ABOUT, Seal().put(about))
            return
        for label, value in inputs.items():
            if before.get(label) != value:
                raise InputError(
                    f"the rows in {self.name} were made from another {label}, with other contents; name another --store"
                )

    def add(self, points: Sequence[Point], records: Sequence[Record]) -> None:
        """Keep rows, all of them or none; when this returns they outlive the process.

        Raises
        ------
        InputError
            If the database cannot be written to; what it had stays.
        """
        if self._storage is not None:
            with self.guarded():
                self._write([self._trial(point, record) for point, record in zip(points, records, strict=True)])
        self.rows |= {record["trial"]: record for record in records}

    def _trial(self, point: Point, record: Record) -> Any:
        """A finished trial as Optuna has it; one without all values has failed."""
        values = values_of(record, self.study.objectives) if record["status"] == "ok" else None
        columns = point.columns
        states = optuna().trial.TrialState
        return optuna().trial.create_trial(
            state=states.FAIL if values is None else states.COMPLETE,
            values=values,
            params=columns,
            distributions=distributions(self.study, point),
            user_attrs={ROW: self._seal.put(record)},
        )

    def _write(self, trials: Sequence[Any]) -> None:
        """All in one transaction; where Optuna's tables are not as here, one after another in its own slower way."""
        try:
            self._write_at_once(trials)
        except (ImportError, AttributeError, TypeError):
            for trial in trials:
                self._check_at_work()
                self._made.add_trial(trial)
        self._count += len(trials)

    def _check_at_work(self) -> None:
        """Refuse to go on where another process has taken the store over."""
        try:
            token = self._made.user_attrs.get(AT_WORK)
        except KeyError:  # the study is gone
            token = None
        if token != self._token:
            raise taken(self.name)

    def _write_at_once(self, trials: Sequence[Any]) -> None:
        """Through Optuna's tables; its public way takes a transaction for each trial, and some 10 ms more."""
        from optuna.distributions import distribution_to_json
        from optuna.storages._rdb import models
        from sqlalchemy import insert, update

        about = models.StudyUserAttributeModel
        mine = {"study_id": self._made._study_id, "key": AT_WORK, "value_json": json.dumps(self._token)}
        now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
        session = self._storage.scoped_session()
        try:
            renewal = update(about).filter_by(**mine).values(value_json=mine["value_json"])
            if session.execute(renewal).rowcount != 1:
                raise taken(self.name)
            kept = [
                models.TrialModel(
                    study_id=self._made._study_id,
                    number=self._count + i,
                    state=trial.state,
                    _datetime_start_utc=now,
                    _datetime_complete_utc=now,
                )
                for i, trial in enumerate(trials)
            ]
            session.add_all(kept)
            session.flush()
            params, values, rows = [], [], []
            for model, trial in zip(kept, trials, strict=True):
                for name, value in trial.params.items():
                    distribution = trial.distributions[name]
                    params.append(
                        {
                            "trial_id": model.trial_id,
                            "param_name": name,
                            "param_value": distribution.to_internal_repr(value),
                            "distribution_json": distribution_to_json(distribution),
                        }
                    )
                for i, value in enumerate(trial.values or ()):
                    stored, kind = models.TrialValueModel.value_to_stored_repr(value)
                    values.append({"trial_id": model.trial_id, "objective": i, "value": stored, "value_type": kind})
                row = json.dumps(trial.user_attrs[ROW])
                rows.append({"trial_id": model.trial_id, "key": ROW, "value_json": row})
            for table, content in (
                (models.TrialParamModel, params),
                (models.TrialValueModel, values),
                (models.TrialUserAttributeModel, rows),
            ):
                if content:
                    session.execute(insert(table), content)
            session.commit()
        except BaseException:
            session.rollback()
            raise
        finally:
            session.close()

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """Errors of the database as one sentence."""
        with explained(self._address):
            yield


@contextlib.contextmanager
def opened(place: str | Path | None, study: Study) -> Iterator[Store]:
    """The store of `study` at a file or URL, for nobody else meanwhile; None keeps rows in memory.

    Raises
    ------
    InputError
        A database that cannot be reached, read or used, that another sweep is at work on, that a newer version wrote,
        or that holds another study under this name.
    """
    if place is None:
        yield Store(study, Address(shown="memory"))
        return
    optuna()
    address = address_of(str(place))
    with contextlib.ExitStack() as stack:
        if address.file is not None:
            stack.enter_context(file_lock(address.file, address.shown))
            check_file(address.file, address.shown)
        store = stack.enter_context(_sound(address, study))
        yield store


@contextlib.contextmanager
def _sound(address: Address, study: Study) -> Iterator[Store]:
    """The store whose lock is held; of a damaged one, the rows that can be saved are in the error."""
    with contextlib.ExitStack() as stack:
        connected: Callable[[], Any] = functools.partial(looked_at, address.file)
        try:
            with explained(address):
                if address.file is not None and address.file.exists():
                    check_whole(address.file, address.shown, study)
                database = storage(address, study.name)
                stack.callback(database.engine.dispose)
                if address.file is None:
                    connected = database.engine.raw_connection
                made = _study_in(database, study, address.shown, alone=address.file is not None)
                store = Store(study, address, database, made)
                store.take()
        except DamagedStoreError as error:
            raise DamagedStoreError(error.name, error.what, error.rows or saved(study, connected)) from None
        except BitwrightError:
            raise
        except Exception as error:  # Optuna's and SQLAlchemy's, of what they did not write
            what = f"what it holds cannot be read ({type(error).__name__})"
            raise DamagedStoreError(address.shown, what, saved(study, connected)) from None
        yield store


def _study_in(storage: Any, study: Study, name: str, *, alone: bool) -> Any:
    """Optuna's study of that name, begun or continued."""
    made = optuna()
    there = {each.study_name for each in storage.get_all_studies()}
    if alone and there and study.name not in there:
        raise InputError(
            f"{name} is the store of {', '.join(sorted(there))}, not of {study.name}; name another --store"
        )
    ways = ["maximize" if way == MAXIMISE else "minimize" for way in study.objectives.values()]
    if study.name not in there:
        return made.create_study(storage=storage, study_name=study.name, directions=ways)
    found = made.load_study(storage=storage, study_name=study.name)
    about = found.user_attrs.get(ABOUT)
    if about is None and not found.get_trials(deepcopy=False):  # killed before it said what it is
        storage.delete_study(found._study_id)
        return _study_in(storage, study, name, alone=False)
    _check_about(about, study, name)
    if [each.name.lower() for each in found.directions] != ways:
        raise DamagedStoreError(name, "the directions of its objectives are not as they were written", {})
    return found


def _check_about(about: Any, study: Study, name: str) -> None:
    if not isinstance(about, dict) or not isinstance(about.get("version"), int):
        raise InputError(f"{study.name} in {name} is a study of Optuna's that is no sweep; name another --store")
    if about["version"] < VERSION and "sha256" not in about:
        raise InputError(
            f"{name} was written by an earlier bitwright (store version {about['version']}), whose rows carry no "
            "checksum; go on with that one, or name another --store"
        )
    if Seal().read(about) is None:
        raise DamagedStoreError(name, "what it says of its study is not as it was written", {})
    if about["version"] > VERSION:
        raise InputError(
            f"{name} was written by a newer bitwright (store version {about['version']}, this reads {VERSION}); "
            "install that one, or name another --store"
        )
    before, now = about.get("study", {}), json.loads(json.dumps(study.identity()))
    for key, value in now.items():
        if before.get(key) != value:
            raise InputError(
                f"{name} is the store of another study: {_differing(key, before.get(key), value)}; "
                "name another --store, or change the study back"
            )


def _differing(key: str, before: Any, now: Any) -> str:
    if isinstance(before, dict) and isinstance(now, dict):
        for inner in {**before, **now}:
            if before.get(inner) != now.get(inner):
                return _differing(f"{key}.{inner}", before.get(inner), now.get(inner))
    return f"{key} was {json.dumps(before)} and is {json.dumps(now)}"
