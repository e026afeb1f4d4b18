"""What `load` knows by name, without importing torch: networks with trained weights, with shapes only, distributions.

Parameter counts are those of the modules that `load` builds; tests hold them equal.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, TypedDict

from bitwright.shown import Headline, Shown, Table, Tabled


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """A network that `load` knows by name.

    Attributes
    ----------
    name : str
        What `load` takes.
    kind : str
        As `Network.kind`.
    title : str
        What it is, in a few words.
    parameters : int
        Learned numbers, tied ones counted once.
    trained : bool
        Whether weights come with it; otherwise it is shape-only.
    """

    name: str
    kind: str
    title: str
    parameters: int
    trained: bool

    @property
    def summary(self) -> str:
        """One line: what it is, kind, parameters, and whether it has weights."""
        size = f"{self.parameters / 1e9:.1f} G" if self.parameters >= 1e9 else f"{self.parameters / 1e6:.1f} M"
        weights = "trained weights" if self.trained else "shapes only"
        return f"{self.title}; {self.kind}, {size} parameters, {weights}"


class ModelLine(TypedDict):
    """A network that `load` knows by name."""

    name: Annotated[str, "what `load` takes"]
    kind: Annotated[str, "image, sentence, language or tensor"]
    title: Annotated[str, "what it is, in a few words"]
    parameters: Annotated[int, "learned numbers, tied ones counted once"]
    trained: Annotated[bool, "whether weights come with it; otherwise it has shapes only"]


class Models(tuple[ModelEntry, ...], Tabled):
    """Networks that have names; the frame `models` has one line each."""

    TABLES: ClassVar[Mapping[str, Table]] = {"models": Table(ModelLine, lambda found: found._lines())}

    def headline(self) -> Headline:
        """One line about each."""
        return Headline(f"{len(self)} networks", [(each.name, each.summary) for each in self])

    def _lines(self) -> Iterator[ModelLine]:
        for each in self:
            yield {
                "name": each.name,
                "kind": each.kind,
                "title": each.title,
                "parameters": each.parameters,
                "trained": each.trained,
            }

    __repr__ = Shown.__repr__


def _entry(name: str, kind: str, title: str, parameters: int, *, trained: bool = False) -> ModelEntry:
    return ModelEntry(name=name, kind=kind, title=title, parameters=parameters, trained=trained)


ENTRIES = Models(
    (
        _entry("efficientnet-lite0", "image", "CNN for 224 px ImageNet", 4_652_008, trained=True),
        _entry("minilm-l6", "sentence", "BERT-like encoder, 6 layers", 22_565_376, trained=True),
        _entry("smollm2-135m", "language", "LLaMA-like language model, 30 layers", 134_515_008, trained=True),
        _entry("resnet18", "image", "ResNet-18", 11_689_512),
        _entry("resnet50", "image", "ResNet-50, stride in the 3x3 convolution (v1.5)", 25_557_032),
        _entry("mobilenetv2", "image", "MobileNetV2, width 1.0", 3_504_872),
        _entry("vit-base", "image", "ViT-B/16 at 224 px", 86_567_656),
        _entry("deit-base", "image", "DeiT-B/16 at 224 px (the same shapes as vit-base)", 86_567_656),
        _entry("segformer-b0", "image", "SegFormer-B0 for ADE20K at 512 px", 3_752_694),
        _entry("efficientvit-b1", "image", "EfficientViT-B1 (MIT) for ADE20K at 512 px", 4_791_414),
        _entry("bert-base", "sentence", "BERT-Base, 12 layers", 109_482_240),
        _entry("gpt2", "language", "GPT-2 small, 12 layers", 124_439_808),
        _entry("opt-2.7b", "language", "OPT, 32 layers of 2,560", 2_651_596_800),
        _entry("opt-6.7b", "language", "OPT, 32 layers of 4,096", 6_658_473_984),
        _entry("llama2-7b", "language", "LLaMA 2, 32 layers of 4,096", 6_738_415_616),
    )
)

DISTRIBUTIONS: Mapping[str, str] = {  # of synthetic activations; `bitwright.networks.synthetic` draws them
    "gaussian": "N(0, 1)",
    "laplace": "Laplace of mean 0 and variance 1: longer tails",
    "outliers": "N(0, 1) with 1 % of the channels 20 times as large",
    "one-sided": "max(0, N(0, 1)), as after a ReLU",
}


def models() -> Models:
    """Every network that `load` knows by name, those with trained weights first.

    Examples
    --------
    >>> "resnet18" in {entry.name for entry in models()}
    True
    """
    return ENTRIES
