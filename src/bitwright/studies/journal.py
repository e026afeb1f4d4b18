"""What a long study has finished, kept until the study ends, so that the same command goes on where it was stopped.

An entry is a judged plan: the plan, the task's statistics and what was measured beside them, in one safetensors file in
the user's cache folder. Its name is a hash of all that it was made from (the network's bits and its float output, the
test and calibration samples, the method with its options and source, versions, and bitwright's own source), so that an
entry is the same computation or is not found. Costs are computed anew: they are quick, and exact.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError

import bitwright
from bitwright.errors import InputError
from bitwright.files import read_bytes, write_atomic
from bitwright.later import torch
from bitwright.methods.plan import Plan
from bitwright.methods.plan_file import plan_from, plan_record
from bitwright.networks.fingerprint import bits_of, fingerprint
from bitwright.networks.network import Batch, Network
from bitwright.studies.provenance import provenance
from bitwright.tasks import Task
from bitwright.tasks.calibrate import calibration_samples
from bitwright.tasks.evaluate import Evaluation
from bitwright.tasks.precision import PrecisionRecord, SiteClasses
from bitwright.tasks.relative_loss import relative_loss
from bitwright.tasks.task import summarise

PARTS = "head", "statistics", "reference", "units"
DIGEST = 32  # bytes of SHA-256 before the rest
LARGEST = 2**34  # bytes of an entry, whose plan may have all weights of a network
UNREADABLE = (SafetensorError, InputError, LookupError, ValueError, TypeError, AttributeError, RuntimeError)
"""What reading an entry may come to that is not as it was written: it is computed anew."""


def cache_folder() -> Path:
    """Where entries are kept: `bitwright/judged` in XDG_CACHE_HOME, or in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bitwright" / "judged"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Journal:
    """The entries of one network's study.

    Attributes
    ----------
    folder : Path
        Where they are.
    network : Network
        What is judged.
    task : Task
        By what.
    inputs : str
        A hash of what all entries have in common.
    seed : int
        Of the bootstrap.
    """

    folder: Path
    network: Network
    task: Task
    inputs: str
    seed: int

    def file(self, choice: Mapping[str, Any]) -> Path:
        """Where the entry of a choice of method is, whether it is there or not."""
        return self.folder / f"{_hash([self.inputs, choice])}.safetensors"

    def read(self, choice: Mapping[str, Any] | None) -> Evaluation | None:
        """What was kept for the choice; None if nothing was, or it cannot be read, or of no choice."""
        if choice is None:
            return None
        from safetensors.torch import load

        with contextlib.suppress(*UNREADABLE):
            content = read_bytes(self.file(choice), what="entry", most=LARGEST)
            if hashlib.sha256(content[DIGEST:]).digest() == content[:DIGEST]:
                return self._evaluation(self.file(choice).stem, load(content[DIGEST:]))
        return None

    def write(self, choice: Mapping[str, Any] | None, found: Evaluation) -> None:
        """Keep it; no choice, or a folder that cannot be written to, keeps nothing, which only costs time."""
        if choice is None:
            return
        from safetensors.torch import save

        with contextlib.suppress(OSError, InputError):
            tensors: dict[str, torch.Tensor] = {}
            head = {
                "of": self.file(choice).stem,
                "plan": plan_record(found.plan, tensors),
                "measured": _measured(found),
            }
            tensors = {f"plan/{name}": tensor for name, tensor in tensors.items()}
            tensors["head"] = torch.frombuffer(bytearray(json.dumps(head).encode()), dtype=torch.uint8)
            parts = {"statistics": found.statistics, "reference": found.reference, "units": found.units}
            for name, rows in parts.items():
                if rows is not None:
                    tensors[name] = torch.from_numpy(np.ascontiguousarray(rows))
            self.folder.mkdir(parents=True, exist_ok=True)
            content = save(tensors)
            write_atomic(self.file(choice), hashlib.sha256(content).digest() + content)

    def forget(self, choice: Mapping[str, Any] | None) -> None:
        """Remove the entry, if there is one."""
        if choice is None:
            return
        with contextlib.suppress(OSError):
            self.file(choice).unlink(missing_ok=True)

    def _evaluation(self, of: str, tensors: dict[str, torch.Tensor]) -> Evaluation:
        head = json.loads(tensors["head"].numpy().tobytes())
        if head["of"] != of:
            raise ValueError("an entry under another's name")
        of_plan = {name.removeprefix("plan/"): tensor for name, tensor in tensors.items() if name not in PARTS}
        plan: Plan = plan_from(head["plan"], of_plan)
        measured = head["measured"]
        statistics = tensors["statistics"].numpy()
        reference = tensors["reference"].numpy() if "reference" in tensors else None
        units, seed = tensors["units"].numpy(), self.seed
        calibrated_on = measured.pop("calibrated_on")
        classes = measured.pop("precision")
        return Evaluation(
            score=summarise(self.task, statistics, reference, calibrated_on=calibrated_on, units=units, seed=seed),
            loss=relative_loss(self.task, statistics, reference, units=units, seed=seed),
            plan=plan,
            precision=None if classes is None else _precision(classes),
            statistics=statistics,
            reference=reference,
            units=units,
            **measured,
        )


