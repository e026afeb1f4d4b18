"""What a worker does: points of a study -> their rows, and what the study's inputs are.

A worker keeps networks, what they trace to, plans and scores, so that each is made once per process: all accelerators
listen to one execution of a network by a plan, and a network with shapes only is traced once. A row is a function of
the study and the point alone: every worker computes with one thread, because sums of floats depend on their number.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from bitwright.accelerators.protocol import Accelerator
from bitwright.errors import InputError
from bitwright.methods.plan import Plan
from bitwright.methods.protocol import compose
from bitwright.networks.fingerprint import fingerprint
from bitwright.networks.load import load
from bitwright.networks.network import InputShape, Network
from bitwright.networks.trace import Trace, trace
from bitwright.studies.inputs import simulation_input
from bitwright.studies.judges import judges_of
from bitwright.studies.machines import build_accelerators
from bitwright.studies.provenance import provenance
from bitwright.studies.row import Row, said
from bitwright.studies.simulate import Simulation, simulate_each
from bitwright.studies.sweep.metrics import SCORES, measured
from bitwright.studies.sweep.points import Point, Record
from bitwright.studies.sweep.study import Study
from bitwright.tasks import Task
from bitwright.tasks.calibrate import calibrate_method
from bitwright.tasks.evaluate import Evaluation, evaluate_many

DIGITS = 16  # hexadecimal digits of a fingerprint
KEPT_NETWORKS, KEPT_PLANS = 4, 64
SHAPE_KEYS = ("batch", "sequence_length", "image_size", "phase")
PRICES = "node_nm"  # of a machine: a node, or a price list whose content counts


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Key:
    """A study with one of its networks, hashed by what decides their results."""

    study: Study = dataclasses.field(compare=False, repr=False)
    identity: str
    network: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Loaded:
    network: Network
    fingerprint: str
    traced: Trace | None
    task: Task | None
    batch: Any
    described: str


_one_at_a_time = threading.Lock()  # where a worker has several threads: networks are hooked into while they run


@contextlib.contextmanager
def _working() -> Iterator[None]:
    """One thread, alone; what networks print is not the sweep's output."""
    with _one_at_a_time, contextlib.redirect_stdout(sys.stderr):
        torch.set_num_threads(1)
        yield


def described(study: Study) -> tuple[dict[str, str], dict[str, bool]]:
    """The fingerprint of every network and of the data, after a look at all of them; and which have shapes only.

    Raises
    ------
    InputError
        A network that cannot be loaded, or data or a task that do not fit.
    """
    with _working():
        identity = _identity(study)
        loaded = {label: _loaded(_Key(study=study, identity=identity, network=label)) for label in study.networks}
        shapes = {label: each.network.shape_only for label, each in loaded.items()}
        data = study.judged.get("data")
        if data is not None and all(shapes.values()):
            raise InputError(f"{data} was given and no network has numbers to be tested on it; leave data out")
        if all(shapes.values()) and study.judged:
            raise InputError(
                f"{next(iter(study.judged))} was given and no network has numbers that are calibrated or judged; leave "
                "it out"
            )
        if all(shapes.values()) and any(name in SCORES for name in study.objectives):
            raise InputError("scores are an objective, and no network has numbers that could be judged; leave them out")
        found = {label: each.fingerprint for label, each in loaded.items()}
        return (found if data is None else {**found, "data": content(study.located(data))}), shapes


@functools.cache
def versions() -> dict[str, str]:
    """The versions that decide results here."""
    return provenance("", 0).versions


def evaluated(study: Study, points: Sequence[Point]) -> list[Record]:
    """The rows of points that share network, method and options; what goes wrong stands in its row."""
    with _working():
        return _evaluated(study, points)


def _evaluated(study: Study, points: Sequence[Point]) -> list[Record]:
    first = points[0]
    try:
        key = _Key(study=study, identity=_identity(study), network=first.network)
        loaded, plan = _loaded(key), _plan(key, first.method, first.options)
        scored = _scored(key, first.method, first.options, plan) if loaded.task is not None else plan
    except Exception as error:
        status = "infeasible" if isinstance(error, InputError) else "failed"
        return [failed(study, point, said(error), status) for point in points]
    machines = [_machine(study, point) for point in points]
    built = {str(i): machine for i, machine in enumerate(machines) if not isinstance(machine, Exception)}
    costs = _costs(loaded, plan, built) if built else {}
    records = []
    for i, (point, machine) in enumerate(zip(points, machines, strict=True)):
        costed = machine if isinstance(machine, Exception) else costs[str(i)]
        record = _record(Row.of(loaded.network, point.method, point.accelerator, scored, costed), costed)
        inputs = _inputs(study, point, loaded, machine)
        made = json.dumps(versions(), sort_keys=True)
        records.append({**record, "fingerprint": inputs, "seed": study.seed, "versions": made})
    return records


def failed(study: Study, point: Point, reason: str, status: str = "failed") -> Record:
    """The row of a point that nothing came of; its fingerprint is of the study and the point."""
    return {
        "status": status,
        "reason": reason,
        "fingerprint": _hash([study.identity(), point.columns]),
        "seed": study.seed,
        "versions": json.dumps(versions(), sort_keys=True),
    }


