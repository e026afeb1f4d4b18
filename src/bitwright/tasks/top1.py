"""Top-1 accuracy, in percent, on a folder of labelled images named `NNNN_name.jpg` (the class id first).

Statistics: one row per image: 1 where the largest logit is the label's, else 0; the powers of the logits and of their
noise; the KL divergence from the float network. Images are independent of each other. A limit takes images evenly
spaced over the list sorted by class and name, so that the classes stay spread.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bitwright.errors import InputError
from bitwright.later import torch
from bitwright.networks.network import Network
from bitwright.tasks.blocks import divergences, powers
from bitwright.tasks.inputs import image_inputs
from bitwright.tasks.pictures import open_picture, picture_files, pixels_of
from bitwright.tasks.samples import Samples, calibration_of
from bitwright.tasks.statistics import Array, Bounds, ScoreFunction, mean_of
from bitwright.tasks.task import MeasureKind, TaskBatch, divergence, sqnr_beside
from bitwright.words import counted

_CLASS_ID = re.compile(r"(\d+)_")
RIGHT = ((0.0, 0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0))
"""Rows of an image that is wrong, and of one that is right."""


def top1(*, data: Path, limit: int | None = None) -> Top1:
    """The task on the images of a folder, at most `limit` of them.

    Raises
    ------
    InputError
        For a folder that is missing or has no images, an image without class id, and a file that is no image.
    """
    if not data.is_dir():
        raise InputError(f"{data} is not a folder; top1 needs a folder of images named NNNN_name.jpg, class id first")
    labelled = sorted((_class_id(path), path.name, path) for path in picture_files(data))
    chosen = [labelled[i] for i in evenly_spaced(len(labelled), limit)]
    for _, _, path in chosen:
        open_picture(path).close()
    return Top1(
        files=tuple(path for _, _, path in chosen),
        labels=tuple(label for label, _, _ in chosen),
        tested_on=f"{len(chosen)} of the {counted(len(labelled), 'image')} in {data.name}",
    )


def evenly_spaced(available: int, limit: int | None) -> list[int]:
    """Indices below `available`: all of them, or `limit` evenly spaced ones."""
    if limit is None or limit >= available:
        return list(range(available))
    if limit < 1:
        raise InputError(f"the limit is {limit}; at least one sample is needed")
    return [i * available // limit for i in range(limit)]


def _class_id(path: Path) -> int:
    match = _CLASS_ID.match(path.name)
    if match is None:
        raise InputError(f"{path.name} does not start with a class id; expected a name like 0281_{path.name}")
    return int(match[1])


def right_of(output: torch.Tensor, labels: Array, whose: str) -> torch.Tensor:
    """Whether the largest of logits [B, classes] is the label's [B]; where one is not finite, it is not.

    Raises
    ------
    InputError
        Outputs of another shape, and class ids that the network does not have, which are in `whose`.
    """
    if output.ndim != 2 or len(output) != len(labels):
        raise InputError(f"top1 needs logits [images, classes]; the network's output is {list(output.shape)}")
    wrong = labels[(labels < 0) | (labels >= output.shape[1])]
    if wrong.size:
        raise InputError(
            f"class id {wrong.max()} is in the {whose}, but the network has classes 0 to {output.shape[1] - 1}; number "
            "them as the network numbers its classes"
        )
    return (output.argmax(dim=1).cpu() == torch.from_numpy(labels)) & output.isfinite().all(dim=1).cpu()


_percent = mean_of(0, scale=100.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Top1:
    """Top-1 accuracy on labelled images.

    Attributes
    ----------
    files : tuple of Path
        The images, in the order they are tested in.
    labels : tuple of int
        Their class ids, which are indices into the network's logits.
    """

    files: tuple[Path, ...]
    labels: tuple[int, ...]
    tested_on: str
    name: str = "top1"
    metric: str = "top-1 accuracy"
    unit: str = "%"
    higher_is_better: bool = True
    needs_reference: bool = False
    repeatable: bool = True
    ratio: bool = True
    score: ScoreFunction = _percent
    further: tuple[MeasureKind, ...] = (sqnr_beside(1, 2), divergence(3))
    independent: tuple[str, str] | None = None
    bounds: Bounds = (0.0, 100.0)
    counted: tuple[tuple[float, ...], tuple[float, ...]] | None = RIGHT
    calibrated: Samples | tuple[str, ...] | None = dataclasses.field(default=None, repr=False, compare=False)

    @property
    def samples(self) -> int:
        """How many images."""
        return len(self.files)

    @property
    def sample_unit(self) -> str:
        """What `samples` counts."""
        return "image" if self.samples == 1 else "images"

    def batches(self, network: Network, *, batch_size: int | None = None) -> Iterator[TaskBatch]:
        """Images in order, each batch decoded when it is asked for (16 at once by default)."""
        size = batch_size or 16
        for start in range(0, len(self.files), size):
            images = [pixels_of(path) for path in self.files[start : start + size]]
            labels = np.array(self.labels[start : start + size])
            yield TaskBatch(inputs=image_inputs(network, images), labels=labels)

    def collect(self, batch: TaskBatch, output: torch.Tensor, reference: torch.Tensor) -> Array:
        """Rows (1 or 0, signal, noise, KL) from logits [B, classes]; logits that are not finite are wrong."""
        right = right_of(output, batch.labels, "images' names").numpy().astype(float)
        return np.hstack([right[:, None], powers(output, reference), divergences(output, reference)])

    def calibration(self, network: Network, *, count: int, seed: int) -> Samples:
        """Crops of photographs in packages: none of the test images."""
        return calibration_of(self.calibrated, network, count=count, seed=seed)
