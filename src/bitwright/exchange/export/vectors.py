"""Operands and sums of sites as a testbench takes them: integers of one real input, with what must come out.

Of every site a grouped product x [G, M, K] by w [G, K, N] as a machine multiplies it: windows of a convolution are rows
(kernel positions outside, channels inside; padding is x's zero point), and the last axis is the fastest. Expected are

    accumulators[g, m, n] = sum over k of (x[g, m, k] - x zero point) * (w[g, k, n] - w zero point)

exactly (where scales belong to blocks of K, of every block: [G, blocks, M, N]), what is left of them where partial sums
are stored in fewer bits (`sums`), and the output in float32.
"""

import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bitwright.errors import InputError
from bitwright.exchange.export.coded import Array
from bitwright.exchange.export.exported import Exported
from bitwright.exchange.export.words import hex_digits, hex_words
from bitwright.files import whole_folder, write_atomic
from bitwright.formats import Integer, PerGroup, PerTokenRange, Quantized
from bitwright.methods.apsq.rule import PartialSums
from bitwright.methods.execution import Execution
from bitwright.methods.executor import Executor, composition_of
from bitwright.methods.layouts import operands
from bitwright.methods.narrow.rule import NarrowSums
from bitwright.methods.plan import OperandPlan, Plan
from bitwright.methods.products import integer_product
from bitwright.methods.protocol import Composition
from bitwright.networks.network import Batch, Network
from bitwright.networks.view import GemmView

FORM, MANIFEST = "vectors", "manifest.json"
SCHEMA_VERSION = 1
WORDS = ("both", "npy", "hex")
FORMULA = "output = accumulators * x scale * w scale * alpha + bias, in float32"
MINIMUM_FORMULA = (
    "output = sum over blocks of (accumulators * w scale + sum over the block of (x - zero point) * w minimum) * "
    "x scale, * alpha + bias, in float32"
)
"""Of weights whose blocks have minima."""
STORED_FORMULA = "output = sums * x scale * w scale * alpha + bias, in float32"
ROUNDED_FORMULA = (
    "output = y scale * round half to even(clip((accumulators + round(bias / (x scale * w scale))) * "
    "(x scale * w scale / y scale), y low - y zero point, y high - y zero point)), in float32"
)
"""Of sites whose sums are rounded to an output's codes at once (`SitePlan.y`)."""
Progress = Callable[[str, int, int], None]


