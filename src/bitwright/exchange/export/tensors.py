"""Integer weights with their scales, as one safetensors file that needs no bitwright to be read.

Tensors, by the names of sites:

    sites/SITE/w/codes     int8, uint8 or int16 [*groups, columns, *kernel, channels]; bit patterns of other formats
    sites/SITE/w           float32, scales that broadcast to the codes; of groups [columns, groups of the reduction]
    sites/SITE/w/minimum   float32, of the scales' sizes, where groups have minima (blocks of GGUF files)
    sites/SITE/x           float32, static scales of the activation (two of granularity first:N: first rows, others)
    sites/SITE/w/table     float64 [2^bits], what each bit pattern stands for, of formats that are no integers
    sites/SITE/precision/NAME, sites/SITE/accumulation/NAME    of these rules
    parameters/NAME        all other parameters and buffers of the network, as it runs by the plan

real = scale * (code - zero point) + minimum, or scale * table[code]. The JSON under `bitwright_weights` says of every
site its formats, granularities, zero points, rules, and the shape of its codes; sites of `null` operands stay float. Of
sites whose x is rotated at run time it says how (`rotations`): in blocks of how many channels, with flipped signs or
without (`bitwright.networks.hadamard`), in how many bits and steps of what, or in float; a block of 0 is the largest
power of two that divides the channels.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from bitwright.errors import InputError
from bitwright.exchange.export.exported import Exported
from bitwright.files import write_atomic
from bitwright.formats import Integer, Quantized
from bitwright.methods.execution import Execution
from bitwright.methods.executor import Executor, prepare
from bitwright.methods.plan import Plan
from bitwright.methods.plan_file import plan_record
from bitwright.networks.network import Batch, Network
from bitwright.networks.rotated_sites import Where

FORM, KEY = "safetensors", "bitwright_weights"
SCHEMA_VERSION = 2
LAYOUT = "*groups, columns, *kernel, channels"


def export_tensors(
    network: Network, plan: Plan, batch: Batch, path: Path, chosen: Sequence[str], described: str
) -> Exported:
    """Write the weights of the `chosen` sites to `path`.

    Raises
    ------
    InputError
        If none of them has a weight that is quantized, or the file cannot be written.
    """
    prepared = prepare(network, plan)
    keep = _Weights(chosen)
    Executor(prepared, plan, listeners=[keep], prepared=True).run(batch)
    if not keep.codes:
        raise InputError(f"none of the {len(chosen)} chosen sites has a weight that {plan.method} quantizes")
    sites = {name: plan.sites[name] for name in chosen}
    tensors: dict[str, torch.Tensor] = {}
    part = dataclasses.replace(plan, sites=sites, smoothing={}, rotations={}, weights={})
    record = plan_record(part, tensors)
    for name, quantized in keep.codes.items():
        tensors[f"sites/{name}/w/codes"] = _codes(quantized)
        if not isinstance(quantized.format, Integer) and quantized.format.bits <= 8:
            tensors[f"sites/{name}/w/table"] = quantized.format.table().clone()
    tensors |= _others(prepared, keep.parameters)
    for name, entry in record["sites"].items():
        made = keep.codes.get(name)
        entry["codes"] = None if made is None else {"shape": list(made.codes.shape), "layout": LAYOUT}
    rotated = {
        name: {"block": each.block, "signs": each.signs, "bits": each.bits, "step": each.step}
        for name, each in sorted(plan.rotations.items())
        if each.where is Where.RUN_TIME
    }
    metadata = {
        "schema_version": SCHEMA_VERSION,
        "network": network.name,
        **{key: record[key] for key in ("method", "options", "calibrated_on", "notes", "sites")},
        "rotated_at_run_time": list(rotated),
        "rotations": rotated,
    }
    content = save(tensors, metadata={KEY: json.dumps(metadata)})
    write_atomic(path, content)
    return Exported(
        network=network.name,
        method=plan.method,
        form=FORM,
        path=path,
        files=(path.name,),
        written_bytes=len(content),
        sites=tuple(keep.codes),
        left_out=tuple(name for name in chosen if name not in keep.codes),
        input=described,
    )


class _Weights:
    """A listener that keeps the codes of weights, and whose parameters they are."""

    def __init__(self, chosen: Sequence[str]) -> None:
        self.chosen = frozenset(chosen)
        self.codes: dict[str, Quantized] = {}
        self.parameters: set[int] = set()

    def __call__(self, work: Execution) -> None:
        if work.w is None or work.view is None or work.view.weight is None or work.site.name not in self.chosen:
            return
        self.codes.setdefault(work.site.name, work.w)
        self.parameters.add(id(work.view.weight))


def _codes(quantized: Quantized) -> torch.Tensor:
    fmt, codes = quantized.format, quantized.codes
    if isinstance(fmt, Integer):
        narrow = (
            (torch.int8 if fmt.signed else torch.uint8) if fmt.bits <= 8 else torch.int16 if fmt.signed else torch.int32
        )
    else:
        narrow = torch.uint8 if fmt.bits <= 8 else torch.int32
    return codes.detach().cpu().to(narrow).contiguous().clone()


def _others(network: Network, encoded: set[int]) -> dict[str, torch.Tensor]:
    """Parameters and buffers that are no site's weight, each once."""
    assert network.module is not None
    named: list[tuple[str, Any]] = [*network.module.named_parameters(), *network.module.named_buffers()]
    kept = {name: tensor for name, tensor in named if id(tensor) not in encoded}
    return {f"parameters/{name}": tensor.detach().cpu().contiguous().clone() for name, tensor in kept.items()}
