"""Shapes on the meta device: what torch itself gives."""

import pytest
import torch

from bitwright.networks.meta_results import RESULTS, meta_result

aten = torch.ops.aten
X = torch.empty(2, 6, 5, 7, device="meta")
LAST = X.to(memory_format=torch.channels_last)
NORM = [torch.empty(6, device="meta")] * 4
CALLS = [
    *((func, (x,)) for func in (aten.relu.default, aten.silu.default, aten.gelu.default) for x in (X, LAST, X[:, ::2])),
    (aten.hardtanh.default, (X, 0, 6)),
    (aten.relu.default, (X.half(),)),
    (aten.relu.default, (X.long(),)),
    *((aten.add.Tensor, (x, y)) for x in (X, LAST) for y in (X, LAST, X[:, :, :1], 2, X.double())),
    *(
        (aten.mean.dim, (x, axes, keeps))
        for x in (X, LAST)
        for axes in ([2, 3], [-1], [1, -2])
        for keeps in (False, True)
    ),
    (aten.mean.dim, (X, None)),
    *((aten.max_pool2d_with_indices.default, (X, *how)) for how in (([3, 2],), ([3], [2], [1]), ([2], [1], [1], [2]))),
    (aten.max_pool2d_with_indices.default, (X, [3], [2], [1], [1], True)),
    (aten.max_pool2d_with_indices.default, (LAST, [3])),
    *((aten.native_batch_norm.default, (x, *NORM, False, 0.1, 1e-5)) for x in (X, LAST)),
]


@pytest.mark.parametrize(("func", "args"), CALLS, ids=lambda each: str(each)[:40])
def test_as_torch_has_it(func, args):
    found = meta_result(func, args, {})
    expected = func(*args)
    if found is None:  # left to torch
        return
    for one, other in zip(*(each if isinstance(each, tuple) else (each,) for each in (found, expected)), strict=True):
        assert (one.shape, one.dtype, one.device) == (other.shape, other.dtype, other.device)
        assert one.stride() == other.stride()


def test_every_operator_is_found_here_once():
    assert {func for func, args in CALLS if meta_result(func, args, {}) is not None} == set(RESULTS)
