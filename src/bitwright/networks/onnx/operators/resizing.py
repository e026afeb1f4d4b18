"""Resize and Upsample in all coordinate modes.

Where torch's `interpolate` does the very same it is called; all other cases gather along one axis after the other.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from bitwright.networks.onnx.node import Node, Value, axis_of, check_size, integers_of

TORCH_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}
HALF = ("half_pixel", "pytorch_half_pixel")
WHOLE = (0.0, 1.0)


def resize(node: Node, x: torch.Tensor, roi: Value = None, scales: Value = None, sizes: Value = None) -> torch.Tensor:
    """x in other sizes."""
    if node.opset < 11 and scales is None:  # opset 10 has the scales second
        roi, scales = None, roi
    axes = node.integers("axes") or list(range(x.dim()))
    axes = [axis_of(node, axis, x.dim()) for axis in axes]
    factors, wanted = _sizes(node, x, axes, scales, sizes)
    check_size(node, wanted)
    mode = node.text("mode", "nearest")
    coordinates = node.text("coordinate_transformation_mode", "half_pixel" if node.opset >= 11 else "asymmetric")
    parts = _parts(node, roi, axes, x.dim()) if coordinates == "tf_crop_and_resize" else {}
    changed = [
        axis
        for axis in range(x.dim())
        if wanted[axis] != x.shape[axis] or factors[axis] != 1 or parts.get(axis, WHOLE) != WHOLE
    ]
    if not changed:
        return x
    plain = not parts and all(factors[axis] * x.shape[axis] == wanted[axis] for axis in changed)
    found = _by_torch(node, x, wanted, mode, coordinates) if plain and min(changed) > 1 else None
    if found is not None:
        return found
    outside = {}
    for axis in changed:
        places = _places(node, x.shape[axis], wanted[axis], factors[axis], coordinates, parts.get(axis, WHOLE))
        if parts:
            outside[axis] = (places < 0) | (places > x.shape[axis] - 1)
        x = _along(node, x, axis, places, factors[axis], mode)
    for axis, hidden in outside.items():
        shape = [-1 if i == axis else 1 for i in range(x.dim())]
        x = x.masked_fill(hidden.reshape(shape).to(x.device), node.number("extrapolation_value", 0.0))
    return x


def _parts(node: Node, roi: Value, axes: list[int], rank: int) -> dict[int, tuple[float, float]]:
    """Which part of each axis is resized, as shares of its length."""
    if roi is None or roi.numel() != 2 * len(axes):
        raise node.refusal("has no region (roi) of two places for each axis")
    first, last = roi.reshape(2, -1).tolist()
    found = dict(zip(axes, zip(first, last, strict=True), strict=True))
    return {axis: found.get(axis, WHOLE) for axis in range(rank)}


def _sizes(node: Node, x: torch.Tensor, axes: list[int], scales: Value, sizes: Value) -> tuple[list[float], list[int]]:
    """The factor and the new size of every axis."""
    factors, wanted = [1.0] * x.dim(), list(x.shape)
    if sizes is not None and sizes.numel():
        given = integers_of(sizes)
        policy = node.text("keep_aspect_ratio_policy", "stretch")
        ratios = [size / x.shape[axis] for axis, size in zip(axes, given, strict=True)]
        if policy != "stretch":
            ratio = min(ratios) if policy == "not_larger" else max(ratios)
            ratios, given = [ratio] * len(axes), [math.floor(ratio * x.shape[axis] + 0.5) for axis in axes]
        for axis, size, ratio in zip(axes, given, ratios, strict=True):
            factors[axis], wanted[axis] = ratio, size
        return factors, wanted
    numbers = scales.reshape(-1).tolist() if scales is not None else node.attributes.get("scales")
    if not isinstance(numbers, list | tuple) or len(numbers) != len(axes):
        raise node.refusal("has neither scales nor sizes for its axes")
    for axis, factor in zip(axes, numbers, strict=True):
        factors[axis], wanted[axis] = float(factor), int(np.floor(np.float32(x.shape[axis]) * np.float32(factor)))
    return factors, wanted


def _by_torch(node: Node, x: torch.Tensor, wanted: list[int], mode: str, coordinates: str) -> torch.Tensor | None:
    """The same by `interpolate`; None where it has no such mode."""
    spatial, smooth = wanted[2:], bool(node.number("antialias", 0))
    if not x.is_floating_point() or (node.number("exclude_outside", 0) and mode == "cubic"):
        return None
    if mode == "nearest":
        how = node.text("nearest_mode", "round_prefer_floor" if node.opset >= 11 else "floor")
        whole = all(new % old == 0 for new, old in zip(spatial, x.shape[2:], strict=True))
        shrunk = any(new < old for new, old in zip(spatial, x.shape[2:], strict=True))
        exact = (coordinates == "asymmetric" and how == "floor") or (
            coordinates in HALF and how.startswith("round") and not shrunk
        )
        return F.interpolate(x, spatial) if exact and whole else None
    kind = TORCH_MODES.get(len(spatial)) if mode == "linear" else "bicubic" if len(spatial) == 2 else None
    bends = mode == "linear" or node.number("cubic_coeff_a", -0.75) == -0.75
    if kind is None or not bends or (1 in spatial and coordinates == "pytorch_half_pixel"):
        return None
    if smooth and (mode != "linear" or len(spatial) != 2 or not node.number("exclude_outside", 0)):
        return None  # torch's cubic is another then, and it leaves out what lies outside
    if smooth and coordinates not in HALF:
        return None
    if coordinates in HALF:
        return F.interpolate(x, spatial, mode=kind, align_corners=False, antialias=smooth)
    return F.interpolate(x, spatial, mode=kind, align_corners=True) if coordinates == "align_corners" else None


def _places(
    node: Node, length: int, wanted: int, factor: float, coordinates: str, part: tuple[float, float]
) -> torch.Tensor:
    """Where in the old axis each element of the new one lies, in float32 as onnxruntime has it: ties depend on it."""
    new = torch.arange(wanted, dtype=torch.float32)
    if coordinates == "align_corners":
        return new * (length - 1) / (wanted - 1) if wanted > 1 else new * 0
    if coordinates == "asymmetric":
        return new / factor
    if coordinates == "tf_crop_and_resize":
        first, last = (end * (length - 1) for end in part)
        return first + new * (last - first) / (wanted - 1) if wanted > 1 else new * 0 + (first + last) / 2
    if coordinates == "pytorch_half_pixel" and wanted == 1:
        return new * 0
    if coordinates == "tf_half_pixel_for_nn":
        return (new + 0.5) / factor
    if coordinates == "half_pixel_symmetric":
        adjustment = wanted / (factor * length)
        centre = length / 2
        return centre * (1 - adjustment) + (new + 0.5) / factor - 0.5
    if coordinates not in HALF:
        raise node.refusal(f"its coordinates {coordinates!r} are not known")
    return (new + 0.5) / factor - 0.5


def _along(node: Node, x: torch.Tensor, axis: int, places: torch.Tensor, factor: float, mode: str) -> torch.Tensor:
    length = x.shape[axis]
    if mode == "nearest":
        return torch.index_select(x, axis, _nearest(node, places).clamp(0, length - 1).long().to(x.device))
    if mode not in ("linear", "cubic"):
        raise node.refusal(f"its mode {mode!r} is not known")
    if not x.is_floating_point():
        raise node.refusal(f"resizes {x.dtype} by mode {mode}, which is supported of floats alone")
    smooth = bool(node.number("antialias", 0)) and factor < 1
    reach = (1 if mode == "linear" else 2) / (factor if smooth else 1)
    bend = (lambda at: (1 - at).clamp(0)) if mode == "linear" else partial(_bend, node.number("cubic_coeff_a", -0.75))
    taps, weights = _taps(places.double(), reach, factor if smooth else 1.0, bend)
    if node.number("exclude_outside", 0):
        weights = [torch.where((tap < 0) | (tap >= length), 0.0, w) for tap, w in zip(taps, weights, strict=True)]
    if smooth or node.number("exclude_outside", 0):
        total_weight = sum(weights[1:], weights[0])
        weights = [weight / total_weight for weight in weights]
    shape = [-1 if i == axis else 1 for i in range(x.dim())]
    total = None
    for tap, weight in zip(taps, weights, strict=True):
        chosen = torch.index_select(x, axis, tap.clamp(0, length - 1).long().to(x.device))
        part = chosen * weight.to(x.dtype).to(x.device).reshape(shape)
        total = part if total is None else total + part
    assert total is not None
    return total


def _nearest(node: Node, places: torch.Tensor) -> torch.Tensor:
    how = node.text("nearest_mode", "round_prefer_floor" if node.opset >= 11 else "floor")
    if how == "floor":
        return torch.floor(places)
    if how == "ceil":
        return torch.ceil(places)
    return torch.ceil(places - 0.5) if how == "round_prefer_floor" else torch.floor(places + 0.5)


def _taps(
    places: torch.Tensor, reach: float, narrowing: float, bend: Callable[[torch.Tensor], torch.Tensor]
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The old elements around each place, and their weights by distance, which a factor below 1 narrows."""
    low = torch.floor(places)
    first = math.floor(-reach) + 1
    taps = [low + i for i in range(first, 2 - first)]
    return taps, [bend(torch.abs(tap - places) * narrowing) for tap in taps]


def _bend(a: float, at: torch.Tensor) -> torch.Tensor:
    """The cubic convolution kernel (Keys, 1981) at distances of 0 or more."""
    near = ((a + 2) * at - (a + 3)) * at * at + 1
    far = ((a * at - 5 * a) * at + 8 * a) * at - 4 * a
    return torch.where(at <= 1, near, torch.where(at < 2, far, 0.0))


RESIZING: dict[str, Any] = {"Resize": resize, "Upsample": resize}
"""Operators of ONNX's own domain."""
