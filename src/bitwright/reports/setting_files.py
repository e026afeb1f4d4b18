"""Machines, substrates and price lists as the YAML files that bitwright reads, with what is known of every value."""

import textwrap
from collections.abc import Iterable, Sequence

import yaml

from bitwright.accelerators.substrate import Substrate
from bitwright.settings import Setting
from bitwright.studies.catalogue import Entry
from bitwright.technology import Price, Technology
from bitwright.technology.sram import COLUMNS

WIDTH = 100


def machine_yaml(entry: Entry, base: str) -> str:
    """A machine's file with every parameter and its value; `base` is the registered accelerator that it is.

    Examples
    --------
    >>> from bitwright.studies.catalogue import accelerator
    >>> print(machine_yaml(accelerator("lpa"), "lpa").splitlines()[0])
    # lpa: log posits: multiplies by adding, 1, 2 or 4 weights of 8, 4, 2 bits per PE (LPA)
    """
    common = [each for each in entry.parameters if each.name in Substrate.model_fields]
    own = [each for each in entry.parameters if each.name not in Substrate.model_fields]
    return "\n".join(
        [
            *_comment(f"{base}: {entry.summary}", ""),
            *_comment(
                "A machine's file: keep it as mine.yaml, change values, and name it where an accelerator is asked for:",
                "",
            ),
            "#   bitwright simulate resnet18 --accelerator mine.yaml",
            "# Results call it by the file's name, or by what name: says here.",
            *(line for note in entry.notes for line in _comment(f"- {note}", "")),
            f"accelerator: {base}",
            "parameters:",
            *_settings(own, "Its own."),
            *_settings(common, "What all machines stand on: lines that are taken out come from --substrate."),
            "",
        ]
    )


def substrate_yaml(entry: Entry, base: str) -> str:
    """A substrate's file with every parameter and its value; `base` is `common` or `native`."""
    return "\n".join(
        [
            *_comment("A substrate's file: what every machine stands on that does not say otherwise.", ""),
            "#   bitwright simulate resnet18 --substrate mine.yaml",
            *_comment("Lines that are taken out stay as in what it begins with, common or native.", ""),
            f"substrate: {base}",
            "parameters:",
            *_settings(entry.parameters, "Of all machines that have them."),
            "",
        ]
    )


def technology_yaml(found: Technology) -> str:
    """A price list with everything that a technology knows: prices, DRAM by name, SRAM macros.

    Raises
    ------
    InputError
        Where nobody knows the node's SRAM macros.
    """
    table = found.sram_table
    rows = [list(point) + list(values) for point, values in table.points.items()]
    return "\n".join(
        [
            *_comment(
                "A price list: keep it as prices.yaml, change values with their sources, and name it where a "
                "technology is asked for. A list that says 'extends: 28' instead of node_nm needs only what differs.",
                "",
            ),
            "#   bitwright simulate resnet18 --technology prices.yaml",
            f"node_nm: {found.node_nm:g}",
            "prices:",
            *_block({event: _price(price) for event, price in found.prices.items()}, 2),
            "# Bandwidth of a channel (of a stack, for HBM) and energy of a bit: names for --set dram=NAME.",
            "dram:",
            *_block(
                {
                    name: {"gb_per_s": each.gb_per_s, "pj_per_bit": each.pj_per_bit, "source": each.source}
                    for name, each in found.drams.items()
                },
                2,
            ),
            "# Macros: every capacity with every width, but for the smallest and largest of a width.",
            "sram:",
            *_block({"source": table.source}, 2),
            "  macros:",
            f"    # {', '.join(COLUMNS)}",
            *(f"    - [{', '.join(f'{value:.12g}' for value in row)}]" for row in rows),
            "",
        ]
    )


def _price(price: Price) -> dict[str, object]:
    parts = {
        "energy_pj": price.energy_pj,
        "area_um2": price.area_um2,
        "leakage_uw": price.leakage_uw,
        "unit": price.unit,
        "node_nm": price.node_nm,
        "voltage_v": price.voltage_v,
        "source": price.source,
        "kind": price.kind,
        "note": price.note,
    }
    return {key: value for key, value in parts.items() if value is not None}


def _settings(settings: Sequence[Setting], title: str) -> list[str]:
    lines = [*_comment(title, "  "), ""] if settings else []
    for each in settings:
        unit = f" Unit: {each.unit}." if each.unit else ""
        source = f" Source: {each.source}." if each.source else ""
        lines += _comment(f"{each.description}. Takes {each.takes}.{unit}{source}", "  ")
        lines += [*_block({each.name: each.default}, 2), ""]
    return lines


def _comment(words: str, indent: str) -> list[str]:
    start = f"{indent}# "
    return textwrap.wrap(words, WIDTH, initial_indent=start, subsequent_indent=start, break_on_hyphens=False)


def _block(data: object, indent: int) -> Iterable[str]:
    dumped = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=WIDTH - indent)
    return textwrap.indent(dumped, " " * indent).splitlines()
