"""The arrays that APSQ's figures are measured on: the authors', as recollected, and the common one.

The configuration behind the published figures is not public. What is recollected of it is used and never quoted:
16 x 8 x 8 between SRAMs of 256, 128 and 256 KiB, and 1 x 32 x 32 for LLaMA2-7B. That others are language models too
whose array has a single line, because decoding makes one vector at a time, is our choice.
"""

from collections.abc import Mapping
from typing import Any

from bitwright.accelerators.partial_sums import Apsq
from bitwright.errors import InputError
from bitwright.networks.network import Network
from bitwright.studies.machines import COMMON, NATIVE, build_accelerators

MACHINE = "apsq"
RECOLLECTED, LANGUAGE = "recollected", "recollected for language models"
ARRAYS: Mapping[str, Mapping[str, int]] = {RECOLLECTED: {}, LANGUAGE: {"po": 1, "pci": 32, "pco": 32}}
"""What differs from the machine's native configuration."""
VARIED = ("dataflow", "variant", "psum_bits")


def machines(settings: Mapping[str, Any], substrate: str = COMMON) -> dict[str, Apsq]:
    """The arrays by name: the common one, unless `substrate` is native, and those recollected, all with `settings`.

    Raises
    ------
    InputError
        As `build_accelerators`, or a setting of what is compared.
    """
    compared = [key for key in settings if key.rpartition(".")[2] in VARIED]
    if compared:
        raise InputError(
            f"{' and '.join(compared)} cannot be set: all dataflows and variants are measured, "
            "and partial sums of fewer bits against those of 32"
        )
    asked = _built(settings, substrate)
    recollected = {name: _built({**array, **settings}, NATIVE) for name, array in ARRAYS.items()}
    return recollected if substrate == NATIVE else {**recollected, substrate: asked}


def _built(settings: Mapping[str, Any], substrate: str) -> Apsq:
    machine = build_accelerators([MACHINE], settings, substrate)[MACHINE]
    assert isinstance(machine, Apsq)
    return machine


def arrays_of(network: Network, machines: Mapping[str, Apsq]) -> dict[str, Apsq]:
    """Those that a network is measured on: the recollected one of its kind first, then the common one if there is."""
    own = LANGUAGE if network.kind == "language" else RECOLLECTED
    return {name: machine for name, machine in machines.items() if name == own or name not in ARRAYS}


def described(name: str, machine: Apsq) -> str:
    """An array in a phrase, with what was set otherwise than its name says."""
    native = {**Apsq.native, **ARRAYS[name]} if name in ARRAYS else {}
    own = Apsq(**native).parameters()
    changed = [f"{key}={value}" for key, value in machine.parameters().items() if value != own[key]]
    but = f" but for {', '.join(changed)}" if changed else ""
    srams = f"{machine.input_sram_kib}, {machine.weight_sram_kib} and {machine.output_sram_kib} KiB"
    return (
        f"{name}{but}: {machine.po} x {machine.pci} x {machine.pco} (Po x Pci x Pco), SRAMs of {srams} for inputs, "
        "weights and partial sums"
    )
