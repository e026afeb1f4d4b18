"""DRAM by name: bandwidth and energy of a bit, from data/dram.yaml."""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import yaml

from bitwright.errors import unknown_name

TABLE = Path(__file__).with_name("data") / "dram.yaml"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dram:
    """One DRAM technology.

    Attributes
    ----------
    gb_per_s : float
        Peak bandwidth of a channel (HBM: of a stack), in 10^9 bytes per second.
    pj_per_bit : float
        Energy of a bit that is read or written.
    source : str
        Where both come from.
    """

    gb_per_s: float
    pj_per_bit: float
    source: str


@functools.cache
def drams() -> Mapping[str, Dram]:
    """All of them by name."""
    rows = yaml.safe_load(TABLE.read_text())
    return MappingProxyType(
        {
            name: Dram(
                gb_per_s=float(row["gb_per_s"]), pj_per_bit=float(row["pj_per_bit"]), source=row["source"].strip()
            )
            for name, row in rows.items()
        }
    )


def dram(name: str) -> Dram:
    """The technology of that name.

    Raises
    ------
    InputError
        If there is none; names the nearest.

    Examples
    --------
    >>> dram("hbm2").pj_per_bit
    3.92
    """
    known = drams()
    if name not in known:
        raise unknown_name("DRAM technology", name, known)
    return known[name]
