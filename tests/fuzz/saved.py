"""What bitwright itself wrote: plans, search logs, checkpoints, stores. Half of the cases carry the right checksum."""

import contextlib
import json
import math
import random
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from tests.fuzz import mutations
from tests.toys import network_of, normal

from bitwright.methods import plan_file
from bitwright.methods.lpq.fields import Fields
from bitwright.methods.lpq.search import log
from bitwright.methods.plan import Plan
from bitwright.methods.training import checkpoint
from bitwright.networks.fingerprint import fingerprint
from bitwright.studies.machines import build_accelerators
from bitwright.studies.simulate import simulate_each as simulate
from bitwright.tasks.calibrate import calibrate_method

METHODS = ("int8", "int8-token", "aqs", "int8+apsq", "int8-sym+drift", "lp8", "ant-w4a8", "mixed")

SIMULATED = METHODS[:2]


def network() -> Any:
    """Two linear layers and a convolution's worth of sites, always the same."""
    torch.manual_seed(0)
    return network_of(
        torch.nn.Sequential(torch.nn.Linear(16, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4)), normal(4, 16)
    )


def _tensor(rng: random.Random, tensor: torch.Tensor) -> torch.Tensor:
    """A tensor of another type, shape or with other numbers."""
    tensor = tensor.clone()
    match rng.randrange(8):
        case 0:
            return tensor.to(rng.choice((torch.float16, torch.int8, torch.bool, torch.float64, torch.complex64)))
        case 1:
            return tensor.reshape(-1)
        case 2:
            return tensor[..., None].contiguous()
        case 3:
            return torch.zeros(rng.choice(((), (0,), (1, 0, 3), (1000,))), dtype=tensor.dtype)
        case 4:
            return -tensor if tensor.dtype != torch.bool else tensor
        case _:
            if tensor.numel() and tensor.is_floating_point():
                value = rng.choice((math.nan, math.inf, -math.inf, 0.0, -1.0, 1e30, 1e-45))
                tensor.view(-1)[rng.randrange(tensor.numel())] = value
            return tensor