def export_vectors(
    network: Network,
    plan: Plan,
    batch: Batch,
    path: Path,
    chosen: Sequence[str],
    described: str,
    *,
    words: str,
    overwrite: bool,
    progress: Progress,
) -> Exported:
    """Write a folder with the operands and sums of the `chosen` sites, and `manifest.json`, which describes them.

    Raises
    ------
    InputError
        If codes of a chosen site are no integers, or the folder cannot be written.
    """
    for name in chosen:
        site = plan.sites[name]
        for operand in (site.x, site.w) if site.quantized else ():
            if operand is not None and isinstance(operand.granularity, PerTokenRange):
                raise InputError(
                    f"rows of x at {name} have zero points of their own, which vectors do not say; use "
                    "x_granularity=token"
                )
            if operand is not None and not isinstance(operand.format, Integer):
                raise InputError(
                    f"vectors hold integers, and codes of {name} are {operand.words}; use --format safetensors, "
                    "which keeps what each code stands for, or choose other sites by --site"
                )
    with whole_folder(path, marker=MANIFEST, overwrite=overwrite) as folder:
        writer = _Writer(folder, composition_of(plan), chosen, words, progress)
        Executor(network, plan, listeners=[writer]).run(batch)
        manifest = {
            "schema_version": SCHEMA_VERSION,
            "network": network.name,
            "method": plan.method,
            "input": described,
            "order": "row-major: the last axis is the fastest",
            "words": "two's complement, one hexadecimal word per line, as $readmemh reads them",
            "sites": list(writer.sites.values()),
        }
        write_atomic(folder / MANIFEST, f"{json.dumps(manifest, indent=2)}\n".encode())
        files = sorted(file.name for file in folder.iterdir())
        total = sum(file.stat().st_size for file in folder.iterdir())
    return Exported(
        network=network.name,
        method=plan.method,
        form=FORM,
        path=path,
        files=tuple(files),
        written_bytes=total,
        sites=tuple(writer.sites),
        left_out=tuple(name for name in chosen if name not in writer.sites),
        input=described,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Product:
    """One site's product as it is written; integers as int64.

    Attributes
    ----------
    x, w : array
        Codes [G, M, K] and [G, K, N].
    accumulators : array
        [G, M, N], or of blocks of K [G, blocks, M, N].
    sums : array or None
        What is left of them where partial sums are stored, [G, M, N].
    output : array
        float32 [G, M, N].
    x_scale, w_scale : array
        float32: one, of rows [G, M] or columns [G, N], or of their blocks with an axis more.
    w_minimum : array or None
        float32, of w_scale's sizes, where blocks of weights have minima.
    bias : array or None
        float32: of columns [G, N], or [G, M, N].
    """

    x: Array
    w: Array
    accumulators: Array
    sums: Array | None
    output: Array
    x_scale: Array
    w_scale: Array
    w_minimum: Array | None
    bias: Array | None


def product_of(work: Execution, methods: Composition) -> Product:
    """The product of an execution."""
    view, x, w = work.view, work.x, work.w
    assert view is not None
    assert x is not None
    assert w is not None
    left, right = matrices(view, x, w)
    stored = methods.sums(view, x, w, work.plan)
    return Product(
        x=left,
        w=right,
        accumulators=_accumulators(view, x, w),
        sums=None if stored is None else _rows(view, stored).astype(np.int64),
        output=_rows(view, methods.gemm(view, x, w, work.plan).float()),
        x_scale=_scale_of_x(view, x),
        w_scale=_scale_of_w(view, w, w.scale),
        w_minimum=None if w.minimum is None else _scale_of_w(view, w, w.minimum),
        bias=_bias(view),
    )


def matrices(view: GemmView, x: Quantized, w: Quantized) -> tuple[Array, Array]:
    """Codes of x [G, M, K] and of w [G, K, N], int64."""
    rows, columns = [], []
    for each in operands(view, x, w):
        blocks = torch.cat(list(each.x), dim=0 if each.depthwise else 1)
        rows.append(blocks.permute(2, 0, 1) if each.depthwise else blocks)
        columns.append(each.w.t().unsqueeze(-1) if each.depthwise else each.w)
    return _integers(torch.cat(rows)), _integers(torch.cat(columns))


def _accumulators(view: GemmView, x: Quantized, w: Quantized) -> Array:
    sizes = [each.granularity.size for each in (x, w) if isinstance(each.granularity, PerGroup)]
    if not sizes:
        return _rows(view, integer_product(view, x, w)).astype(np.int64)
    blocks = []
    for start in range(0, view.channels, min(sizes)):
        part = slice(start, start + min(sizes))
        own = dataclasses.replace(view, x=view.x[..., part], w=view.w[..., part])
        codes = (dataclasses.replace(each, codes=each.codes[..., part].contiguous(), sums=None) for each in (x, w))
        blocks.append(_rows(own, integer_product(own, *codes)).astype(np.int64))
    return np.stack(blocks, axis=1)


def _rows(view: GemmView, y: torch.Tensor) -> Array:
    """y as [G, M, N]."""
    rows: Array = y.detach().reshape(view.groups, -1, view.n).numpy()
    return rows


def _scale_of_x(view: GemmView, x: Quantized) -> Array:
    scale = x.scale.detach().float()
    if scale.numel() == 1:
        return scale.reshape(()).numpy()
    if isinstance(x.granularity, PerGroup):
        return scale.reshape(view.groups, -1, scale.shape[-1]).numpy()
    return scale.expand(*view.output_shape[:-1], 1).reshape(view.groups, -1).numpy()


def _scale_of_w(view: GemmView, w: Quantized, scale: torch.Tensor) -> Array:
    """Scales of w, or minima, which have their sizes."""
    scale = scale.detach().float()
    if scale.numel() == 1:
        return scale.reshape(()).numpy()
    if isinstance(w.granularity, PerGroup):
        return scale.reshape(view.groups, view.n, -1).numpy()
    return scale.expand(*w.codes.shape[: view.lead + 1], *[1] * len(view.column_axes)).reshape(view.groups, -1).numpy()


def _bias(view: GemmView) -> Array | None:
    if view.bias is None:
        return None
    bias = view.bias.detach().float()
    if bias.numel() == view.groups * view.n and bias.shape[-1] == view.n:
        return bias.reshape(view.groups, -1).numpy()
    return bias.expand(view.output_shape).reshape(view.groups, -1, view.n).numpy()


def _output_codes(y: OperandPlan | None) -> dict[str, Any] | None:
    """Codes that sums are rounded to at once, where a plan has some."""
    if y is None or y.scale is None:
        return None
    fmt = y.integer
    return {
        "bits": fmt.bits,
        "signed": fmt.signed,
        "low": fmt.low,
        "high": fmt.high,
        "zero_point": y.zero_point,
        "scale": float(y.scale),
    }


def _formula(work: Execution, *, stored: bool) -> str:
    if work.plan.y is not None:
        return ROUNDED_FORMULA
    assert work.w is not None
    return STORED_FORMULA if stored else FORMULA if work.w.minimum is None else MINIMUM_FORMULA


def _integers(codes: torch.Tensor) -> Array:
    integers: Array = codes.detach().to(torch.int64).numpy()
    return integers


class _Writer:
    """A listener that writes every chosen site once, as it runs first."""

    def __init__(
        self, folder: Path, methods: Composition, chosen: Sequence[str], words: str, progress: Progress
    ) -> None:
        self.folder, self.methods, self.words, self.progress = folder, methods, words, progress
        self.chosen = frozenset(chosen)
        self.sites: dict[str, Mapping[str, Any]] = {}

    def __call__(self, work: Execution) -> None:
        name = work.site.name
        if work.x is None or name in self.sites or name not in self.chosen:
            return
        self.progress("writing vectors", len(self.sites), len(self.chosen))
        self.sites[name] = self._written(work)

    def _written(self, work: Execution) -> Mapping[str, Any]:
        assert work.view is not None
        assert work.x is not None
        assert work.w is not None
        made = product_of(work, self.methods)
        stem = f"{len(self.sites):04}_{re.sub(r'[^A-Za-z0-9.-]', '_', work.site.name)[:80]}"
        sums = made.sums
        rule = work.plan.accumulation
        return {
            "site": work.site.name,
            "op": work.site.op,
            "groups": work.site.groups,
            "m": work.site.m,
            "k": work.site.k,
            "n": work.site.n,
            "x": {
                **self._codes(stem, "x", made.x, work.x),
                "layout": "[G, M, K]",
                "scale": self._floats(stem, "x_scale", made.x_scale),
            },
            "w": {
                **self._codes(stem, "w", made.w, work.w),
                "layout": "[G, K, N]",
                "scale": self._floats(stem, "w_scale", made.w_scale),
                **({} if made.w_minimum is None else {"minimum": self._floats(stem, "w_minimum", made.w_minimum)}),
            },
            "accumulators": self._sums(stem, "accumulators", made.accumulators),
            "precision": work.plan.precision.name,
            "accumulation": work.plan.accumulation.name,
            "partial_sum_bits": rule.bits if isinstance(rule, PartialSums | NarrowSums) else None,
            "sums": None if sums is None else self._sums(stem, "sums", sums),
            "alpha": work.view.alpha,
            "bias": None if made.bias is None else self._floats(stem, "bias", made.bias),
            "dropped_mean": work.x.dropped_mean,
            "output": self._floats(stem, "output", made.output),
            "y": _output_codes(work.plan.y),
            "formula": _formula(work, stored=sums is not None),
        }

    def _codes(self, stem: str, part: str, values: Array, operand: Quantized) -> dict[str, Any]:
        fmt = operand.integer
        narrow = np.dtype(f"{'int' if fmt.signed else 'uint'}{8 if fmt.bits <= 8 else 16}")
        return {
            **self._integers(stem, part, values.astype(narrow), fmt.bits),
            "signed": fmt.signed,
            "zero_point": operand.zero_point,
            "granularity": str(operand.granularity),
        }

    def _sums(self, stem: str, part: str, values: Array) -> dict[str, Any]:
        fits = bool((np.abs(values) < 2**31).all())
        axes = "[G, M, N]" if values.ndim == 3 else "[G, blocks of K, M, N]"
        written = self._integers(stem, part, values.astype(np.int32 if fits else np.int64), 32 if fits else 64)
        return {**written, "signed": True, "layout": axes}

    def _integers(self, stem: str, part: str, values: Array, bits: int) -> dict[str, Any]:
        record: dict[str, Any] = {"shape": list(values.shape), "bits": bits}
        if self.words in ("both", "npy"):
            record["npy"] = self._array(stem, part, values)
        if self.words in ("both", "hex"):
            file = f"{stem}.{part}.hex"
            write_atomic(self.folder / file, hex_words(values, bits))
            record |= {"hex": file, "hex_digits": hex_digits(bits)}
        return record

    def _floats(self, stem: str, part: str, values: Array) -> Any:
        """A single scale as it is, more of them as a file."""
        if values.ndim == 0:
            return float(values)
        return {"shape": list(values.shape), "npy": self._array(stem, part, values.astype(np.float32))}

    def _array(self, stem: str, part: str, values: Array) -> str:
        import io

        file, content = f"{stem}.{part}.npy", io.BytesIO()
        np.save(content, np.asarray(values, order="C"), allow_pickle=False)
        write_atomic(self.folder / file, content.getvalue())
        return file
