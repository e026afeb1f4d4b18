"""Every layer of torch that multiplies, with the options that change its product; and reparametrized weights."""

import functools
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from benchmarks.architectures import Architecture
from benchmarks.architectures.constructs import Method, Shape, construct
from torch import nn
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.nn.utils import parametrizations, parametrize, prune, rnn

Layer = Callable[[], nn.Module]


def _made(layer: Layer, shapes: tuple[Shape, ...], dtype: torch.dtype) -> tuple[nn.Module, Any]:
    return layer().to(dtype), tuple(torch.randn(shape).to(dtype) for shape in shapes)


def of(name: str, layer: Layer, *shapes: Shape, dtype: torch.dtype = torch.float32) -> Architecture:
    """One layer on inputs of these shapes."""
    return Architecture(name=name, family="construct", make=functools.partial(_made, layer, shapes, dtype))


LINE, IMAGE, VOLUME = (2, 8, 20), (2, 8, 9, 11), (2, 4, 5, 6, 7)
CONVOLUTIONS = [
    of("Conv1d", lambda: nn.Conv1d(8, 6, 3, padding=1), LINE),
    of("Conv1d, stride, dilation, groups", lambda: nn.Conv1d(8, 6, 3, 2, 2, 2, groups=2), LINE),
    of("Conv1d, depthwise, causal", lambda: nn.Conv1d(8, 8, 4, padding=3, groups=8), LINE),
    of("Conv1d, same", lambda: nn.Conv1d(8, 6, 4, padding="same"), LINE),
    of("Conv1d, unbatched", lambda: nn.Conv1d(8, 6, 3), (8, 20)),
    of("Conv1d, circular", lambda: nn.Conv1d(8, 6, 3, padding=1, padding_mode="circular"), LINE),
    of("Conv2d", lambda: nn.Conv2d(8, 6, 3, padding=1), IMAGE),
    of("Conv2d, 1 x 1", lambda: nn.Conv2d(8, 6, 1, bias=False), IMAGE),
    of("Conv2d, uneven kernel and strides", lambda: nn.Conv2d(8, 6, (3, 2), (2, 3), (1, 0), (1, 2)), IMAGE),
    of("Conv2d, groups", lambda: nn.Conv2d(8, 6, 3, groups=2), IMAGE),
    of("Conv2d, depthwise", lambda: nn.Conv2d(8, 8, 3, groups=8), IMAGE),
    of("Conv2d, depthwise of 1 x 1", lambda: nn.Conv2d(8, 8, 1, groups=8), IMAGE),
    of("Conv2d, depthwise with a multiplier", lambda: nn.Conv2d(8, 16, 3, groups=8), IMAGE),
    of("Conv2d, same, even kernel", lambda: nn.Conv2d(8, 6, (2, 4), padding="same"), IMAGE),
    of("Conv2d, valid", lambda: nn.Conv2d(8, 6, 3, padding="valid"), IMAGE),
    of("Conv2d, reflected", lambda: nn.Conv2d(8, 6, 3, padding=2, padding_mode="reflect"), IMAGE),
    of("Conv2d, unbatched", lambda: nn.Conv2d(8, 6, 3), (8, 9, 11)),
    of("Conv2d, channels last", lambda: nn.Conv2d(8, 6, 3).to(memory_format=torch.channels_last), IMAGE),
    of("Conv2d, bfloat16", lambda: nn.Conv2d(8, 6, 3), IMAGE, dtype=torch.bfloat16),
    of("Conv2d, patches", lambda: nn.Conv2d(3, 16, 4, 4), (2, 3, 16, 16)),
    of("Conv3d", lambda: nn.Conv3d(4, 6, 3, padding=1), VOLUME),
    of("Conv3d, stride, dilation, groups", lambda: nn.Conv3d(4, 6, (1, 3, 2), 2, 1, (1, 1, 2), groups=2), VOLUME),
    of("Conv3d, same", lambda: nn.Conv3d(4, 6, (2, 3, 1), padding="same"), VOLUME),
    of("Conv3d, unbatched", lambda: nn.Conv3d(4, 6, 3), VOLUME[1:]),
    of("ConvTranspose1d", lambda: nn.ConvTranspose1d(8, 6, 4, 2, 1), LINE),
    of("ConvTranspose1d, unbatched", lambda: nn.ConvTranspose1d(8, 6, 4, 2, 1), (8, 20)),
    of("ConvTranspose2d", lambda: nn.ConvTranspose2d(8, 6, 3, 2, 1), IMAGE),
    of("ConvTranspose2d, larger output", lambda: nn.ConvTranspose2d(8, 6, 3, 2, 1, output_padding=1), IMAGE),
    of("ConvTranspose2d, groups, dilation", lambda: nn.ConvTranspose2d(8, 6, 3, 2, 1, 1, 2, dilation=2), IMAGE),
    of("ConvTranspose2d, depthwise", lambda: nn.ConvTranspose2d(8, 8, 4, 2, 1, groups=8, bias=False), IMAGE),
    of("ConvTranspose2d, no overlap", lambda: nn.ConvTranspose2d(8, 6, 2, 2), IMAGE),
    of("ConvTranspose2d, unbatched", lambda: nn.ConvTranspose2d(8, 6, 3), (8, 9, 11)),
    of("ConvTranspose3d", lambda: nn.ConvTranspose3d(4, 6, 3, 2, 1, 1), VOLUME),
    construct("conv1d of two activations", F.conv1d, [LINE, (6, 8, 3)]),
    construct("conv2d of two activations", F.conv2d, [IMAGE, (6, 8, 3, 3)]),
    construct("conv2d by name", lambda x, w: F.conv2d(input=x, weight=w, padding=(1, 0)), [IMAGE], [(6, 8, 3, 3)]),
    construct("torch.conv2d", lambda x, w: torch.conv2d(x, w, None, 1, 1), [IMAGE], [(6, 8, 3, 3)]),
    construct(
        "torch.convolution",
        lambda x, w: torch.convolution(x, w, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1),
        [IMAGE],
        [(6, 8, 3, 3)],
    ),
    construct("conv_transpose2d", lambda x, w: F.conv_transpose2d(x, w, stride=2), [IMAGE], [(8, 6, 3, 3)]),
    construct("conv_tbc", lambda x, w, b: torch.conv_tbc(x, w, b, 1), [(20, 2, 8)], [(3, 8, 6), (6,)]),
    construct("unfold and @", lambda x, w: w @ F.unfold(x, 3), [IMAGE], [(6, 72)]),
    construct(
        "weights per image", lambda x, w: F.conv2d(x.reshape(1, 16, 9, 11), w, groups=2), [IMAGE], [(12, 8, 3, 3)]
    ),
]


