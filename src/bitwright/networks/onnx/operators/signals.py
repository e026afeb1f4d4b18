"""Fourier transforms and the windows and filters around them."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from bitwright.networks.onnx.node import Node, Value, axis_of, check_size, integers_of
from bitwright.networks.onnx.types import torch_type


def fourier(node: Node, x: torch.Tensor, length: Value = None, axis: Value = None) -> torch.Tensor:
    """The discrete Fourier transform along an axis of x [..., 1] (real) or [..., 2] (complex) -> [..., 2].

    One-sided transforms give the first half of the frequencies; one-sided inverse ones are real, [..., 1].
    """
    at = int(node.number("axis", 1)) if node.opset < 20 else -2 if axis is None else integers_of(axis)[0]
    along = axis_of(node, at, x.dim())
    if along == x.dim() - 1:
        raise node.refusal("transforms the axis of real and imaginary parts")
    count = None if length is None else integers_of(length)[0]
    inverse, half = bool(node.number("inverse", 0)), bool(node.number("onesided", 0))
    if inverse and half:
        return torch.fft.irfft(_complex(node, x), count, along).unsqueeze(-1)
    if half and x.shape[-1] == 1:
        return torch.view_as_real(torch.fft.rfft(x.squeeze(-1), count, along))
    found = (torch.fft.ifft if inverse else torch.fft.fft)(_complex(node, x), count, along)
    if half:
        found = found.narrow(along, 0, found.shape[along] // 2 + 1)
    return torch.view_as_real(found)


def short_time(
    node: Node, signal: torch.Tensor, step: torch.Tensor, window: Value = None, length: Value = None
) -> torch.Tensor:
    """Transforms of frames of a signal [B, samples(, 1 or 2)] -> [B, frames, frequencies, 2]."""
    x = signal.unsqueeze(-1) if signal.dim() == 2 else signal
    if window is None and length is None:
        raise node.refusal("has neither a window nor the length of one")
    count = len(window) if length is None and window is not None else integers_of(length)[0]  # type: ignore[arg-type]
    frames = x.unfold(1, count, integers_of(step)[0])  # [B, frames, parts, samples]
    if window is not None:
        frames = frames * window
    if x.shape[-1] == 1 and node.number("onesided", 1):
        return torch.view_as_real(torch.fft.rfft(frames.squeeze(2), dim=-1))
    found = torch.fft.fft(_complex(node, frames.transpose(2, 3).contiguous()), dim=-1)
    return torch.view_as_real(found[..., : count // 2 + 1] if node.number("onesided", 1) else found)


def _complex(node: Node, x: torch.Tensor) -> torch.Tensor:
    if x.shape[-1] not in (1, 2):
        raise node.refusal(f"transforms {list(x.shape)}, whose last axis is neither 1 (real) nor 2 (complex)")
    return (
        torch.view_as_complex(x.contiguous())
        if x.shape[-1] == 2
        else torch.complex(x[..., 0], torch.zeros_like(x[..., 0]))
    )


def cosines(parts: Sequence[float]) -> Callable[[Node, torch.Tensor], torch.Tensor]:
    """A window that is a sum of cosines, by their weights."""

    def run(node: Node, size: torch.Tensor) -> torch.Tensor:
        count = integers_of(size)[0]
        check_size(node, [count])
        period = count if node.number("periodic", 1) else max(1, count - 1)
        turns = 2 * torch.pi * torch.arange(count, dtype=torch.float64) / period
        total = sum((-1) ** i * part * torch.cos(i * turns) for i, part in enumerate(parts))
        return torch.as_tensor(total).to(torch_type(node, int(node.number("output_datatype", 1))))

    return run


def mel_filters(
    node: Node, bins: torch.Tensor, length: torch.Tensor, rate: torch.Tensor, low: torch.Tensor, high: torch.Tensor
) -> torch.Tensor:
    """Triangles that lie evenly on the mel scale: [frequencies, bins]."""
    count, size = integers_of(bins)[0], integers_of(length)[0]
    check_size(node, [size // 2 + 1, count])
    ends = 2595 * torch.log10(1 + torch.stack((low, high)).double().reshape(2) / 700)
    mels = ends[0] + torch.arange(count + 2) * ((ends[1] - ends[0]) / (count + 2))
    edges = torch.floor((size + 1) * (700 * (10 ** (mels / 2595) - 1)) / rate.double().reshape(())).long()
    at = torch.arange(size // 2 + 1)[:, None]
    first, top, last = edges[:-2], edges[1:-1], edges[2:]
    up = (at - first) / (top - first).clamp(min=1)
    down = (last - at) / (last - top).clamp(min=1)
    found = torch.where((at >= first) & (at < top), up, torch.where((at > top) & (at < last), down, 0.0))
    found = torch.where(at == top, 1.0, found)
    return found.to(torch_type(node, int(node.number("output_datatype", 1))))


SIGNALS: dict[str, Any] = {
    "BlackmanWindow": cosines((0.42, 0.5, 0.08)), "DFT": fourier, "HammingWindow": cosines((25 / 46, 21 / 46)),
    "HannWindow": cosines((0.5, 0.5)), "MelWeightMatrix": mel_filters, "STFT": short_time,
}  # fmt: skip
"""Operators of ONNX's own domain."""
