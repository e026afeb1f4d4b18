"""`kernels.recurrence` in int32 for codes of a byte, on processors that multiply bytes: several times as fast.

VPDPBUSD (AVX512-VNNI; Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2) adds to each of 16
integers of 32 bits four products of an unsigned byte of x by a signed one of w; nothing saturates in between. Compilers
do not find it in a loop over tiles, so one block of ROWS x COLUMNS outputs is written in LLVM's language below; what is
stored stays in registers from the first tile to the last. Quantizing takes no shifts,

  a Q(v; a) = min(max((v + h) & -a, a low), a high),   h = a / 2 to round half up, 0 to drop bits,

and T_i + h = sum x w + c_i, where c_i = h - sum z w, z what x is centred on, is a constant of each tile and column.
All is exact modulo 2^32, hence exact if every v + h fits int32, which the caller checks. x [groups, M, k],
w [groups, k, N].
Twin: `bitwright.methods.apsq.reference`.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from bitwright.formats import Quantized, Rounding
from bitwright.formats.lookup_kernels import use_torch_threads
from bitwright.methods.apsq.rule import PartialSums
from bitwright.methods.layouts import padded

QUAD = 4  # bytes that the instruction multiplies per output
LANES = 16  # outputs of the instruction
ROWS, VECTORS = 6, 2  # of a block: 12 sums and 12 stored values in 32 registers
COLUMNS = VECTORS * LANES
STEP = 4  # what `steps_of` says of a tile
EXACT = np.array([[-1, -(2**31), 2**31 - 1, 0]], np.int32)  # a step that keeps all bits
INSTRUCTION = "llvm.x86.avx512.vpdpbusd.512"

I8, I32, I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
VECTOR = ir.VectorType(I32, LANES)

Array = npt.NDArray[np.generic]
Ints = npt.NDArray[np.int32]


@functools.cache
def available() -> bool:
    """Whether numba compiles, and for a processor with the instruction: its environment variables can say otherwise."""
    features: str = cpu_target.target_context.codegen().magic_tuple()[2]
    return not numba.config.DISABLE_JIT and "+avx512vnni" in features.split(",")  # type: ignore[attr-defined]


def covers(x: Quantized, w: Quantized) -> bool:
    """Whether these codes are bytes, unsigned (x, after adding a constant) and signed (w)."""
    narrow = x.integer.bits <= 8 and w.integer.bits <= 8 and w.integer.signed and w.zero_point == 0
    lowest = -128 if x.integer.signed else 0
    return narrow and lowest <= x.zero_point <= lowest + 255


def as_bytes(x: Quantized, rule: PartialSums) -> tuple[Quantized, PartialSums]:
    """x with codes as uint8; to signed ones, their zero point and what they are centred on 128 is added."""
    if not x.integer.signed:
        return dataclasses.replace(x, codes=x.codes.to(torch.uint8)), rule
    flipped = x.codes.to(torch.int8).view(torch.uint8) ^ 128  # the top bit: adds 128
    moved = None if rule.centres is None else rule.centres + 128
    return dataclasses.replace(x, codes=flipped, zero_point=x.zero_point + 128), dataclasses.replace(
        rule, centres=moved
    )


def fused(w: torch.Tensor, centres: torch.Tensor, rule: PartialSums) -> Callable[[torch.Tensor], torch.Tensor]:
    """What takes rows of x, uint8 [groups, M, k], to their sums, int32 [groups, M, N]; centres are bytes too."""
    n, quads = w.shape[2], -(-rule.tile // QUAD)
    weights = _packed(w.to(torch.int8), rule.tile).numpy()
    steps, half = steps_of(rule, weights.shape[2] // quads)
    constants = torch.empty(*weights.shape[:2], len(steps), COLUMNS, dtype=torch.int32).numpy()  # torch's is aligned
    use_torch_threads()
    _fill(_filled(centres.to(torch.uint8), 1, rule.tile).numpy(), weights, half, constants)

    def multiply(rows: torch.Tensor) -> torch.Tensor:
        x = _filled(rows, 2, rule.tile)
        out = torch.empty(*x.shape[:2], n, dtype=torch.int32)
        use_torch_threads()
        _recurrence(x.numpy(), weights, constants, steps, out.numpy())
        return out

    return multiply


def steps_of(rule: PartialSums, tiles: int) -> tuple[Ints, Ints]:
    """Of each tile -a, a low, a high and whether the running sum is quantized [tiles, 4]; and h [tiles]."""
    scale = rule.scales(tiles).astype(np.int64)
    limits = np.clip([scale * rule.low, scale * rule.high], -(2**31), 2**31 - 1)  # no integer lies beyond
    half = scale // 2 if rule.rounding is Rounding.HALF_UP else np.zeros_like(scale)
    return np.stack([-scale, *limits, rule.additive(tiles)], axis=1).astype(np.int32), half.astype(np.int32)


def _packed(w: torch.Tensor, tile: int) -> torch.Tensor:
    """int8 [groups, k, N] by fours of k as int32 [groups, blocks, quads, COLUMNS]; columns are filled up with 0."""
    if w.stride(1) == 1:
        codes = _filled(w.transpose(1, 2), 2, tile)
        if codes.shape[1] % COLUMNS or codes.storage_offset() % QUAD:
            codes = F.pad(codes, (0, 0, 0, -codes.shape[1] % COLUMNS))  # a copy
        return codes.view(torch.int32).unflatten(1, (-1, COLUMNS)).transpose(2, 3).contiguous()
    codes = _filled(w, 1, tile)
    groups, k, n = codes.shape
    packed = torch.zeros(groups, -(-n // COLUMNS), k // QUAD, COLUMNS, dtype=torch.int32)
    use_torch_threads()
    _interleave(codes.numpy(), packed.view(torch.int8).numpy())
    return packed


def _filled(codes: torch.Tensor, axis: int, tile: int) -> torch.Tensor:
    """`padded`, without its copy where there is nothing to fill up."""
    whole = tile % QUAD == 0 and codes.shape[axis] % tile == 0
    return codes.contiguous() if whole else padded(codes, axis=axis, tile=tile, chunk=QUAD)


@numba.njit(parallel=True, cache=True)
def _interleave(w: Array, packed: Array) -> None:
    """w [groups, k, N] to packed [groups, blocks, quads, 4 * COLUMNS]."""
    groups, blocks, quads, _ = packed.shape
    for job in numba.prange(groups * blocks):
        group, block = job // blocks, job % blocks
        start, stop = block * COLUMNS, min((block + 1) * COLUMNS, w.shape[2])
        for quad in range(quads):
            k, to = QUAD * quad, packed[group, block, quad]
            w0, w1 = w[group, k, start:stop], w[group, k + 1, start:stop]
            w2, w3 = w[group, k + 2, start:stop], w[group, k + 3, start:stop]
            for c in range(stop - start):
                to[4 * c], to[4 * c + 1], to[4 * c + 2], to[4 * c + 3] = w0[c], w1[c], w2[c], w3[c]


@numba.njit(parallel=True, cache=True)
def _fill(centres: Array, w: Ints, half: Ints, constants: Ints) -> None:
    """c_i [groups, blocks, tiles, COLUMNS]: half of a scale less the centres' own sum, one row of one tile."""
    _, blocks, tiles, _ = constants.shape
    width = centres.shape[1] // tiles
    nothing, count = np.zeros(COLUMNS, np.int32), (1, 1, width // QUAD)
    for job in numba.prange(w.shape[0] * blocks):
        for i in range(tiles):
            part = job * tiles + i
            row = job // blocks * centres.shape[1] + i * width
            at = row, 0, part * width * COLUMNS, 0, 4 * part * COLUMNS, 0
            _block(centres, w, nothing, EXACT, constants, at, count)
            for c in range(COLUMNS):
                constants[job // blocks, job % blocks, i, c] = half[i] - constants[job // blocks, job % blocks, i, c]


@numba.njit(parallel=True, cache=True)
def _recurrence(x: Array, w: Ints, constants: Ints, steps: Ints, out: Ints) -> None:
    groups, m, k = x.shape
    n, blocks, tiles = out.shape[2], constants.shape[1], len(steps)
    bands = (m + ROWS - 1) // ROWS
    for job in numba.prange(groups * blocks * bands):
        group, block, first = job // (blocks * bands), job // bands % blocks, ROWS * (job % bands)
        row, start, part = group * m + first, block * COLUMNS, group * blocks + block
        count = min(ROWS, m - first), tiles, k // tiles // QUAD
        read = row * k, k, part * k * COLUMNS, 4 * part * tiles * COLUMNS
        if start + COLUMNS <= n:
            _block(x, w, constants, steps, out, (*read, 4 * (row * n + start), 4 * n), count)
        else:
            found = np.empty((ROWS, COLUMNS), np.int32)
            _block(x, w, constants, steps, found, (*read, 0, 4 * COLUMNS), count)
            out[group, first : first + count[0], start:] = found[: count[0], : n - start]


def _typed_block(_: Any, x: Any, w: Any, constants: Any, steps: Any, out: Any, at: Any, count: Any) -> Any:
    """ROWS x COLUMNS outputs, from their first tile to their last.

    `at` counts bytes: where x begins and how far its rows lie apart; where w and constants begin; and of out as of x.
    `count` is of rows, of which the last is repeated if they are fewer than ROWS; of tiles; and of quads in a tile.
    """
    return types.void(x, w, constants, steps, out, at, count), _write_block


_block: Any = intrinsic(_typed_block)  # Any: its first parameter is numba's own


def _write_block(context: Any, builder: Any, signature: Any, arguments: Any) -> None:
    """LLVM's code of `_block`: loops over `block` are unrolled here, and what is allocated becomes registers."""
    x, w, constants, steps, out = (_data(context, builder, signature, arguments, i) for i in range(5))
    x_at, x_step, w_at, constants_at, out_at, out_step = cgutils.unpack_tuple(builder, arguments[5])
    rows, tiles, quads = cgutils.unpack_tuple(builder, arguments[6])
    block = [(r, v) for r in range(ROWS) for v in range(VECTORS)]
    total = {each: cgutils.alloca_once(builder, VECTOR) for each in block}
    stored = {each: cgutils.alloca_once_value(builder, VECTOR(None)) for each in block}
    last = builder.sub(rows, I64(1))
    row = [builder.select(builder.icmp_signed("<", I64(r), last), I64(r), last) for r in range(ROWS)]
    x_row = [builder.add(x_at, builder.mul(x_step, r)) for r in row]
    with cgutils.for_range(builder, tiles) as tile:
        at = builder.add(constants_at, builder.mul(tile.index, I64(4 * COLUMNS)))
        for r, v in block:
            builder.store(_load(builder, VECTOR, constants, at, I64(4 * LANES * v)), total[r, v])
        with cgutils.for_range(builder, quads) as loop:
            quad = builder.mul(builder.add(builder.mul(tile.index, quads), loop.index), I64(QUAD))
            at = builder.add(w_at, builder.mul(quad, I64(COLUMNS)))
            weights = [_load(builder, VECTOR, w, at, I64(4 * LANES * v)) for v in range(VECTORS)]
            codes = [_splat(builder, _load(builder, I32, x, x_row[r], quad)) for r in range(ROWS)]
            for r, v in block:
                builder.store(_dot(builder, builder.load(total[r, v]), codes[r], weights[v]), total[r, v])
        at = builder.mul(tile.index, I64(4 * STEP))
        *rule, additive = (_load(builder, I32, steps, at, I64(4 * i)) for i in range(STEP))
        rule = [_splat(builder, each) for each in rule]
        with builder.if_else(cgutils.is_not_null(builder, additive)) as (sum_is_quantized, tile_is_quantized):
            with sum_is_quantized:
                for each in block:
                    value = builder.add(builder.load(stored[each]), builder.load(total[each]))
                    builder.store(_quantized(builder, value, *rule), stored[each])
            with tile_is_quantized:
                for each in block:
                    value = _quantized(builder, builder.load(total[each]), *rule)
                    builder.store(builder.add(builder.load(stored[each]), value), stored[each])
    for r, v in block:
        to = _at(builder, VECTOR, out, out_at, builder.mul(out_step, row[r]), I64(4 * LANES * v))
        builder.store(builder.load(stored[r, v]), to, align=1)


def _data(context: Any, builder: Any, signature: Any, arguments: Any, i: int) -> Any:
    array = context.make_array(signature.args[i])(context, builder, value=arguments[i])
    return builder.bitcast(array.data, I8.as_pointer())


def _at(builder: Any, kind: Any, base: Any, *offsets: Any) -> Any:
    return builder.bitcast(builder.gep(base, [functools.reduce(builder.add, offsets)]), kind.as_pointer())


def _load(builder: Any, kind: Any, base: Any, *offsets: Any) -> Any:
    return builder.load(_at(builder, kind, base, *offsets), align=1)


def _dot(builder: Any, total: Any, codes: Any, weights: Any) -> Any:
    kind = ir.FunctionType(VECTOR, [VECTOR] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, INSTRUCTION), [total, codes, weights])


def _splat(builder: Any, value: Any) -> Any:
    one = builder.insert_element(VECTOR(ir.Undefined), value, I32(0))
    return builder.shuffle_vector(one, VECTOR(ir.Undefined), VECTOR(None))


def _quantized(builder: Any, value: Any, mask: Any, low: Any, high: Any) -> Any:
    value = builder.and_(value, mask)
    value = builder.select(builder.icmp_signed(">", value, low), value, low)
    return builder.select(builder.icmp_signed("<", value, high), value, high)
