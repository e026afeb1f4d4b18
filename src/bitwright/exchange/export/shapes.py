"""Shapes of a network's products, for other simulators: a figure of ours can be checked with theirs.

No numbers are needed, and no plan; ZigZag's workloads state widths of operands, which a plan has.
"""

from pathlib import Path

from bitwright.errors import InputError
from bitwright.exchange.export.exported import Exported
from bitwright.exchange.shapes import to_scalesim, to_timeloop, to_zigzag
from bitwright.methods.plan import Plan
from bitwright.networks.network import Network
from bitwright.networks.trace import trace

ZIGZAG, TIMELOOP, SCALESIM, SCALESIM_GEMM = "zigzag", "timeloop", "scalesim", "scalesim-gemm"
SHAPE_FORMS = {
    ZIGZAG: "shapes of all products as a ZigZag workload, with the widths of a plan",
    TIMELOOP: "a folder of Timeloop problems, one for each product",
    SCALESIM: "shapes of all products as a SCALE-Sim topology of convolutions",
    SCALESIM_GEMM: "the same as one of matrix products",
}
"""What they are, by name."""


def export_shapes(network: Network, plan: Plan | None, path: Path, form: str, *, overwrite: bool = False) -> Exported:
    """Write the shapes of `network` at `path`.

    Raises
    ------
    InputError
        If the network has no products, a plan is given to a form without widths, or the place cannot be written; a
        folder is replaced only with `overwrite`, and where all files in it were written so.
    """
    if plan is not None and form != ZIGZAG:
        raise InputError(f"{form} has no widths of operands, which is all that a plan would say; leave the method out")
    if form == ZIGZAG:
        shapes = to_zigzag(network, path, plan=plan)
    elif form == TIMELOOP:
        shapes = to_timeloop(network, path, overwrite=overwrite)
    else:
        shapes = to_scalesim(network, path, mode="conv" if form == SCALESIM else "gemm")
    return Exported(
        network=network.name,
        method="" if plan is None else plan.method,
        form=form,
        path=path,
        files=tuple(file.name for file in shapes.files),
        written_bytes=sum(file.stat().st_size for file in shapes.files),
        sites=tuple(site.name for site in trace(network).sites),
        notes=(f"{shapes.layers:,} layers, {shapes.macs:,} multiply-accumulates", *shapes.notes),
    )