class First(nn.Module):
    """The first output of a layer that is given its input `times` over."""

    def __init__(self, layer: nn.Module, times: int = 1) -> None:
        super().__init__()
        self.layer, self.times = layer, times

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """The first of the layer's outputs."""
        return self.layer(*inputs * self.times)[0]


class Packed(nn.Module):
    """A recurrent layer on sequences of different lengths."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The outputs, padded."""
        lengths = torch.arange(len(x)) + x.shape[1] - len(x) + 1
        packed = rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return rnn.pad_packed_sequence(self.layer(packed)[0], batch_first=True)[0]


class Unrolled(nn.Module):
    """A recurrent cell, step by step."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The last step's state."""
        state = None
        for step in x:
            state = self.cell(step, state)
        return state[0] if isinstance(state, tuple) else state


STEPS = (7, 2, 8)
RECURRENT = [
    of("LSTM", lambda: First(nn.LSTM(8, 6)), STEPS),
    of("LSTM, two layers, both directions", lambda: First(nn.LSTM(8, 6, 2, bidirectional=True)), STEPS),
    of("LSTM, projected", lambda: First(nn.LSTM(8, 6, proj_size=4)), STEPS),
    of("LSTM, batch first, no bias", lambda: First(nn.LSTM(8, 6, bias=False, batch_first=True)), STEPS),
    of("LSTM, unbatched", lambda: First(nn.LSTM(8, 6)), (7, 8)),
    of("LSTM, packed", lambda: Packed(nn.LSTM(8, 6, 2, batch_first=True)), (3, 7, 8)),
    of(
        "LSTM, given state",
        lambda: Method(nn.LSTM(8, 6), lambda m, x, h, c: m(x, (h, c))[0]),
        STEPS,
        (1, 2, 6),
        (1, 2, 6),
    ),
    of("GRU", lambda: First(nn.GRU(8, 6)), STEPS),
    of("GRU, two layers, both directions", lambda: First(nn.GRU(8, 6, 2, bidirectional=True)), STEPS),
    of("GRU, packed", lambda: Packed(nn.GRU(8, 6, batch_first=True, bidirectional=True)), (3, 7, 8)),
    of("RNN, tanh", lambda: First(nn.RNN(8, 6)), STEPS),
    of("RNN, ReLU", lambda: First(nn.RNN(8, 6, 2, nonlinearity="relu", batch_first=True)), STEPS),
    of("LSTMCell", lambda: Unrolled(nn.LSTMCell(8, 6)), STEPS),
    of("GRUCell", lambda: Unrolled(nn.GRUCell(8, 6)), STEPS),
    of("RNNCell", lambda: Unrolled(nn.RNNCell(8, 6)), STEPS),
]


class Masked(nn.Module):
    """An attention or encoder layer with masks fixed as keyword arguments."""

    def __init__(self, layer: nn.Module, masks: dict[str, Any], times: int = 1) -> None:
        super().__init__()
        self.layer, self.masks, self.times = layer, masks, times

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """The first of the layer's outputs."""
        out = self.layer(*inputs * self.times, **self.masks)
        return out[0] if isinstance(out, tuple) else out


def _heads(**options: Any) -> nn.Module:
    return nn.MultiheadAttention(16, 4, batch_first=True, **options)


def _encoder(**options: Any) -> nn.Module:
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, **options)
    return nn.TransformerEncoder(layer, 2)


CAUSAL = torch.ones(6, 6).triu(1).bool()
PAD = torch.arange(6) >= torch.tensor([[6], [4]])
TOKENS = (2, 6, 16)