def journal(
    network: Network, task: Task, *, exact: bool, count: int | None, batch_size: int | None, seed: int
) -> Journal:
    """The journal of a study of `network` by `task`, calibrated on `count` samples, judged in `batch_size` at once."""
    calibrated = calibration_samples(network, task, count=count, seed=seed)
    common = {
        "versions": provenance("", seed).versions,
        "source": _source(),
        "network": [network.name, str(network.device), fingerprint(network)],
        "computes": _computed(network, task, batch_size),
        "calibration": [_content(batch) for batch in calibrated.batches],
        "task": [task.name, task.metric, task.unit, task.tested_on],
        "samples": [
            [_content(batch.inputs), hashlib.sha256(np.ascontiguousarray(batch.labels).tobytes()).hexdigest()]
            for batch in task.batches(network, batch_size=batch_size)
        ],
        "exact": exact,
        "threads": torch.get_num_threads(),
        "seed": seed,
    }
    return Journal(folder=cache_folder(), network=network, task=task, inputs=_hash(common), seed=seed)


def _computed(network: Network, task: Task, batch_size: int | None) -> str:
    """A hash of the float output for the first test batch: equal weights in other code are another network."""
    batch = next(iter(task.batches(network, batch_size=batch_size)))
    with torch.no_grad():
        return _content({"output": network.forward(batch.inputs)})


def _measured(found: Evaluation) -> dict[str, Any]:
    sites = None if found.precision is None else found.precision.sites
    return {
        "calibrated_on": found.score.calibrated_on,
        "exact": found.exact,
        "off_by": found.off_by,
        "off_by_site": found.off_by_site,
        "sites_off_by": dict(found.sites_off_by),
        "accumulation_db": dict(found.accumulation_db),
        "seconds": found.seconds,
        "float_seconds": found.float_seconds,
        "precision": None if sites is None else {name: _classes(site) for name, site in sites.items()},
    }


def _classes(site: SiteClasses) -> dict[str, Any]:
    return {
        "macs": [[x, w, macs] for (x, w), macs in site.macs.items()],
        "x_shifts": site.x_shifts,
        "w_shifts": site.w_shifts,
    }


def _precision(sites: Mapping[str, Any]) -> PrecisionRecord:
    record = PrecisionRecord()
    for name, site in sites.items():
        macs = {(x, w): count for x, w, count in site["macs"]}
        record.sites[name] = SiteClasses(macs=macs, x_shifts=site["x_shifts"], w_shifts=site["w_shifts"])
    return record


def _content(batch: Batch) -> str:
    digest = hashlib.sha256()
    for name, tensor in batch.items():
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(bits_of(tensor))
    return digest.hexdigest()


@functools.cache
def _source() -> str:
    """A hash of bitwright's own modules: an entry of another program is another computation."""
    digest = hashlib.sha256()
    root = Path(bitwright.__file__).parent
    for file in sorted(root.rglob("*.py")):
        digest.update(f"{file.relative_to(root)}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _hash(value: Any) -> str:
    """Of plain values in the order that they are given in, which for globs of sites decides."""
    return hashlib.sha256(json.dumps(value, default=str).encode()).hexdigest()[:32]
