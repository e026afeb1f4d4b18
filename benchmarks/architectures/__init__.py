"""Architectures with small random weights, for `coverage.py`: from configurations or written out, never fetched."""

import contextlib
import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

import torch

BATCH_NORMS = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d)
FAMILIES = (
    "text",
    "experts",
    "state_space",
    "recurrent",
    "time_series",
    "vision",
    "detection",
    "audio",
    "codecs",
    "multimodal",
    "vision_language",
    "convolutional",
    "dense",
    "generative",
    "diffusion",
    "structured",
    "constructs",
    "layers",
    "programs",
)
Inputs = torch.Tensor | tuple[torch.Tensor, ...] | dict[str, torch.Tensor]

SKIPPED = (
    (
        "torchvision's and timm's own modules",
        "torchvision does not import beside torch 2.13; the layouts are written out",
    ),
    ("diffusers' own modules", "not a dependency; the layouts are written out in diffusion.py"),
    ("FastVLM, PerceptionLM, Gemma 3n's and PE-Video's vision, EdgeTAM", "their configurations need timm"),
    ("Informer's sampled attention", "draws keys at random in every pass; its full attention is here"),
    ("ViLT's token outputs", "draws the order of patches at random; its pooled answer is here"),
    ("varlen_attn", "torch has no kernel for it on the CPU"),
    ("sparse and packed products", "torch.sparse.mm, _weight_int8pack_mm: already compressed, not float networks"),
    ("quantize_dynamic, torchao tensors", "already quantized"),
    ("custom operators", "their insides are invisible to the counter"),
    ("scan, associative_scan", "experimental, and compiled even where compilation is off"),
)
"""(what, why) of what was asked for and is not here."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
    """A small network of one architecture.

    Attributes
    ----------
    name : str
        Of the architecture.
    family : str
        text, vision, audio, multimodal, experts, state space, recurrent, diffusion, convolutional or construct.
    make : callable
        Without arguments -> (module, example inputs).
    """

    name: str
    family: str
    make: Callable[[], tuple[torch.nn.Module, Any]]

    def build(self) -> tuple[torch.nn.Module, Inputs]:
        """The module in evaluation mode with seeded weights, and its example inputs: a tensor, a tuple, or by name."""
        torch.manual_seed(0)
        module, inputs = self.make()
        if any(isinstance(part, BATCH_NORMS) for part in module.modules()):
            _settle(module.eval(), inputs)
        with contextlib.suppress(NotImplementedError):  # an exported program has the one mode it was exported in
            module.eval()
        return module, inputs


@torch.no_grad()
def _settle(module: torch.nn.Module, inputs: Inputs) -> None:
    """Give batch norms the statistics of inputs like the example, as training would; without, random networks fade."""
    norms = [part for part in module.modules() if isinstance(part, BATCH_NORMS)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    if isinstance(inputs, dict):
        module(**{name: _more(value) for name, value in inputs.items()})
    else:
        module(*(_more(value) for value in (inputs if isinstance(inputs, tuple) else (inputs,))))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def _more(value: torch.Tensor) -> torch.Tensor:
    """Sixteen times as many examples: statistics of one or two say little."""
    others = [torch.randn_like(value) if value.is_floating_point() else value for _ in range(15)]
    return torch.cat([value, *others])


def every_architecture() -> list[Architecture]:
    """All of this package, by family."""
    found = []
    for name in FAMILIES:
        found += importlib.import_module(f"benchmarks.architectures.{name}").ARCHITECTURES
    return found