def _relative(score: torch.Tensor, b: Any, h: Any, q: Any, k: Any) -> torch.Tensor:  # noqa: ARG001
    return score + 0.1 * (q - k)


def _windowed(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    mask = create_block_mask(lambda _, __, q, k: (q >= k) & (q - k < 64), None, None, 128, 128, device="cpu")
    return flex_attention(q, k, v, block_mask=mask)


FLEX = [(1, 2, 16, 8)] * 3
ATTENTION = [
    of("MultiheadAttention", lambda: First(_heads(), 3), TOKENS),
    of("MultiheadAttention, tokens first", lambda: First(nn.MultiheadAttention(16, 4), 3), TOKENS),
    of("MultiheadAttention, unbatched", lambda: First(_heads(), 3), (6, 16)),
    of("MultiheadAttention, no weights", lambda: Masked(_heads(), {"need_weights": False}, 3), TOKENS),
    of("MultiheadAttention, causal", lambda: Masked(_heads(), {"attn_mask": CAUSAL}, 3), TOKENS),
    of("MultiheadAttention, padded", lambda: Masked(_heads(), {"key_padding_mask": PAD}, 3), TOKENS),
    of(
        "MultiheadAttention, other keys and values",
        lambda: First(_heads(kdim=8, vdim=12)),
        TOKENS,
        (2, 5, 8),
        (2, 5, 12),
    ),
    of("MultiheadAttention, extra keys", lambda: First(_heads(add_bias_kv=True, add_zero_attn=True), 3), TOKENS),
    of("TransformerEncoder", _encoder, TOKENS),
    of("TransformerEncoder, norm first, gelu", lambda: _encoder(norm_first=True, activation="gelu"), TOKENS),
    of("TransformerEncoder, padded", lambda: Masked(_encoder(), {"src_key_padding_mask": PAD}), TOKENS),
    of(
        "TransformerDecoder",
        lambda: nn.TransformerDecoder(nn.TransformerDecoderLayer(16, 4, 32), 2),
        TOKENS,
        (3, 6, 16),
    ),
    of("Transformer", lambda: nn.Transformer(16, 4, 1, 1, 32, batch_first=True), TOKENS, (2, 4, 16)),
    construct("flex attention", flex_attention, FLEX),
    construct("flex attention, relative positions", lambda q, k, v: flex_attention(q, k, v, score_mod=_relative), FLEX),
    construct(
        "flex attention, grouped queries",
        functools.partial(flex_attention, enable_gqa=True),
        [(1, 4, 16, 8), *FLEX[:2]],
    ),
    construct("flex attention, block mask", _windowed, [(1, 2, 128, 8)] * 3),
    of("Bilinear", lambda: nn.Bilinear(6, 8, 5), (4, 6), (4, 8)),
    construct("bilinear, three axes", F.bilinear, [(2, 3, 6), (2, 3, 8)], [(5, 6, 8), (5,)]),
]


class Symmetric(nn.Module):
    """A parametrization: the weight is its own transpose."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Upper triangle, mirrored."""
        return x.triu() + x.triu(1).mT


class LowRank(nn.Module):
    """A parametrization: the weight plus a product of two narrow matrices (LoRA, Hu et al. 2021)."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.down, self.up = nn.Parameter(torch.randn(2, columns) / 4), nn.Parameter(torch.randn(rows, 2) / 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """W + up down."""
        return x + self.up @ self.down


def _parametrized(parametrization: nn.Module, layer: nn.Module) -> nn.Module:
    return parametrize.register_parametrization(layer, "weight", parametrization)


def _old_weight_norm(layer: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.utils.weight_norm(layer)


ROWS = (6, 16)
WEIGHTS = [
    of("weight norm", lambda: parametrizations.weight_norm(nn.Linear(16, 8)), ROWS),
    of("weight norm of a convolution", lambda: parametrizations.weight_norm(nn.Conv1d(8, 6, 3)), LINE),
    of("weight norm, old style", lambda: _old_weight_norm(nn.Conv1d(8, 6, 3)), LINE),
    of("spectral norm", lambda: parametrizations.spectral_norm(nn.Linear(16, 8)), ROWS),
    of("spectral norm, old style", lambda: nn.utils.spectral_norm(nn.Conv2d(8, 6, 3)), IMAGE),
    of("orthogonal", lambda: parametrizations.orthogonal(nn.Linear(16, 8)), ROWS),
    of("symmetric", lambda: _parametrized(Symmetric(), nn.Linear(16, 16)), ROWS),
    of("low rank", lambda: _parametrized(LowRank(8, 16), nn.Linear(16, 8)), ROWS),
    of("pruned", lambda: prune.l1_unstructured(nn.Linear(16, 8), "weight", 0.5), ROWS),
    of(
        "batch norm after a convolution", lambda: nn.Sequential(nn.Conv2d(8, 6, 3), nn.BatchNorm2d(6), nn.ReLU()), IMAGE
    ),
    of("batch norm after a linear layer", lambda: nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8)), ROWS),
]

ARCHITECTURES = [*CONVOLUTIONS, *RECURRENT, *ATTENTION, *WEIGHTS]
