"""Random exact products of every form against int64 arithmetic that knows no views: how many are wrong.

    python benchmarks/products.py --cases 100000

Operands are integers (8 to 16 bits, with zero points), laid out in memory as views of something else may be. The
reference multiplies and adds int64 with einsum or, for convolutions, tap by tap over padded pixels, from torch's own
layouts. Every case is computed with one thread and with two, and, where there is a batch, within a batch of seven: the
bits must be the same. Exits with 1 if any differs.
"""

import argparse
import dataclasses
import itertools
import random
import sys
import time
from collections import Counter
from collections.abc import Callable

import torch
import torch.nn.functional as F

from bitwright.formats import Integer, Quantized
from bitwright.methods.products import integer_product
from bitwright.networks.parsers import PARSERS, Known
from bitwright.networks.view import GemmView, taps_of, windows_of

CONVOLUTIONS = (F.conv1d, F.conv2d, F.conv3d)
Case = tuple[GemmView, Quantized, Quantized, torch.Tensor]  # view, operands, and what the network's result must be


def main() -> None:
    """Run all cases and say how many were wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    draw, generator = random.Random(arguments.seed), torch.Generator().manual_seed(arguments.seed)  # noqa: S311
    counts, wrong, start = Counter[str](), 0, time.perf_counter()
    for index in range(arguments.cases):
        form = draw.choice(list(FORMS))
        failed = check(form, FORMS[form](draw, generator), draw)
        counts[form] += 1
        if failed:
            wrong += 1
            print(f"WRONG: case {index} ({form}, seed {arguments.seed}): {failed}")
    print(", ".join(f"{count:,} {form}" for form, count in sorted(counts.items())))
    print(f"{arguments.cases:,} products in {time.perf_counter() - start:.0f} s: {wrong} wrong")
    sys.exit(bool(wrong))


def check(form: str, case: Case, draw: random.Random) -> str:
    """What is wrong with a case; empty: nothing."""
    view, x, w, expected = case
    found = {}
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found[threads] = view.result(integer_product(view, x, w)).double()
        if not torch.equal(found[threads], expected.double()):
            return f"differs from int64 with {threads} threads"
    if form in BATCHED and draw.random() < 0.25:
        repeated = batch_of_seven(view, x)
        again = repeated[0].output(repeated[0].result(integer_product(*repeated, w)))
        one = view.output(view.result(integer_product(view, x, w)))
        first = again.select(repeated[0].lead, 3)
        if not torch.equal(first.double(), one.select(view.lead, 0).double()):
            return "differs within a batch of 7"
    return ""


def batch_of_seven(view: GemmView, x: Quantized) -> tuple[GemmView, Quantized]:
    """The first image or row of x, seven times."""
    codes = x.codes.narrow(view.lead, 0, 1)
    codes = codes.repeat(*[7 if axis == view.lead else 1 for axis in range(codes.dim())])
    plain = dataclasses.replace(view, x=codes.float(), arrangement=type(view.arrangement)())
    return plain, dataclasses.replace(x, codes=codes)


def sizes(draw: random.Random, count: int, high: int) -> tuple[int, ...]:
    """Extents, a third of them 1."""
    return tuple(1 if draw.random() < 0.33 else draw.randint(1, high) for _ in range(count))


def memory(draw: random.Random, tensor: torch.Tensor) -> torch.Tensor:
    """The same numbers in memory as views of something else have them."""
    form = draw.randrange(5)
    if form == 1:
        room = torch.full([2 * size + 1 for size in tensor.shape], 99, dtype=tensor.dtype)
        return room[tuple(slice(1, None, 2) for _ in tensor.shape)].copy_(tensor)
    if form == 2 and tensor.dim() > 1:
        order = draw.sample(range(tensor.dim()), tensor.dim())
        return tensor.permute(order).contiguous().permute([order.index(axis) for axis in range(tensor.dim())])
    if form == 3:
        strides = [1 if size == 1 else step for size, step in zip(tensor.shape, tensor.stride(), strict=True)]
        return tensor.as_strided(tensor.shape, strides)
    if form == 4 and tensor.dim() > 1:
        return tensor[:1].expand(tensor.shape)
    return tensor


def operand(draw: random.Random, generator: torch.Generator, shape: tuple[int, ...], *, weight: bool) -> Quantized:
    """Random codes of a random format; weights are signed, without a zero point."""
    fmt = Integer(bits=draw.choice([8, 8, 8, 4, 16]), signed=weight or draw.random() < 0.5)
    codes = torch.randint(fmt.low, fmt.high + 1, shape, generator=generator)
    if draw.random() < 0.1:
        codes = torch.full(shape, draw.choice([fmt.low, fmt.high]))
    narrow = (torch.int8 if fmt.signed else torch.uint8) if fmt.bits <= 8 else torch.float32
    zero_point = 0 if weight or draw.random() < 0.5 else draw.randint(fmt.low, fmt.high)
    return Quantized(codes=memory(draw, codes.to(narrow)), format=fmt, scale=torch.ones(()), zero_point=zero_point)


def centred(of: Quantized) -> torch.Tensor:
    """Integers that are multiplied, int64."""
    return of.codes.to(torch.int64) - of.zero_point


def moved(of: Quantized, change: Callable[[torch.Tensor], torch.Tensor]) -> Quantized:
    """The operand laid out otherwise."""
    return dataclasses.replace(of, codes=change(of.codes))


def view_of(function: Callable[..., torch.Tensor], *operands: object, **others: object) -> GemmView:
    """The view of a torch function whose operands are not known offline."""
    view = PARSERS[function](lambda _: Known(), *operands, **others)
    assert view is not None
    return view


def linear(draw: random.Random, generator: torch.Generator) -> Case:
    """Rows by a matrix."""
    lead, (k, n) = sizes(draw, draw.randint(0, 3), 6), sizes(draw, 2, 70)
    x, w = operand(draw, generator, (*lead, k), weight=False), operand(draw, generator, (n, k), weight=True)
    return (
        view_of(F.linear, x.codes.float(), w.codes.float()),
        x,
        w,
        torch.einsum("...k,nk->...n", centred(x), centred(w)),
    )


def batched(draw: random.Random, generator: torch.Generator) -> Case:
    """Stacks of matrices."""
    lead, (m, k, n) = sizes(draw, draw.randint(1, 2), 4), sizes(draw, 3, 24)
    x, w = operand(draw, generator, (*lead, m, k), weight=False), operand(draw, generator, (*lead, k, n), weight=True)
    view = view_of(torch.matmul, x.codes.float(), w.codes.float())
    expected = (centred(x).unsqueeze(-1) * centred(w).unsqueeze(-3)).sum(-2)
    return view, x, moved(w, lambda codes: codes.transpose(-1, -2)), expected


def convolution(draw: random.Random, generator: torch.Generator, spatial: int, *, depthwise: bool) -> Case:
    """Convolutions of any rank, stride, padding, dilation and number of groups."""
    kernel, stride, dilation = (sizes(draw, spatial, 3) for _ in range(3))
    padding = tuple(draw.randint(0, extent) for extent in kernel)
    groups = draw.randint(2, 6) if depthwise else draw.choice([1, 1, 1, 2, 3])
    channels, filters = (1, 1) if depthwise else sizes(draw, 2, 9)
    least = [max(1, d * (k - 1) + 1 - 2 * p) for d, k, p in zip(dilation, kernel, padding, strict=True)]
    size = tuple(low + draw.choice([0, 0, 1, 5]) for low in least)
    batch = draw.choice([1, 1, 2, 3])
    x = operand(draw, generator, (batch, groups * channels, *size), weight=False)
    w = operand(draw, generator, (groups * filters, channels, *kernel), weight=True)
    geometry = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    view = view_of(CONVOLUTIONS[spatial - 1], x.codes.float(), w.codes.float(), **geometry)
    pixels = F.pad(centred(x), [side for extent in reversed(padding) for side in (extent, extent)])
    taps = centred(w).unflatten(0, (groups, filters))
    pixels = pixels.unflatten(1, (groups, channels))
    out = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(size, padding, dilation, kernel, stride, strict=True)
    ]
    expected = torch.zeros(batch, groups, filters, *out, dtype=torch.int64)
    for tap in itertools.product(*map(range, kernel)):
        read = tuple(
            slice(t * d, t * d + s * (n - 1) + 1, s) for t, d, s, n in zip(tap, dilation, stride, out, strict=True)
        )
        expected += torch.einsum("bgc...,gnc->bgn...", pixels[(..., *read)], taps[(..., *tap)])
    laid = moved(x, lambda codes: windows_of(codes, groups)), moved(w, lambda codes: taps_of(codes, groups))
    return view, *laid, expected.flatten(1, 2)


def contraction(draw: random.Random, generator: torch.Generator) -> Case:
    """Einsum of random axes."""
    letters = draw.sample("abcdefgh", 6)
    shared, reduced, own, others = letters[0], letters[1 : 1 + draw.randint(1, 2)], letters[3], letters[4:]
    extents = dict(zip(letters, sizes(draw, 6, 6), strict=True))
    groups = [shared] if draw.random() < 0.5 else []
    of_x, of_w = [*groups, own, *reduced], [*groups, *others, *reduced]
    draw.shuffle(of_x)
    draw.shuffle(of_w)
    result = [*groups, own, *others]
    draw.shuffle(result)
    x = operand(draw, generator, tuple(extents[a] for a in of_x), weight=False)
    w = operand(draw, generator, tuple(extents[a] for a in of_w), weight=True)
    equation = f"{''.join(of_x)},{''.join(of_w)}->{''.join(result)}"
    view = view_of(torch.einsum, equation, x.codes.float(), w.codes.float())
    reduction = [a for a in of_x if a in reduced]
    rows, columns = [*groups, own, *reduction], [*groups, *(a for a in of_w if a in others), *reduction]
    laid = (
        moved(x, lambda codes: codes.permute([of_x.index(a) for a in rows]).reshape(view.x.shape)),
        moved(w, lambda codes: codes.permute([of_w.index(a) for a in columns]).reshape(view.w.shape)),
    )
    return view, *laid, torch.einsum(equation, centred(x), centred(w))


FORMS: dict[str, Callable[[random.Random, torch.Generator], Case]] = {
    "linear": linear,
    "batched": batched,
    "einsum": contraction,
    **{
        f"conv{spatial}d{', depthwise' if depthwise else ''}": (
            lambda draw, generator, spatial=spatial, depthwise=depthwise: convolution(
                draw, generator, spatial, depthwise=depthwise
            )
        )
        for spatial in (1, 2, 3)
        for depthwise in (False, True)
    },
}
BATCHED = {form for form in FORMS if form.startswith("conv")}

if __name__ == "__main__":
    main()
