"""ZigZag's workloads (a YAML list of layers, version 3): loops, the equation over them, and what is constant.

Products of groups are Gemm layers with a loop for the groups, convolutions Conv layers with the input's sizes and
padding beside the relations of its axes, as ZigZag's own reader of ONNX states them. Layers stand on their own: none is
the source of another, except that an operand computed at run time names another layer than its own.
"""

import math
from pathlib import Path
from typing import Any

import yaml

from bitwright.exchange.shapes.layers import Exported, Widths, left_out, products_of, runs, widths_of
from bitwright.files import check_file, write_atomic
from bitwright.methods.plan import Plan
from bitwright.networks.network import Network
from bitwright.networks.sites import ConvGeometry, Site

AXES = ("x", "y", "z")
"""Of a convolution, the last one first."""
UNKNOWN_SOURCE = (
    "the first layer's w is computed at run time, which ZigZag cannot be told of a first layer: it is constant"
)


def to_zigzag(network: Network, path: str | Path, *, plan: Plan | None = None) -> Exported:
    """Write a network's products as a ZigZag workload.

    Parameters
    ----------
    network : Network
        Traced on its own example.
    path : str or Path
        Of the YAML file.
    plan : Plan or None
        Says the operands' widths; without one they are 8 bits, with sums of 32.

    Raises
    ------
    InputError
        The network has no products, more than can be written, or the file cannot be.
    """
    file = Path(path)
    check_file(file)
    traced = products_of(network)
    layers = [_layer(i, name, site, widths_of(site, plan)) for i, (name, site) in enumerate(runs(traced.sites))]
    text = yaml.dump(layers, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)
    write_atomic(file, text.encode())
    notes = [] if traced.sites[0].static_weight else [UNKNOWN_SOURCE]
    return Exported(
        files=(file,),
        layers=len(layers),
        macs=sum(site.macs for site in traced.sites),
        notes=(*notes, *left_out(traced, tells_sources=True)),
    )


class _Dumper(yaml.SafeDumper):
    """YAML with the lists of a layer on one line each."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        """Write everything out."""
        return True


def _short(dumper: yaml.SafeDumper, data: list[Any]) -> yaml.Node:
    is_short = all(isinstance(each, int | str | list) for each in data)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=is_short)


_Dumper.add_representer(list, _short)


def _layer(number: int, name: str, site: Site, widths: Widths) -> dict[str, Any]:
    loops = _gemm(site) if site.conv is None else _convolution(site, site.conv)
    return {
        "id": number,
        "name": name,
        **loops,
        "operand_precision": {"I": widths.x, "W": widths.w, "O": widths.sums, "O_final": widths.y},
        "operand_source": {"I": number, "W": number if site.static_weight or not number else number - 1},
    }


def _gemm(site: Site) -> dict[str, Any]:
    group, loops = ("[g]", {"G": site.groups}) if site.groups > 1 else ("", {})
    loops |= {"D": site.m, "C": site.k, "K": site.n}
    return {
        "operator_type": "Gemm",
        "equation": f"O{group}[d][k]+=I{group}[d][c]*W{group}[c][k]",
        "dimension_relations": [],
        "loop_dims": list(loops),
        "loop_sizes": list(loops.values()),
    }


def _convolution(site: Site, conv: ConvGeometry) -> dict[str, Any]:
    axes = AXES[: len(conv.kernel)][::-1]
    loops = {"B": site.m // math.prod(conv.output_size)}
    group = ""
    if site.groups > 1:
        group, loops["G"] = "[g]", site.groups
    loops |= {"K": site.n, "C": conv.channels // site.groups}
    loops |= {f"O{axis.upper()}": size for axis, size in zip(axes, conv.output_size, strict=True)}
    loops |= {f"F{axis.upper()}": size for axis, size in zip(axes, conv.kernel, strict=True)}
    o, f, i = ("".join(f"[{letter}{axis}]" for axis in axes) for letter in "ofi")
    steps = zip(axes, conv.stride, conv.dilation, strict=True)
    return {
        "operator_type": "Conv",
        "equation": f"O[b]{group}[k]{o}+=W{group}[k][c]{f}*I[b]{group}[c]{i}",
        "dimension_relations": [f"i{axis}={stride}*o{axis}+{dilation}*f{axis}" for axis, stride, dilation in steps],
        "loop_dims": list(loops),
        "loop_sizes": list(loops.values()),
        "pr_loop_dims": [f"I{axis.upper()}" for axis in axes],
        "pr_loop_sizes": list(conv.input_size),
        "padding": [[size, size] for size in conv.padding],
    }
