"""Running sums in float32: one term after the other along the reduction, each addition rounded once.

Twin: `bitwright.methods.mx.reference`, in rational numbers.
"""

from collections.abc import Iterator

import torch

from bitwright.formats.lookup_kernels import use_torch_threads
from bitwright.methods.layouts import BLOCK_BYTES, output, patches
from bitwright.networks.view import GemmView


def running_sums(view: GemmView, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """y of values x and w, float32, laid out as the view's operands: sum over k of x * w in the order of k.

    A convolution's k are its taps, row by row, and the channels of each; padding is zero, which adds nothing.
    """
    if x.device.type != "cpu":
        return _looped(view, x, w)
    from bitwright.methods.mx import kernels

    use_torch_threads()
    parts = []
    for rows, columns in matrices(view, x, w):
        blocks = []
        for block in rows:
            out = torch.empty(*block.shape[:2], columns.shape[2])
            kernels.add_terms(block.contiguous().numpy(), columns.numpy(), out.numpy())
            blocks.append(out)
        parts.append(blocks[0] if len(blocks) == 1 else torch.cat(blocks, dim=1))
    return output(view, parts)


def matrices(view: GemmView, x: torch.Tensor, w: torch.Tensor) -> list[tuple[Iterator[torch.Tensor], torch.Tensor]]:
    """The products that a view consists of: blocks of rows [groups, rows, k], and columns [groups, k, n]."""
    if not view.spatial:
        rows = x.reshape(view.groups, -1, view.channels)
        return [(iter([rows]), w.reshape(view.groups, view.n, view.channels).transpose(1, 2).contiguous())]
    found: list[tuple[Iterator[torch.Tensor], torch.Tensor]] = []
    for group in range(view.groups):
        own = _rows(view, x, group)
        columns = (w[group] if view.lead else w).reshape(1, view.n, -1).transpose(1, 2).contiguous()
        found.append((own, columns))
    return found


def _rows(view: GemmView, x: torch.Tensor, group: int) -> Iterator[torch.Tensor]:
    """Rows of one group's pixels, as `layouts.operands` has them."""
    part = x[group : group + 1] if view.lead else x
    blocks = patches(view, part, 0, BLOCK_BYTES)
    return (block.flatten(0, view.spatial).flatten(1).unsqueeze(0) for block in blocks)


def _looped(view: GemmView, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """The same with torch's operators, a term at a time, on any device."""
    parts = []
    for rows, columns in matrices(view, x, w):
        blocks = []
        for block in rows:
            total = torch.zeros(*block.shape[:2], columns.shape[2], device=x.device)
            for k in range(columns.shape[1]):
                total += block[:, :, k : k + 1] * columns[:, k : k + 1]
            blocks.append(total)
        parts.append(torch.cat(blocks, dim=1))
    return output(view, parts)
