"""What machines with a mapping share: a site as a product to map, and what is told of the mapping found."""

from typing import Any

from bitwright.memory import Gemm, Mapping
from bitwright.networks.sites import Site


def gemm_of(site: Site, *, x_bits: int, w_bits: int, psum_bits: int) -> Gemm:
    """A site as a product of elements of these widths in memory; outputs leave as wide as x (our choice)."""
    return Gemm(
        m=site.m,
        k=site.k,
        n=site.n,
        groups=site.groups,
        x_bits=x_bits,
        w_bits=w_bits,
        y_bits=x_bits,
        psum_bits=psum_bits,
        x_distinct=site.x_elements,
        w_distinct=site.w_elements,
    )


def mapping_figures(found: Mapping, *, macs: int, peak: float) -> dict[str, Any]:
    """A mapping's tiles, cycles and DRAM bytes, and the shares of a peak that it reaches.

    Parameters
    ----------
    found : Mapping
        Of a product.
    macs : int
        Its multiply-accumulates.
    peak : float
        Multiply-accumulates per cycle with every multiplier busy.

    Returns
    -------
    dict
        Extents of a tile, loop `order` (outermost first), `output_buffers`, `tiles`; `cycles`, of which
        `compute_cycles` and `stall_cycles`; `dram_cycles`; DRAM bytes; `bound` (compute or memory); `utilization`
        (0 .. 1): multiply-accumulates by the peak of all cycles; `array_utilization`: by the peak of compute cycles
        only.
    """
    return {
        "tile_m": found.tile_m,
        "tile_k": found.tile_k,
        "tile_n": found.tile_n,
        "order": found.order,
        "output_buffers": found.output_buffers,
        "tiles": found.tiles,
        "cycles": found.cycles,
        "compute_cycles": found.compute_cycles,
        "stall_cycles": found.stall_cycles,
        "dram_cycles": found.dram_cycles,
        "dram_read_bytes": found.dram_read_bytes,
        "dram_write_bytes": found.dram_write_bytes,
        "bound": found.bound,
        "utilization": macs / (peak * found.cycles),
        "array_utilization": macs / (peak * found.compute_cycles),
    }