def _tensors(rng: random.Random, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    made = dict(tensors)
    if made:
        name = rng.choice(sorted(made))
        match rng.randrange(4):
            case 0:
                del made[name]
            case 1:
                made[rng.choice(mutations.WORDS[:8]) + "x"] = made.pop(name)
            case _:
                made[name] = _tensor(rng, made[name])
    return made


def _rewritten(rng: random.Random, path: Path, key: str, others: list[Any]) -> bytes:
    """A file in which the record or a tensor is another, with the checksum that belongs to it."""
    from safetensors import safe_open

    with safe_open(str(path), framework="pt") as file:
        record = json.loads(file.metadata()[key])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    record.pop(plan_file.CHECKSUM)
    if rng.random() < 0.7:
        record = mutations.of_tree(rng, record, others)
    else:
        tensors = _tensors(rng, tensors)
    if isinstance(record, dict):
        with contextlib.suppress(ValueError, TypeError):
            record[plan_file.CHECKSUM] = plan_file.signed(json.loads(json.dumps(record)), tensors)
    text = json.dumps(record) if rng.random() < 0.98 else "[" * 100_000
    return save(tensors, metadata={key: text})


def _one_of_two(rng: random.Random, plain: bool, path: Path, key: str, others: list[Any], read: Callable[[], object]):
    content = path.read_bytes()
    if not plain:
        content = mutations.of_bytes(rng, content) if rng.random() < 0.4 else _rewritten(rng, path, key, others)

    def case() -> None:
        target.write_bytes(content)
        read()

    target = path.with_name("given")
    return case


def plans(folder: Path):
    """Plans of eight kinds, read beside their network; one in five that are read is simulated, of two kinds."""
    made, machines = network(), build_accelerators(["simd", "lpa"], {})
    for method in METHODS:
        plan = calibrate_method(made, method)
        plan.save(folder / method)
        if method in SIMULATED:
            simulate(made, plan, machines)  # kernels are compiled once

    def maker(rng: random.Random, *, plain: bool = False):
        method = rng.choice(METHODS)
        costs = method in SIMULATED and rng.random() < 0.2

        def read() -> None:
            plan = Plan.load(folder / "given", made)
            if costs:
                simulate(made, plan, machines)

        return _one_of_two(rng, plain, folder / method, plan_file.KEY, ["int8", "integer"], read)

    return maker


def checkpoints(folder: Path):
    """A checkpoint of a training that has just begun."""
    made = network()
    plan = calibrate_method(made, "int8")
    values = {"weights/0": normal(8, 16), "scales/0": torch.ones(8)}
    moments = {f"{name}/{part}": value.abs() for name, value in values.items() for part in ("exp_avg", "exp_avg_sq")}
    reached = checkpoint.Reached(step=4, waited=0, slower=0, seconds=1.0, losses=[(0, 1.0), (4, 0.5)])
    found = checkpoint.Checkpoint(
        plan=plan, values=values, moments=moments, best=values, reached=reached, settings={"steps": 9}
    )
    checkpoint.save_checkpoint(found, folder / "state")

    def maker(rng: random.Random, *, plain: bool = False):
        def read() -> None:
            checkpoint.load_checkpoint(folder / "given", made)

        return _one_of_two(rng, plain, folder / "state", checkpoint.KEY, [], read)

    return maker


def logs(folder: Path):
    """A search's log of a header and five lines; changed lines are sealed anew, or bytes are."""
    header = {
        "network": "n",
        "fingerprint": fingerprint(network()),
        "options": {"a": 1},
        "settings": {"b": 2},
        "samples": "s",
    }
    genes = [[8, 2, 5, 0.5], [4, 1, 2, -1.25]]
    lines = [{log.KIND: log.VERSION, **header}, *({"loss": 0.5 * i, "genes": genes, "pass": i} for i in range(5))]
    path = folder / "given"

    def maker(rng: random.Random, *, plain: bool = False):
        texts = [log.sealed(line) for line in lines]
        if not plain and rng.random() < 0.6:
            at = rng.randrange(len(texts))
            with contextlib.suppress(ValueError, TypeError):
                changed = mutations.of_tree(rng, lines[at])
                texts[at] = log.sealed(changed) if isinstance(changed, dict) else json.dumps(changed) + "\n"
            content = "".join(texts).encode("utf-8", "surrogatepass")
        else:
            content = "".join(texts).encode()
            content = content if plain else mutations.of_bytes(rng, content)

        def case() -> None:
            path.write_bytes(content)
            with log.opened(path, header, resume=True) as found:
                found.add(tuple(Fields(n=8, es=2, rs=5, sf=0.0) for _ in range(2)), 1.0)

        return case

    return maker


STUDY = {
    "networks": ["gemm:8x8x8"],
    "methods": ["int8"],
    "accelerators": ["systolic-ws"],
    "parameters": {"rows": [8, 16]},
}


def stores(folder: Path):
    """A store of a sweep, whose bytes, tables or values of rows are changed; it is read and gone on with."""
    from bitwright.studies.sweep import read_study

    study = read_study(STUDY)
    _filled(study, folder / "whole.db")
    whole = (folder / "whole.db").read_bytes()
    path = folder / "given.db"

    def maker(rng: random.Random, *, plain: bool = False):
        in_tables = not plain and rng.random() < 0.6
        content = whole if plain or in_tables else mutations.of_bytes(rng, whole)

        def case() -> None:
            for each in folder.glob("given.db*"):
                each.unlink()
            path.write_bytes(content)
            if in_tables:
                _change_table(rng, path)
            from bitwright.studies.sweep.store import opened

            with opened(str(path), study) as store:
                store.begin({})

        return case

    return maker


def _filled(study: Any, path: Path) -> None:
    from bitwright.studies.sweep.points import grid
    from bitwright.studies.sweep.store import opened

    points = list(grid(study))
    records = [
        {"trial": n, **points[n].columns, "status": "ok", "cycles": 100 + n, "total_energy_pj": n / 3}
        for n in range(len(points))
    ]
    with opened(str(path), study) as store:
        store.begin({})
        store.add(points, records)


def _change_table(rng: random.Random, path: Path) -> None:
    with (
        contextlib.closing(sqlite3.connect(path)) as connection,
        contextlib.suppress(sqlite3.Error, UnicodeEncodeError),
    ):
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        table = rng.choice(sorted(tables))
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        column = rng.choice(columns)
        match rng.randrange(5):
            case 0:
                connection.execute(f"DELETE FROM {table}")
            case 1:
                connection.execute(f"DROP TABLE {table}")
            case 2:
                connection.execute(f"ALTER TABLE {table} RENAME COLUMN {column} TO other")
            case _:
                (old,) = connection.execute(f"SELECT {column} FROM {table}").fetchone() or (None,)
                new: Any = rng.choice([value for value in mutations.VALUES if not isinstance(value, list | dict)])
                if isinstance(old, str) and rng.random() < 0.7:
                    try:
                        new = json.dumps(mutations.of_tree(rng, json.loads(old)))
                    except ValueError:
                        new = mutations.of_text(rng, old)
                if isinstance(new, int) and abs(new) >= 2**63:
                    new = str(new)
                connection.execute(f"UPDATE {table} SET {column} = ?", (new,))
        connection.commit()