def content(path: str) -> str:
    """A hash of a file's bytes, or of the names and bytes of all files in a folder."""
    return _content(path, _stamp(Path(path)))


@functools.lru_cache
def _content(path: str, stamp: tuple[Any, ...]) -> str:  # noqa: ARG001 - the stamp forgets what has changed
    digest = hashlib.sha256()
    root = Path(path)
    for file in [root] if root.is_file() else sorted(each for each in root.rglob("*") if each.is_file()):
        digest.update(f"{file.relative_to(root)}\0{file.stat().st_size}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:DIGITS]


def _stamp(path: Path) -> tuple[Any, ...]:
    try:
        state = path.stat()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    return state.st_mtime_ns, state.st_size


def _identity(study: Study) -> str:
    return _hash(study.identity())


def _hash(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


@functools.lru_cache(maxsize=KEPT_NETWORKS)
def _loaded(key: _Key) -> _Loaded:
    study, variant = key.study, key.study.networks[key.network]
    shape = InputShape(**{name: variant.fixed[name] for name in SHAPE_KEYS if name in variant.fixed})
    weights = variant.fixed.get("weights")
    network = load(
        study.model(key.network),
        shape=shape,
        weights=None if weights is None else study.located(weights),
        distribution=variant.fixed.get("distribution"),
        seed=study.seed,
    )
    judged = study.judged
    data = None if network.shape_only or "data" not in judged else Path(study.located(judged["data"]))
    task = judges_of([network], judged.get("task"), data, judged.get("limit"), study.seed)[0]
    batch, phrase = simulation_input(network, seed=study.seed)
    return _Loaded(
        network=network,
        fingerprint=_hash(fingerprint(network)),
        traced=trace(network, batch) if network.shape_only and not network.distribution else None,
        task=task,
        batch=batch,
        described=phrase,
    )


@functools.lru_cache(maxsize=KEPT_PLANS)
def _plan(key: _Key, method: str, options: tuple[tuple[str, Any], ...]) -> Plan:
    loaded, variant = _loaded(key), key.study.methods[method]
    return calibrate_method(
        loaded.network,
        variant.name,
        options={**variant.fixed, **dict(options)},
        task=loaded.task,
        count=key.study.judged.get("calibration"),
        seed=key.study.seed,
    )


_scores: dict[tuple[_Key, str, Any], Evaluation | Exception] = {}  # of this process


def _scored(key: _Key, method: str, options: Any, plan: Plan) -> Evaluation | Exception:
    """The score of a plan, measured once per process."""
    known = (key, method, options)
    if known not in _scores:
        loaded, judged = _loaded(key), key.study.judged
        assert loaded.task is not None
        try:
            _scores[known] = evaluate_many(
                loaded.network,
                {"": plan},
                loaded.task,
                exact=judged.get("exact", True),
                batch_size=judged.get("batch_size"),
                seed=key.study.seed,
            )[""]
        except Exception as error:
            return error
    return _scores[known]


def _machine(study: Study, point: Point) -> Accelerator | Exception:
    variant = study.accelerators[point.accelerator]
    try:
        made = build_accelerators([variant.machine()], {**variant.fixed, **dict(point.parameters)}, study.substrate)
    except Exception as error:
        return error
    return made[variant.name]


def _costs(loaded: _Loaded, plan: Plan, machines: Mapping[str, Accelerator]) -> Mapping[str, Simulation | Exception]:
    try:
        return simulate_each(
            loaded.network, plan, machines, batch=loaded.batch, described=loaded.described, traced=loaded.traced
        )
    except Exception as error:
        return dict.fromkeys(machines, error)


def _record(row: Row, costed: Simulation | Exception) -> Record:
    """The row; what an accelerator cannot be built or filled with is infeasible, which is no fault."""
    record = measured(row)
    if row.status == "failed" and isinstance(costed, InputError):
        record["status"] = "infeasible"
    return record


def _inputs(study: Study, point: Point, loaded: _Loaded, machine: Accelerator | Exception) -> str:
    """One fingerprint of everything that this row is made from."""
    method, accelerator = study.methods[point.method], study.accelerators[point.accelerator]
    network = study.networks[point.network]
    chosen = compose(method.name, {**method.fixed, **dict(point.options)})
    parameters: Any = {**accelerator.values, **dict(point.parameters)}
    if not isinstance(machine, Exception):
        parameters = machine.parameters()
    prices = parameters.get(PRICES)
    judged = dict(study.judged) if loaded.task is not None else {}
    return _hash(
        {
            "network": [network.name, dict(network.fixed), loaded.fingerprint],
            "method": [chosen.name, [[name, options.model_dump(mode="json")] for name, _, options in chosen.methods]],
            "accelerator": [accelerator.name, parameters],
            "prices": content(prices) if isinstance(prices, str) and Path(prices).is_file() else None,
            "judged": judged,
            "data": content(study.located(judged["data"])) if "data" in judged else None,
            "seed": study.seed,
        }
    )
