"""Boxes of detectors: which of them are kept, and what lies in them."""

from typing import Any

import torch

from bitwright.networks.onnx.node import Node, Value, integers_of


def kept(
    node: Node,
    boxes: torch.Tensor,
    scores: torch.Tensor,
    most: Value = None,
    overlap: Value = None,
    least: Value = None,
) -> torch.Tensor:
    """Of each class the boxes that no better one covers: [count, 3], (image, class, box), by falling score.

    Boxes [images, count, 4] are two opposite corners (y, x), or centres and extents (x, y, w, h); scores [images,
    classes, count].
    """
    limit = 0 if most is None else integers_of(most)[0]
    share = 0.0 if overlap is None else float(overlap.reshape(-1)[0])
    low = -torch.inf if least is None else float(least.reshape(-1)[0])
    corners = _corners(boxes, centred=bool(node.number("center_point_box", 0)))
    found = [torch.zeros(0, 3, dtype=torch.int64)]
    for image, of_classes in enumerate(scores.unbind(0)):
        for kind, own in enumerate(of_classes.unbind(0)):
            chosen = _best(corners[image], own, limit, share, low)
            rows = torch.stack((torch.full_like(chosen, image), torch.full_like(chosen, kind), chosen), 1)
            found.append(rows)
    return torch.cat(found)


def _best(corners: torch.Tensor, scores: torch.Tensor, limit: int, share: float, low: float) -> torch.Tensor:
    """Indices of boxes, the best first; each step takes one and leaves out those that it covers."""
    order = torch.argsort(scores, descending=True, stable=True)
    order = order[scores[order] > low]
    chosen: list[torch.Tensor] = []
    while len(order) and len(chosen) < limit:
        first, order = order[:1], order[1:]
        chosen.append(first)
        order = order[_overlaps(corners[first], corners[order]) <= share]
    return torch.cat(chosen) if chosen else order[:0]


def _corners(boxes: torch.Tensor, *, centred: bool) -> torch.Tensor:
    """Lower and upper corners."""
    a, b = boxes.split(2, -1)
    if centred:
        return torch.cat((a - b / 2, a + b / 2), -1)
    return torch.cat((torch.minimum(a, b), torch.maximum(a, b)), -1)


def _overlaps(one: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Intersection by union of one box with others; 0 where a box is empty."""
    sides = (torch.minimum(one[:, 2:], others[:, 2:]) - torch.maximum(one[:, :2], others[:, :2])).clamp(min=0)
    both = sides.prod(-1)
    areas = [(each[:, 2:] - each[:, :2]).prod(-1) for each in (one, others)]
    union = areas[0] + areas[1] - both
    return torch.where((union > 0) & (areas[0] > 0) & (areas[1] > 0), both / union, 0.0)


def regions(node: Node, x: torch.Tensor, rois: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Regions of images as grids of one size: [regions, channels, height, width], the mean or largest of samples.

    Regions [count, 4] are (x, y) of two corners, in units of `spatial_scale` pixels.
    """
    height, width = int(node.number("output_height", 1)), int(node.number("output_width", 1))
    half = node.text("coordinate_transformation_mode", "half_pixel") == "half_pixel" and node.opset >= 16
    low, high = (rois * node.number("spatial_scale", 1.0) - (0.5 if half else 0.0)).split(2, -1)
    extent = high - low if half else (high - low).clamp(min=1.0)
    cell = extent / torch.tensor([width, height], dtype=x.dtype, device=x.device)
    stated = int(node.number("sampling_ratio", 0))
    samples = torch.full_like(cell, stated) if stated > 0 else torch.ceil(cell)
    made = x.new_zeros(len(rois), x.shape[1], height, width)
    for across, down in torch.unique(samples.int(), dim=0).tolist():  # one grid of samples at once
        if min(across, down) < 1:  # a region without extent has no samples
            continue
        own = torch.nonzero((samples.int() == torch.tensor([across, down])).all(-1)).reshape(-1)
        at_y, at_x = (
            _places(low[own, axis], cell[own, axis], count, each)
            for axis, count, each in ((1, height, down), (0, width, across))
        )
        made[own] = _sampled(node, x, images.long()[own], at_y, at_x)
    return made


def _places(low: torch.Tensor, cell: torch.Tensor, count: int, samples: int) -> torch.Tensor:
    """Where the samples of each cell lie along an axis: [regions, count, samples]."""
    cells = torch.arange(count, device=low.device)[:, None]
    within = (torch.arange(samples, device=low.device) + 0.5) / max(1, samples)
    return low[:, None, None] + cell[:, None, None] * (cells + within)


def _sampled(node: Node, x: torch.Tensor, images: torch.Tensor, ys: torch.Tensor, xs: torch.Tensor) -> torch.Tensor:
    """Samples between pixels, joined by cell: [regions, channels, height, width]."""
    corners = []
    for (y0, y1, wy), (x0, x1, wx) in [
        (_neighbours(ys.flatten(1), x.shape[2]), _neighbours(xs.flatten(1), x.shape[3]))
    ]:
        for row, by_row in ((y0, 1 - wy), (y1, wy)):
            for column, by_column in ((x0, 1 - wx), (x1, wx)):
                values = x[images[:, None, None], :, row[:, :, None], column[:, None, :]].movedim(-1, 1)
                corners.append(values * (by_row[:, None, :, None] * by_column[:, None, None, :]))
    inside = [(each > -1) & (each < size) for each, size in ((ys.flatten(1), x.shape[2]), (xs.flatten(1), x.shape[3]))]
    hidden = ~(inside[0][:, None, :, None] & inside[1][:, None, None, :])
    shape = (ys.shape[1], ys.shape[2], xs.shape[1], xs.shape[2])
    if node.text("mode", "avg") == "max":
        parts = [each.masked_fill(hidden, 0.0).unflatten(3, shape[2:]).unflatten(2, shape[:2]) for each in corners]
        return torch.stack(parts).amax((0, 4, 6))
    total = sum(corners[1:], corners[0]).masked_fill(hidden, 0.0)
    return total.unflatten(3, shape[2:]).unflatten(2, shape[:2]).mean((3, 5))


def _neighbours(places: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The pixels before and after places along an axis, and the weight of the one after."""
    at = places.clamp(0, size - 1)
    low = at.floor()
    return low.long(), (low + 1).clamp(max=size - 1).long(), at - low


BOXES: dict[str, Any] = {"NonMaxSuppression": kept, "RoiAlign": regions}
"""Operators of ONNX's own domain."""
