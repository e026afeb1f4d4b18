"""Nodes whose weights are constants, as torch's own layers: what folding, smoothing and rotation look for.

Layers are made without memory and given the file's numbers, in the layout that torch has them in.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from bitwright.networks.onnx.node import Node, Value
from bitwright.networks.onnx.operators.products import TRANSPOSED, transposed_convolution
from bitwright.networks.onnx.operators.windows import window_of
from bitwright.networks.unseen import unseen

Parameters = Callable[[torch.Tensor], torch.nn.Parameter]


class AnyBatchNorm(torch.nn.BatchNorm2d):
    """A batch norm of any number of spatial axes."""

    def _check_input_dim(self, input: torch.Tensor) -> None:  # noqa: A002
        """Any will do."""


class Padded:
    """A convolution whose pads differ between sides, or follow from the image's size."""

    node: Node

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The convolution of the padded image."""
        window = window_of(self.node, x.shape[2:], self.kernel_size)  # type: ignore[attr-defined]
        return super().forward(F.pad(x, window.flat_pads))  # type: ignore[misc]


class PaddedConv1d(Padded, torch.nn.Conv1d):
    """In one spatial axis."""


class PaddedConv2d(Padded, torch.nn.Conv2d):
    """In two."""


class PaddedConv3d(Padded, torch.nn.Conv3d):
    """In three."""


PLAIN: tuple[Any, ...] = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)
PADDED: tuple[Any, ...] = (PaddedConv1d, PaddedConv2d, PaddedConv3d)


def convolution(node: Node, w: torch.Tensor, bias: Value) -> torch.nn.Module:
    """A Conv whose weight [N, channels of a group, *taps] is a constant."""
    spatial, groups = w.dim() - 2, int(node.number("group", 1))
    if not 1 <= spatial <= 3 or groups < 1 or w.shape[0] % groups or not w.numel():
        raise node.refusal(f"convolves by {list(w.shape)} in {groups} groups; 1 to 3 spatial axes are expected")
    if (node.integers("kernel_shape") or list(w.shape[2:])) != list(w.shape[2:]):
        raise node.refusal(f"its kernel_shape is not that of its weight {list(w.shape)}")
    window = window_of(node, [1] * spatial, w.shape[2:])
    fixed = node.text("auto_pad", "NOTSET") in ("NOTSET", "VALID") and window.symmetric and min(window.begin) >= 0
    made = (PLAIN if fixed else PADDED)[spatial - 1](
        w.shape[1] * groups,
        w.shape[0],
        tuple(w.shape[2:]),
        window.stride,
        window.begin if fixed else 0,
        window.dilation,
        groups,
        bias=False,
        device="meta",
    )
    if not fixed:
        made.node = node
    made.weight = parameter(w)
    if bias is not None:
        made.bias = parameter(bias)
    return made


class TransposedConvolution(torch.nn.Module):
    """A ConvTranspose by a constant weight [channels, N of a group, *taps]."""

    def __init__(self, node: Node, w: torch.Tensor, bias: Value) -> None:
        super().__init__()
        if not 1 <= w.dim() - 2 <= len(TRANSPOSED):
            raise node.refusal(f"convolves by {list(w.shape)}; 1 to 3 spatial axes are expected")
        self.node, self.weight = node, parameter(w)
        self.bias = None if bias is None else parameter(bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The transposed convolution."""
        return transposed_convolution(self.node, x, self.weight, self.bias)


class Outer(torch.nn.Linear):
    """A linear layer with nothing to reduce (K = 1), which multiplies element by element."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002
        """x [..., 1] by w [N, 1]."""
        found = input * self.weight[:, 0]
        return found if self.bias is None else found + self.bias


def linear(w: torch.Tensor, bias: Value) -> torch.nn.Linear:
    """x by a constant [N, K], and a bias [N]."""
    made = (Outer if w.shape[1] == 1 else torch.nn.Linear)(w.shape[1], w.shape[0], bias=False, device="meta")
    made.weight = parameter(w)
    if bias is not None:
        made.bias = parameter(bias)
    return made


def batch_norm(node: Node, gain: torch.Tensor, bias: torch.Tensor, mean: torch.Tensor, variance: torch.Tensor) -> Any:
    """A BatchNormalization in inference."""
    made = AnyBatchNorm(len(gain), eps=node.number("epsilon", 1e-5), device="meta")
    made.weight, made.bias = parameter(gain), parameter(bias)
    made.running_mean, made.running_var = mean.clone(), variance.clone()
    made.num_batches_tracked = torch.zeros((), dtype=torch.int64)
    return made.eval()


def layer_norm(gain: Value, bias: Value, width: int, epsilon: float) -> torch.nn.LayerNorm:
    """A norm of the last axis."""
    made: Any = torch.nn.LayerNorm(width, eps=epsilon, elementwise_affine=False)
    if gain is not None:
        made.weight = parameter(gain)
        made.bias = None if bias is None else parameter(bias)
        made.elementwise_affine = True
    return made


class Table(torch.nn.Embedding):
    """Rows of a constant by index; negative indices count from the end."""

    def forward(self, indices: torch.Tensor) -> torch.Tensor:
        """The rows."""
        with unseen():
            low = int(indices.min()) if indices.numel() else 0
        return super().forward(indices.long() if low >= 0 else torch.remainder(indices.long(), self.num_embeddings))


def table(w: torch.Tensor) -> Table:
    """Rows of w [words, width]."""
    return Table(w.shape[0], w.shape[1], _weight=w, _freeze=True, device="meta") if w.is_meta else _filled(w)


def _filled(w: torch.Tensor) -> Table:
    made = Table(w.shape[0], w.shape[1], device="meta")
    made.weight = parameter(w)
    return made


def parameter(values: torch.Tensor) -> torch.nn.Parameter:
    """A parameter of these very numbers; the same one for the same tensor."""
    if isinstance(values, torch.nn.Parameter):
        return values
    return torch.nn.Parameter(values, requires_grad=values.is_floating_point())
