"""AQS-GEMM slice by slice, vector by vector: the slow twin of what networks run, with skipping and compensation.

Form B of the derivation (Panacea: the compensation reuses weight slices that are loaded anyway): per 4 outputs n and 4
rows m, over all k,

  y = sum_{k not skipped} 2^l W_k x_HO_k + sum_k 2^(l-4) W_k x_LO_k - 2^l r sum_{k not skipped} W_k
      + (2^l r - zp) sum_k W_k,

where x's vector at k is skipped if all four high-order slices are r, and W_k = sum_i 8^i W_i,k leaves out the
high-order weight slice where all four of those are zero. The last term is known offline and belongs to the bias.
Symmetric activations (Sibia) are the same with signed slices, r = 0 and no zero point.
"""

import dataclasses

import numpy as np
import numpy.typing as npt
import torch

from bitwright.formats import Integer, SlicedUnsigned, frequent_slice, low_slices, signed_slices, unsigned_slices

VECTOR = 4
Ints = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SliceProduct:
    """The product and the work it took.

    Attributes
    ----------
    product : array
        int64 [M, N].
    executed : mapping
        Outer products of 4 x 4 executed, by whether each side's slice was of high order: (weight, activation).
    dense : int
        Outer products without skipping.
    compensation_adds : int
        Additions of single weight slices for the compensation.
    """

    product: Ints
    executed: dict[tuple[bool, bool], int]
    dense: int
    compensation_adds: int


def slice_product(
    x: torch.Tensor,
    w: torch.Tensor,
    *,
    x_format: Integer,
    w_bits: int,
    zero_point: int = 0,
    skip_x: bool = True,
    skip_w: bool = True,
    skip_single: bool = False,
) -> SliceProduct:
    """Sum over k of (x - zero_point) * w from slices.

    Parameters
    ----------
    x : torch.Tensor
        Codes [M, K]: unsigned 8-bit, or signed of 3n + 4 bits.
    w : torch.Tensor
        Codes [N, K], signed of `w_bits` = 3n + 4 bits.
    x_format : Integer
        Says where x is cut: at 4 unless it is a `SlicedUnsigned`.
    skip_x, skip_w : bool
        Whether vectors of x that are all r, and of w that are all zero, are skipped.
    skip_single : bool
        Whether the only slice of 4-bit weights counts as a high-order one that can be skipped.
    """
    x_slices, r = _activation_slices(x, x_format, zero_point)
    w_slices = [(_padded(part), 3 * i) for i, part in enumerate(signed_slices(w, w_bits))]
    high_weights = low_slices(w_bits) > 0 or skip_single
    m, n, k = len(x_slices[0][0]), len(w_slices[0][0]), x.shape[1]
    product = np.zeros((m, n), dtype=np.int64)
    executed = {(a, b): 0 for a in (False, True) for b in (False, True)}
    dense = adds = 0
    (high, high_shift), top = x_slices[-1], w_slices[-1][0]
    for i in range(0, n, VECTOR):
        for j in range(0, m, VECTOR):
            total, compensation = np.zeros((VECTOR, VECTOR), dtype=np.int64), np.zeros(VECTOR, dtype=np.int64)
            for at in range(k):
                x_skipped = skip_x and bool((high[j : j + VECTOR, at] == r).all())
                w_skipped = skip_w and high_weights and not top[i : i + VECTOR, at].any()
                for w_index, (w_slice, w_shift) in enumerate(w_slices):
                    w_high = high_weights and w_index == len(w_slices) - 1
                    vector = w_slice[i : i + VECTOR, at]
                    for x_slice, x_shift in x_slices:
                        x_high = x_slice is high
                        dense += 1
                        if (w_high and w_skipped) or (x_high and x_skipped):
                            continue
                        total += np.outer(x_slice[j : j + VECTOR, at], vector) << (w_shift + x_shift)
                        executed[w_high, x_high] += 1
                        if x_high:
                            compensation += vector << w_shift
                            adds += VECTOR
            if skip_x:
                total -= (r << high_shift) * compensation
            product[j : j + VECTOR, i : i + VECTOR] = total
    sums = w.to(torch.int64).sum(1).numpy()
    offline = ((r << high_shift if skip_x else 0) - zero_point) * sums
    result = product[: len(x), : len(w)] + offline
    return SliceProduct(product=result, executed=executed, dense=dense, compensation_adds=adds)


def _activation_slices(x: torch.Tensor, fmt: Integer, zero_point: int) -> tuple[list[tuple[Ints, int]], int]:
    """Slices of x [M rounded up, K] with their shifts, the high-order one last, and r; added rows are skipped."""
    if fmt.signed:
        return [(_padded(part), 3 * i) for i, part in enumerate(signed_slices(x, fmt.bits))], 0
    split = fmt.split if isinstance(fmt, SlicedUnsigned) else 4
    high, low = unsigned_slices(x, split)
    r = frequent_slice(zero_point, split)
    return [(_padded(low), split - 4), (_padded(high, r), split)], r


def _padded(slices: torch.Tensor, value: int = 0) -> Ints:
    """int64 with rows added up to whole vectors."""
    rows = slices.to(torch.int64).numpy()
    return np.pad(rows, ((0, -len(rows) % VECTOR), (0, 0)), constant_values=value)
