"""What is killed: commands of every verb that keeps something, small enough to be run hundreds of times."""

import dataclasses
import json
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

NETWORK = """
import torch


def layers():
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(16, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    module.example_inputs = torch.randn(2, 16)
    return module
"""
STUDY = """
networks: [gemm:64x48x32, gemm:32x32x32]
methods: [int8, w4a8]
accelerators: [systolic-ws]
parameters: {rows: {from: 1, to: 4}, cols: {from: 1, to: 4}}
"""
GIVEN = {"kill_network.py": NETWORK, "study.yaml": STUDY}
MODULE, GEMM = "kill_network:layers", "gemm:64x48x32"
TOLD_OF_THE_RUN = re.compile(rb'"(?:(?:float_)?seconds|computed|known|evaluations|remembered)": [-+.e0-9]+')
"""What a record says of its own run: how long it took, and how much was there before."""
DATABASE = ".db"
ROWS = "SELECT value_json FROM trial_user_attributes WHERE key = 'bitwright_row' ORDER BY value_json"


def lines_of_log(work: Path) -> set[bytes]:
    """Whole lines of the search's log."""
    log = work / "log"
    return set(log.read_bytes().split(b"\n")[:-1]) if log.exists() else set()


def rows_of_store(work: Path) -> set[bytes]:
    """Rows of the sweep's store, each with the number of its trial, so that none was written anew."""
    if not (work / "study.db").exists():
        return set()
    with closing(sqlite3.connect(f"file:{work / 'study.db'}?mode=ro", uri=True)) as base:
        try:
            found = base.execute("SELECT trial_id, value_json FROM trial_user_attributes").fetchall()
        except sqlite3.OperationalError:  # none yet
            return set()
    return {f"{trial} {text}".encode() for trial, text in found}


def nothing(work: Path) -> set[bytes]:
    """Of what keeps nothing on its way."""
    return set()


def entries_of_journal(work: Path) -> set[bytes]:
    """Judged systems in the cache, each with when it was written."""
    judged = work.parent / "cache" / "bitwright" / "judged"
    return {f"{each.name} {each.stat().st_mtime_ns}".encode() for each in judged.glob("*.safetensors")}


def looks_of_training(work: Path) -> set[bytes]:
    """Looks at held-out samples in the training's checkpoint, after the first, which is before any step."""
    state = work / "state"
    if not state.exists():
        return set()
    with state.open("rb") as file:  # as safetensors begins: the length of a header in JSON, then that
        head = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    losses = json.loads(head["__metadata__"]["bitwright_training"])["reached"]["losses"]
    return {f"step {step}".encode() for step, _ in losses if step}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
    """A command, and what of it is kept.

    Attributes
    ----------
    name : str
        As it is asked for.
    verb : str
        Whose figures it joins.
    weight : int
        Kills of a hundred.
    words : tuple of str
        The command.
    growing : tuple of str
        Files that grow while it works, whose state in between is the verb's own: they are read by going on.
    stored : callable
        Folder of the work -> what of it is done and kept, which going on takes up as it is.
    kept_at_end : bool
        Whether what is stored is there at the end too; else the second run has to touch fewer files than a first one.
    """

    name: str
    verb: str
    weight: int
    words: tuple[str, ...]
    growing: tuple[str, ...] = ()
    stored: Callable[[Path], set[bytes]] = nothing
    kept_at_end: bool = True


def contents(folder: Path) -> dict[str, bytes]:
    """Every file and folder below one, with its bytes, less what runs say of themselves; of databases the rows only."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if "__pycache__" in path.parts:
            continue
        if path.is_dir():
            found[f"{name}/"] = b""
        elif path.suffix == DATABASE:
            found[name] = _rows(path)
        else:
            found[name] = TOLD_OF_THE_RUN.sub(b"", path.read_bytes())
    return found


def _rows(path: Path) -> bytes:
    with closing(sqlite3.connect(path)) as base:
        try:
            trials = base.execute("SELECT count(*) FROM trials").fetchone()
        except sqlite3.OperationalError:  # killed before there were tables
            return b""
        return "\n".join([str(trials), *(text for (text,) in base.execute(ROWS))]).encode()


def _export(form: str, of: str, weight: int) -> Scene:
    words = ("export", of, "--format", form, "--out", f"out-{form}", "--overwrite")
    return Scene(name=form, verb="export", weight=weight, words=words)


SCENES: dict[str, Scene] = {
    scene.name: scene
    for scene in (
        Scene(
            name="sweep",
            verb="sweep",
            weight=18,
            words=("sweep", "study.yaml", "--workers", "1", "--out", "s.json", "--out", "s.csv", "--overwrite"),
            growing=("study.db", "study.db-journal", "study.db.lock"),
            stored=rows_of_store,
        ),
        Scene(
            name="search",
            verb="search",
            weight=18,
            words=(
                *("search", MODULE, "--save-plan", "plan", "--log", "log", "--workers", "2", "--calibration", "8"),
                *("--objective", "mse", "--set", "passes=1", "--set", "cycles=1", "--set", "population=4"),
                *("--out", "s.json", "--out", "history=s.csv", "--overwrite"),
            ),
            growing=("log",),
            stored=lines_of_log,
        ),
        Scene(
            name="train",
            verb="train",
            weight=18,
            words=(
                *("train", MODULE, "--save-plan", "plan", "--checkpoint", "state", "--steps", "12", "--every", "2"),
                *("--out", "t.json", "--out", "t.parquet", "--overwrite"),
            ),
            growing=("state", "state.previous"),
            stored=looks_of_training,
            kept_at_end=False,
        ),
        Scene(
            name="plan",
            verb="evaluate",
            weight=14,
            words=("evaluate", MODULE, "--method", "aqs", "--save-plan", "plan", "--out", "e.json", "--overwrite"),
        ),
        Scene(
            name="out",
            verb="compare",
            weight=8,
            words=(
                *("compare", GEMM, "--methods", "int8,w4a8", "--accelerators", "simd,lpa"),
                *("--out", "c.html", "--out", "c.csv", "--out", "c.parquet", "--out", "c.json", "--overwrite"),
            ),
        ),
        Scene(
            name="journal",
            verb="compare",
            weight=6,
            words=(
                *("compare", MODULE, "--methods", "int8,w4a8,aqs", "--accelerators", "simd,panacea"),
                *("--out", "j.json", "--overwrite"),
            ),
            stored=entries_of_journal,
            kept_at_end=False,
        ),
        Scene(
            name="simulate",
            verb="simulate",
            weight=4,
            words=("simulate", GEMM, "--accelerator", "simd,lpa", "--out", "m.csv", "--out", "m.json", "--overwrite"),
        ),
        _export("onnx-qdq", MODULE, 2),
        _export("qonnx", MODULE, 2),
        _export("safetensors", MODULE, 2),
        _export("vectors", MODULE, 3),
        _export("timeloop", GEMM, 3),
        _export("zigzag", GEMM, 1),
        _export("scalesim", GEMM, 1),
    )
}
