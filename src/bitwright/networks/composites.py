"""Torch functions that are several products, or one product with something around it, split into views.

Each takes the running mode (`Products`) and the function's own arguments, and returns its result with every product
computed by the mode's handler; None where it is of a form that has none.
"""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch

from bitwright.networks import attention
from bitwright.networks.parsers import FLOATS, Owner, axes_of, grouped_product, matrix_product
from bitwright.networks.view import GemmView

aten = torch.ops.aten


class Products(Protocol):
    """Whoever computes products: a `SiteMode`."""

    owner: Owner

    def compute(self, view: GemmView, part: str = "") -> torch.Tensor:
        """The product's result in the network's layout."""


def _attention(products: Products, *args: Any, **kwargs: Any) -> torch.Tensor:
    return attention.attention(products.compute, *args, **kwargs)


def _flash_attention_for_cpu(
    products: Products,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    attn_mask: torch.Tensor | None = None,
    scale: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What torch's attention becomes below, in traced modules; nobody reads the sums that its gradient needs."""
    shared = query.shape[-3] != key.shape[-3]
    found = attention.attention(
        products.compute, query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa=shared
    )
    return found, query.new_zeros(query.shape[:-1], dtype=torch.float32)


def _flex_attention(
    products: Products,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    score_mod: Callable[..., torch.Tensor],
    block_mask: Any,
    scale: float,
    kernel_options: Any = None,  # noqa: ARG001
    score_mod_other_buffers: tuple[Any, ...] = (),
    mask_mod_other_buffers: tuple[Any, ...] = (),
) -> tuple[torch.Tensor, ...]:
    """Attention whose scores are changed and masked by functions of (batch, head, query, key)."""
    from torch._dynamo._trace_wrapped_higher_order_op import TransformGetItemToIndex

    def everywhere(function: Callable[..., torch.Tensor], *scores: torch.Tensor, buffers: tuple[Any, ...]) -> Any:
        at = [torch.arange(size, device=query.device) for size in (*query.shape[:3], key.shape[2])]
        for axis in (3, 2, 1, 0):
            own = tuple(0 if i == axis else None for i in range(4))
            function = torch.vmap(function, in_dims=((0,) * len(scores) + own + (None,) * len(buffers)))
        with TransformGetItemToIndex():
            return function(*scores, *at, *buffers)

    def changed(scores: torch.Tensor) -> torch.Tensor:
        shown = everywhere(block_mask[-1], buffers=mask_mod_other_buffers)
        return everywhere(score_mod, scores, buffers=score_mod_other_buffers).masked_fill(~shown, -math.inf)

    found = attention.attention(products.compute, query, key, value, None, scale=scale, enable_gqa=True, change=changed)
    sums = query.new_zeros(query.shape[:-1], dtype=torch.float32)
    return found, sums, sums


def _transposed_convolution(
    products: Products,
    input: torch.Tensor,  # noqa: A002
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> torch.Tensor | None:
    """Every pixel by all filters is the product; what overlaps is added up in float (ours: no zeros are inserted).

    Torch's filters [channels, N / groups, *kernel] are w [N / groups * taps, channels] of each group.
    """
    if input.dtype not in FLOATS:
        return None
    spatial = weight.dim() - 2
    stride, padding, extra, dilation = (axes_of(each, spatial) for each in (stride, padding, output_padding, dilation))
    x = input if input.dim() == weight.dim() else input.unsqueeze(0)
    batch, channels, *size = x.shape
    per_group, *kernel = weight.shape[1:]
    pixels = x.movedim(1, -1).reshape(-1, groups, channels // groups).transpose(0, 1)
    filters = weight.reshape(groups, channels // groups, -1).transpose(1, 2)
    known, grouped = products.owner(weight), int(groups > 1)
    view = GemmView(
        op=f"conv{spatial}d_transpose",
        x=pixels if grouped else pixels[0],
        w=filters if grouped else filters[0],
        lead=grouped,
        weight=known.tensor,
        part=known.part,
    )
    parts = products.compute(view).reshape(groups, batch, *size, per_group, *kernel)
    whole = [(n - 1) * s + d * (taps - 1) + 1 for n, s, d, taps in zip(size, stride, dilation, kernel, strict=True)]
    total = parts.new_zeros(groups, batch, *(n + e for n, e in zip(whole, extra, strict=True)), per_group)
    for tap in torch.cartesian_prod(*(torch.arange(n) for n in kernel)).reshape(-1, spatial).tolist():
        places = (
            slice(t * d, t * d + s * (n - 1) + 1, s) for t, d, s, n in zip(tap, dilation, stride, size, strict=True)
        )
        total[(slice(None), slice(None), *places)] += parts[(..., *tap)]
    inside = (slice(p, n + e - p) for p, n, e in zip(padding, whole, extra, strict=True))
    y = total[(slice(None), slice(None), *inside)]
    y = y.movedim(-1, 2).transpose(0, 1).flatten(1, 2)
    y = y if bias is None else y + bias.view(-1, *[1] * spatial)
    return (y if input.dim() == weight.dim() else y[0]).to(input.dtype)


def _aten_convolution(
    products: Products,
    input: torch.Tensor,  # noqa: A002
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
    *_: Any,
) -> torch.Tensor | None:
    if not transposed:
        return None
    return _transposed_convolution(products, input, weight, bias, stride, padding, output_padding, groups, dilation)


def _experts(
    products: Products,
    mat_a: torch.Tensor,
    mat_b: torch.Tensor,
    offs: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    out_dtype: torch.dtype | None = None,
) -> torch.Tensor | None:
    """Rows of x [T, K], sorted by expert, each by its expert's matrix of w [E, K, N]: a product for each expert.

    `offs` [E] is where each expert's rows end; rows behind the last are 0. Where w has no axis of experts its columns
    are sorted by expert, and where neither has, what is added up is.
    """
    if mat_a.dtype not in FLOATS or mat_b.dtype not in FLOATS:
        return None
    if mat_a.dim() == mat_b.dim() == 3:
        y = products.compute(grouped_product(products.owner, mat_a, mat_b.transpose(1, 2)))
    elif offs is None or mat_a.is_meta:
        return None
    else:
        y = _by_expert(products, mat_a, mat_b, offs.tolist())
    y = y if bias is None else y + bias
    return y if out_dtype is None else y.to(out_dtype)


def _by_expert(products: Products, x: torch.Tensor, w: torch.Tensor, stops: list[int]) -> torch.Tensor:
    """Products of the parts that end at `stops`: of rows of x, of columns of w, or of what is added up."""
    rows, columns = x.dim() == 2 and w.dim() == 3, x.dim() == 3
    y = x.new_zeros((x.shape[-2], w.shape[-1]) if rows or columns else (len(stops), len(x), w.shape[1]))
    start = 0
    for expert, stop in enumerate(stops):
        part = slice(start, stop)
        if stop > start and rows:
            y[part] = products.compute(matrix_product(products.owner, x[part], w[expert].t()))
        elif stop > start and columns:
            y[:, part] = products.compute(matrix_product(products.owner, x[expert], w[:, part].t()))
        elif stop > start:
            y[expert] = products.compute(matrix_product(products.owner, x[:, part], w[part].t()))
        start = stop
    return y


def _scaled_product_by_lists(
    products: Products,
    mat_a: torch.Tensor,
    mat_b: torch.Tensor,
    scale_a: list[torch.Tensor],
    recipe_a: Any,  # noqa: ARG001
    swizzle_a: Any,  # noqa: ARG001
    scale_b: list[torch.Tensor],
    recipe_b: Any,  # noqa: ARG001
    swizzle_b: Any,  # noqa: ARG001
    bias: torch.Tensor | None = None,
    out_dtype: torch.dtype | None = None,
    *_: Any,
) -> torch.Tensor | None:
    """The same with scales of several levels, of which one is known here."""
    if len(scale_a) != 1 or len(scale_b) != 1:
        return None
    return _scaled_product(products, mat_a, mat_b, scale_a[0], scale_b[0], bias, None, out_dtype)


def _scaled_product(
    products: Products,
    mat_a: torch.Tensor,
    mat_b: torch.Tensor,
    scale_a: torch.Tensor,
    scale_b: torch.Tensor,
    bias: torch.Tensor | None = None,
    scale_result: torch.Tensor | None = None,
    out_dtype: torch.dtype | None = None,
    use_fast_accum: bool = False,  # noqa: ARG001
) -> torch.Tensor | None:
    """x [M, K] by w [K, N] in 8-bit floats, scaled per tensor, row or column: the reals they stand for, multiplied."""
    x, w = mat_a.float(), mat_b.float()
    if scale_a.dim() not in (0, 1, 2) or scale_a.numel() not in (1, len(x)) or scale_b.numel() not in (1, w.shape[1]):
        return None  # scales of blocks
    x = x * scale_a.reshape(-1, 1) if scale_a.numel() > 1 else x * scale_a.reshape(())
    w = w * scale_b.reshape(1, -1) if scale_b.numel() > 1 else w * scale_b.reshape(())
    known = products.owner(mat_b)
    weight = None if known.tensor is None else known.tensor
    view = GemmView(op="linear" if weight is not None else "matmul", x=x, w=w.t(), weight=weight, part=known.part)
    y = products.compute(view)
    y = y if bias is None else y + bias
    y = y if scale_result is None else y * scale_result
    return y.to(out_dtype or mat_a.dtype)


def _bilinear(
    products: Products,
    input1: torch.Tensor,
    input2: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
) -> torch.Tensor | None:
    """y[r, o] = x1[r] W[o] x2[r]: first x1 by W, then what that gave for each row by its x2."""
    n, i, j = weight.shape
    lead, known = input1.shape[:-1], products.owner(weight)
    view = matrix_product(products.owner, input1.reshape(-1, i), weight.transpose(1, 2).reshape(n * j, i))
    between = products.compute(dataclasses.replace(view, op="linear", weight=known.tensor, part=known.part))
    y = products.compute(
        grouped_product(products.owner, between.reshape(-1, n, j), input2.reshape(-1, 1, j)), "with_input2"
    )
    y = y.reshape(*lead, n)
    return y if bias is None else y + bias


def _nested_linear(
    products: Products,
    input: torch.Tensor,  # noqa: A002
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
) -> torch.Tensor | None:
    """A linear layer of rows of several lengths (a jagged tensor): of all of them, one below the other."""
    if not input.is_nested or input.layout is not torch.jagged:
        return None
    y = products.compute(dataclasses.replace(matrix_product(products.owner, input.values(), weight), bias=bias))
    offsets: torch.Tensor = torch.ops.aten._nested_get_offsets(input)
    return torch.nested.nested_tensor_from_jagged(y, offsets)


def _trilinear(
    products: Products, i1: torch.Tensor, i2: torch.Tensor, i3: torch.Tensor, *expansions: Any
) -> torch.Tensor | None:
    """What `bilinear` becomes below; other forms are none."""
    if [list(each) for each in expansions[:4]] != [[1, 3], [0], [1, 2], [2, 3]]:
        return None
    return _bilinear(products, i1, i3, i2)


def _recurrent(products: Products, *args: Any, function: Callable[..., Any], **kwargs: Any) -> Any:  # noqa: ARG001
    """A recurrent layer as torch composes it of the products of its cells, which are caught below."""
    with _without_fused_layers():
        return function(*args, **kwargs)


@contextlib.contextmanager
def _without_fused_layers() -> Iterator[None]:
    """Within this, torch composes recurrent layers of products instead of calling a library's whole layer."""
    with contextlib.ExitStack() as stack:
        stack.callback(torch._C._set_mkldnn_enabled, torch._C._get_mkldnn_enabled())
        torch._C._set_mkldnn_enabled(False)
        if torch.cuda.is_available():
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        yield


def _mkldnn_rnn_layer(
    products: Products,  # noqa: ARG001
    input: torch.Tensor,  # noqa: A002
    w_x: torch.Tensor,
    w_h: torch.Tensor,
    b_x: torch.Tensor,
    b_h: torch.Tensor,
    hidden: torch.Tensor,
    cell: torch.Tensor,
    reverse: bool,
    *others: Any,
) -> Any:
    """What one direction of an LSTM becomes below, in traced modules."""
    biases = bool(others[4])
    x, weights = (input.flip(0) if reverse else input), [w_x, w_h, *([b_x, b_h] if biases else [])]
    with _without_fused_layers():
        y, h, c = torch.lstm(x, (hidden[None], cell[None]), weights, biases, 1, 0.0, False, False, False)
    return (y.flip(0) if reverse else y), h[0], c[0], input.new_empty(0)


def _cond(
    products: Products,  # noqa: ARG001
    pred: Any,
    true_fn: Callable[..., Any],
    false_fn: Callable[..., Any],
    operands: tuple[Any, ...] = (),
) -> Any:
    """The branch that is taken."""
    return (true_fn if bool(pred) else false_fn)(*operands)


def _while_loop(
    products: Products,  # noqa: ARG001
    cond_fn: Callable[..., Any],
    body_fn: Callable[..., Any],
    carried_inputs: tuple[Any, ...],
    additional_inputs: tuple[Any, ...] = (),
) -> Any:
    """The loop, as often as it is taken."""
    while bool(cond_fn(*carried_inputs, *additional_inputs)):
        carried_inputs = body_fn(*carried_inputs, *additional_inputs)
    return carried_inputs


Composite = Callable[..., Any]
_RECURRENT = (torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu)
COMPOSITES: dict[Any, Composite] = {
    torch.nn.functional.linear: _nested_linear,
    torch.nn.functional.scaled_dot_product_attention: _attention,
    aten.scaled_dot_product_attention.default: _attention,
    aten._scaled_dot_product_flash_attention_for_cpu.default: _flash_attention_for_cpu,
    torch.ops.higher_order.flex_attention: _flex_attention,
    torch.ops.higher_order.cond: _cond,
    torch.ops.higher_order.while_loop: _while_loop,
    torch.conv_transpose1d: _transposed_convolution,
    torch.conv_transpose2d: _transposed_convolution,
    torch.conv_transpose3d: _transposed_convolution,
    aten.convolution.default: _aten_convolution,
    aten._convolution.default: _aten_convolution,
    torch._grouped_mm: _experts,
    aten._grouped_mm.default: _experts,
    torch._scaled_mm: _scaled_product,
    aten._scaled_mm.default: _scaled_product,
    aten._scaled_mm_v2.default: _scaled_product_by_lists,
    torch.bilinear: _bilinear,
    aten._trilinear.default: _trilinear,
    aten.mkldnn_rnn_layer.default: _mkldnn_rnn_layer,
    **{function: functools.partial(_recurrent, function=function) for function in _RECURRENT},
}
