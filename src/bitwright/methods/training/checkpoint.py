"""Checkpoints of training: one safetensors file with all that learns, Adam's moments and the plan; never pickle.

A new checkpoint is written beside the old one, which is kept as FILE.previous until the next: whatever happens while
writing, one of them is whole. A checkpoint carries the network's fingerprint and the settings, and resuming continues
with the very same numbers.
"""

import dataclasses
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import pydantic
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from bitwright.errors import InputError
from bitwright.files import write_atomic
from bitwright.methods.plan import Plan
from bitwright.methods.plan_checks import check_numbers
from bitwright.methods.plan_file import CHECKSUM, DAMAGES, plan_from, plan_record, signed, what_is_wrong
from bitwright.networks.fingerprint import difference, fingerprint
from bitwright.networks.network import Network
from bitwright.settings import shown

KEY = "bitwright_training"
Count = Annotated[int, pydantic.Field(ge=0, le=2**31 - 1)]
VERSION = 4
"""4: with a checksum."""


class Reached(pydantic.BaseModel):
    """How far training is.

    Attributes
    ----------
    step, waited, slower : int
        Steps taken, looks without improvement, how often rates were lowered.
    seconds : float
        Spent.
    losses : list of (int, float)
        Step and loss at every look.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    step: Count
    waited: Count
    slower: Count
    seconds: Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]
    losses: Annotated[list[tuple[Count, float]], pydantic.Field(min_length=1)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Everything that training needs to go on.

    Attributes
    ----------
    plan : Plan
        As training began: formats, zero points, smoothing.
    values : mapping
        Name -> what learns, as it stands: `weights/...`, `scales/...`.
    moments : mapping
        Name -> Adam's first and second moment of each: `weights/.../exp_avg`.
    best : mapping
        Name -> the values with the least loss so far.
    average : mapping
        Name -> the moving average of the values; empty where none is kept.
    reached : Reached
        How far it is.
    settings : mapping
        Of training.
    samples : str
        What it learns from.
    """

    plan: Plan
    values: Mapping[str, torch.Tensor]
    moments: Mapping[str, torch.Tensor]
    best: Mapping[str, torch.Tensor]
    reached: Reached
    settings: Mapping[str, Any]
    average: Mapping[str, torch.Tensor] = dataclasses.field(default_factory=dict)
    samples: str = ""


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write it whole, keeping the one before as `previous_of(path)`."""
    tensors: dict[str, torch.Tensor] = {}
    plan_tensors: dict[str, torch.Tensor] = {}
    record = {
        "version": VERSION,
        "plan": plan_record(checkpoint.plan, plan_tensors),
        "reached": checkpoint.reached.model_dump(),
        "settings": dict(checkpoint.settings),
        "samples": checkpoint.samples,
    }
    for part, held in (("plan", plan_tensors), *((each, getattr(checkpoint, each)) for each in PARTS)):
        tensors |= {f"{part}/{name}": value.detach().cpu().contiguous().clone() for name, value in held.items()}
    record[CHECKSUM] = signed(record, tensors)
    content = save(tensors, metadata={KEY: json.dumps(record)})
    if path.is_file():  # both names until the new one is whole: a kill in between loses nothing
        previous_of(path).unlink(missing_ok=True)
        try:
            os.link(path, previous_of(path))
        except OSError:  # a file system without links
            shutil.copy2(path, previous_of(path))
    write_atomic(path, content)


def previous_of(path: Path) -> Path:
    """Where the checkpoint before lies."""
    return path.with_name(f"{path.name}.previous")


PARTS = ("values", "moments", "best", "average")


def load_checkpoint(path: Path, network: Network) -> Checkpoint:
    """The checkpoint in `path`, if it is of `network`.

    Raises
    ------
    InputError
        If it is missing, cut or damaged, no checkpoint, newer, or of another network; says so if the one before is
        there.
    """
    record, tensors = _read(path)
    try:
        if record["version"] != VERSION:
            raise InputError(
                f"{path} is a checkpoint of version {shown(record['version'])}, and this reads {VERSION}; begin anew "
                "with another --checkpoint"
            )
        if record.pop(CHECKSUM) != signed(record, tensors):
            raise ValueError("its contents are not those that were written: their SHA-256 differs")
        for name, tensor in tensors.items():
            if not name.startswith("plan/"):  # the plan's are looked at as such
                check_numbers(name, tensor)
        held = {
            part: {name.removeprefix(f"{part}/"): t for name, t in tensors.items() if name.startswith(f"{part}/")}
            for part in ("plan", *PARTS)
        }
        plan = plan_from(record["plan"], held["plan"])
        found = Checkpoint(
            plan=plan,
            values=held["values"],
            moments=held["moments"],
            best=held["best"],
            average=held["average"],
            reached=Reached.model_validate(record["reached"]),
            settings=dict(record["settings"]),
            samples=str(record["samples"]),
        )
    except DAMAGES as error:
        raise InputError(f"{path} is a damaged checkpoint ({what_is_wrong(error)}){_or_previous(path)}") from None
    differs = difference(plan.fingerprint, fingerprint(network))
    if differs:
        raise InputError(f"{path} is a checkpoint of another network than {network.name}: {differs}")
    return found


def _read(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    if not path.is_file():
        raise InputError(f"there is no checkpoint {path}{_or_previous(path)}")
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is cut or no checkpoint ({error}){_or_previous(path)}") from None
    if KEY not in metadata:
        raise InputError(f"{path} is a safetensors file but no checkpoint; training writes them with --checkpoint")
    try:
        record: dict[str, Any] = json.loads(metadata[KEY])
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is a damaged checkpoint ({error}){_or_previous(path)}") from None
    if not isinstance(record, dict):
        raise InputError(f"{path} is a damaged checkpoint (its record is no mapping){_or_previous(path)}")
    return record, tensors


def _or_previous(path: Path) -> str:
    before = previous_of(path)
    return f"; try the one before it: --checkpoint {before} --resume" if before.is_file() else ""
