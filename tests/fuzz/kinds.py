"""The kinds of input that the campaign knows: what is mutated, and who reads it.

A kind makes its seeds in a folder and gives cases: a case writes a mutated input and reads it as a command would. It
may raise `InputError` and nothing else.
"""

import dataclasses
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from tests.fuzz import networks, saved, settings, texts, verbs

Case = Callable[[], object]


class Maker(Protocol):
    """Cases by their random numbers; `plain`: of the seed as it is."""

    def __call__(self, rng: random.Random, *, plain: bool = False) -> Case: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of input.

    Attributes
    ----------
    name : str
        As it is asked for.
    weight : int
        Cases of a hundred thousand, in hundreds: what reads quickly is read more often.
    maker : callable
        A folder of its own, which is the current one -> its cases.
    """

    name: str
    weight: int
    maker: Callable[[Path], Any]


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(name="plan", weight=100, maker=saved.plans),
        Kind(name="log", weight=100, maker=saved.logs),
        Kind(name="checkpoint", weight=60, maker=saved.checkpoints),
        Kind(name="store", weight=15, maker=saved.stores),
        Kind(name="study", weight=60, maker=texts.studies),
        Kind(name="machine", weight=80, maker=texts.machines),
        Kind(name="architecture", weight=60, maker=texts.architectures),
        Kind(name="prices", weight=60, maker=texts.prices),
        Kind(name="workload", weight=80, maker=texts.workloads),
        Kind(name="table", weight=80, maker=texts.tables),
        Kind(name="labels", weight=60, maker=texts.labels),
        Kind(name="text", weight=20, maker=texts.plain_texts),
        Kind(name="condition", weight=60, maker=settings.conditions),
        Kind(name="option", weight=40, maker=settings.options),
        Kind(name="set", weight=30, maker=settings.machine_settings),
        Kind(name="onnx", weight=30, maker=networks.onnx_files),
        Kind(name="safetensors", weight=10, maker=networks.safetensors_files),
        Kind(name="huggingface", weight=10, maker=networks.folders),
        Kind(name="gguf", weight=10, maker=networks.gguf_files),
        Kind(name="image", weight=25, maker=networks.pictures),
        Kind(name="command", weight=10, maker=verbs.commands),
    )
}
