"""Timeloop's and Accelergy's architectures: 0.4 (a list of nodes), 0.2 and 0.3 (subtrees), and Timeloop's first form.

In 0.4 what stands below a container stands in every instance of it (`spatial: {meshX: 16, meshY: 16}`); in 0.2 and 0.3
instances are in a name, `PE[0..255]`; Timeloop's first form (`arch:` with `storage` and `arithmetic`) counts them. A
memory holds the data spaces that its constraints keep, or all but those that bypass it; where the file has none, those
that its name says.
"""

import dataclasses
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bitwright.errors import InputError
from bitwright.exchange.machines.architecture import Architecture, Dram, Memory, Operand, names
from bitwright.exchange.machines.reading import Fields
from bitwright.networks.shape_files.layers import name_of
from bitwright.strict_yaml import TAG, Document

TOPS = ("architecture", "arch")
CONTAINERS = ("Container",)
INSTANCES = re.compile(r"(?P<name>.*?)\[\s*(?P<first>\d{1,6})\s*\.\.\s*(?P<last>\d{1,6})\s*\]\s*")
NODE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*nm\s*", re.IGNORECASE)
SPACES: Mapping[str, Operand] = {
    "inputs": "x", "input": "x", "ifmap": "x", "ifmaps": "x", "iact": "x", "a": "x",
    "weights": "w", "weight": "w", "filter": "w", "filters": "w", "b": "w",
    "outputs": "y", "output": "y", "ofmap": "y", "psum": "y", "psums": "y", "z": "y",
}  # fmt: skip
HINTS: tuple[tuple[str, Operand], ...] = (
    ("weight", "w"), ("filter", "w"), ("ifmap", "x"), ("input", "x"), ("iact", "x"), ("psum", "y"), ("output", "y"),
    ("ofmap", "y"), ("accum", "y"),
)  # fmt: skip
ALL: frozenset[Operand] = frozenset({"x", "w", "y"})
MOST_PARTS = 1_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """A component: what stands where, how often along X and Y, and with what inherited."""

    fields: Fields
    name: str
    kind: str
    mesh: tuple[int, int]
    inherited: Mapping[str, Any]

    @property
    def attributes(self) -> Fields:
        """Its attributes; in Timeloop's first form they stand in the component itself."""
        return self.fields.mapping("attributes") if "attributes" in self.fields.data else self.fields

    def value(self, *keys: str) -> int | None:
        """The first of several attributes that it has: a number, or a product of numbers and attributes."""
        of = self.attributes
        for key in keys:
            if key in of.data and of.data[key] is not None:
                return _product(of, key)
        return None

    @property
    def bits(self) -> int:
        """Capacity of one instance."""
        depth, width = (
            self.value("depth", "memory_depth", "entries"),
            self.value("width", "memory_width", "word_bits", "word-bits"),
        )
        kilobytes = self.value("sizeKB", "size_kb")
        if kilobytes is not None:
            return kilobytes * 8 * 1024
        return 0 if depth is None or width is None else depth * width


def is_architecture(data: Any) -> bool:
    """Whether a document is an architecture of Timeloop or Accelergy."""
    return isinstance(data, Mapping) and any(isinstance(data.get(top), Mapping) for top in TOPS)


def read(document: Document) -> Architecture:
    """What an architecture says.

    Raises
    ------
    InputError
        It has no multipliers, or a value that it cannot have, with file and line.
    """
    top = next(each for each in TOPS if isinstance(document.data.get(each), Mapping))
    parts = list(itertools.islice(_parts(Fields(document, (top,), document.data[top])), MOST_PARTS))
    multipliers = [part for part in parts if "mac" in part.kind or part.kind in ("compute", "arithmetic")]
    if not multipliers:
        raise InputError(f"{document.where((top,))}: no component is a multiplier (of a class such as intmac)")
    mac = max(multipliers, key=lambda part: math.prod(part.mesh))
    drams = [part for part in parts if "dram" in part.kind]
    memories = [part for part in parts if part.bits and part not in (*multipliers, *drams)]
    others = [part.name for part in parts if part not in (*multipliers, *drams, *memories) and not _is_dummy(part)]
    notes = [f"components that no machine here has: {names(others)}"] if others else []
    notes += _unmapped(memories)
    held = [
        (part, Memory(name=part.name, bits=part.bits * math.prod(part.mesh), operands=_held(part))) for part in memories
    ]
    is_placed = math.prod(mac.mesh) > 1
    x, y = mac.mesh
    return Architecture(
        form="Timeloop",
        sizes=(y, x) if min(mac.mesh) > 1 else (x * y,),
        mac_bits=mac.value("multiplier_width", "datawidth", "word_bits", "word-bits", "width"),
        is_float="fp" in mac.kind or "float" in mac.kind,
        psum_bits=mac.value("adder_width"),
        places=tuple(memory for part, memory in held if is_placed and math.prod(part.mesh) > 1),
        shared=tuple(memory for part, memory in held if not (is_placed and math.prod(part.mesh) > 1)),
        clock_mhz=_clock(mac),
        node_nm=_node(mac),
        notes=tuple(notes),
        dram=_dram(drams),
    )


def _parts(top: Fields) -> Iterator[Part]:
    if "nodes" in top.data:
        yield from _of_nodes(top, "nodes", (1, 1), {})
    elif "subtree" in top.data:
        yield from _of_subtree(top, "subtree", (1, 1), {})
    else:
        yield from _of_first(top)


def _of_nodes(within: Fields, key: str, mesh: tuple[int, int], inherited: Mapping[str, Any]) -> Iterator[Part]:
    """Version 0.4: what stands below a node stands in it, except that parallel nodes stand beside each other."""
    for node in within.mappings(key):
        tag = node.data.get(TAG)
        if "nodes" in node.data:
            apart = [_alone(node, i) for i in range(len(node.mappings("nodes")))] if tag == "Parallel" else [node]
            for each in apart:
                yield from _of_nodes(each, "nodes", mesh, inherited)
            continue
        mesh = _spread(node, mesh)
        attributes = node.data.get("attributes")
        if tag in CONTAINERS or "class" not in node.data:
            inherited = {**inherited, **attributes} if isinstance(attributes, Mapping) else inherited
            continue
        yield _part(node, mesh, inherited)


def _alone(node: Fields, i: int) -> Fields:
    """A node with one of the nodes below it."""
    return Fields(node.document, node.place, {"nodes": [node.data["nodes"][i]]})


def _spread(node: Fields, mesh: tuple[int, int]) -> tuple[int, int]:
    """Instances along X and Y of a node and what is below it."""
    if "spatial" not in node.data:
        return mesh
    spatial = node.mapping("spatial")
    x, y = (spatial.integer(key) if key in spatial.data else 1 for key in ("meshX", "meshY"))
    return mesh[0] * x, mesh[1] * y


def _part(node: Fields, mesh: tuple[int, int], inherited: Mapping[str, Any]) -> Part:
    kind = " ".join(str(node.data.get(key, "")) for key in ("class", "subclass")).lower().strip()
    return Part(
        fields=node, name=name_of(node.data.get("name"), kind or "component"), kind=kind, mesh=mesh, inherited=inherited
    )


def _of_subtree(within: Fields, key: str, mesh: tuple[int, int], inherited: Mapping[str, Any]) -> Iterator[Part]:
    """Versions 0.2 and 0.3: components are local to a level, whose name has its instances."""
    for level in within.mappings(key):
        attributes = level.data.get("attributes")
        below = {**inherited, **attributes} if isinstance(attributes, Mapping) else inherited
        inside = _instances(level, mesh)
        for local in level.mappings("local") if "local" in level.data else []:
            yield _part(_renamed(local), _instances(local, inside), below)
        if "subtree" in level.data:
            yield from _of_subtree(level, "subtree", inside, below)


def _renamed(fields: Fields) -> Fields:
    match = INSTANCES.fullmatch(str(fields.data.get("name", "")))
    return (
        fields
        if match is None
        else Fields(fields.document, fields.place, {**fields.data, "name": match["name"] or "?"})
    )


def _instances(fields: Fields, mesh: tuple[int, int]) -> tuple[int, int]:
    """Instances of `NAME[0..255]`, along X as its meshX says, the rest along Y."""
    match = INSTANCES.fullmatch(str(fields.data.get("name", "")))
    count = int(match["last"]) - int(match["first"]) + 1 if match else 1
    if count < 1:
        raise fields.error("name", "a name with instances such as PE[0..255]")
    attributes = fields.data.get("attributes")
    across = attributes.get("meshX") if isinstance(attributes, Mapping) else None
    x = across if isinstance(across, int) and across > 0 and count % across == 0 else count
    return mesh[0] * x, mesh[1] * (count // x)


def _of_first(top: Fields) -> Iterator[Part]:
    """Timeloop's first form: storage from the multipliers up, and arithmetic, with their instances."""
    listed = [(each, "storage") for each in top.mappings("storage")] if "storage" in top.data else []
    listed += [(top.mapping("arithmetic"), "arithmetic")] if "arithmetic" in top.data else []
    for fields, kind in listed:
        count = fields.integer("instances") if "instances" in fields.data else 1
        across = fields.data.get("meshX")
        x = across if isinstance(across, int) and across > 0 and count % across == 0 else count
        word = "dram" if str(fields.data.get("technology", "")).lower() == "dram" else kind
        yield Part(
            fields=fields, name=name_of(fields.data.get("name"), word), kind=word, mesh=(x, count // x), inherited={}
        )


def _product(of: Fields, key: str, depth: int = 0) -> int:
    """An attribute: a number, or a product of numbers and other attributes, such as `bank_depth * n_banks`."""
    given = of.data[key]
    if not isinstance(given, str):
        return of.integer(key) if given != 0 else 0
    total = 1
    for each in given.split("*"):
        word = each.strip()
        if word.isascii() and word.isdigit() and len(word) < 12:
            total *= int(word)
        elif word in of.data and depth < 4:
            total *= _product(of, word, depth + 1)
        else:
            raise of.error(key, "a whole number, or a product of numbers and attributes,")
        if total >= 2**62:
            raise of.error(key, "a smaller number")
    return total


def _held(part: Part) -> frozenset[Operand]:
    """The operands that a memory holds."""
    constraints = part.fields.data.get("constraints")
    spaces = constraints.get("dataspace") if isinstance(constraints, Mapping) else None
    if isinstance(spaces, Mapping):
        keep, bypass = (_operands(spaces.get(key)) for key in ("keep", "bypass"))
        held = keep or ALL - bypass
    else:
        hinted = frozenset(operand for hint, operand in HINTS if hint in part.name.lower())
        held = hinted or ALL
    return held or ALL


def _operands(given: Any) -> frozenset[Operand]:
    words = given if isinstance(given, list) else [given]
    return frozenset(SPACES[str(each).lower()] for each in words if str(each).lower() in SPACES)


def _is_dummy(part: Part) -> bool:
    return part.kind == "storage" or "dummy" in part.kind or "dummy" in part.name.lower()


def _dram(drams: Sequence[Part]) -> Dram:
    """Technology and bandwidth of DRAM: words per cycle, each datawidth bits wide."""
    if not drams:
        return Dram()
    part = drams[0]
    kind = part.attributes.data.get("type")
    words = next(
        (part.attributes.number(key) for key in ("shared_bandwidth", "read_bandwidth") if key in part.attributes.data),
        None,
    )
    width = part.value("datawidth", "word_bits", "word-bits")
    named = kind.strip()[:20] if isinstance(kind, str) and kind.isprintable() else ""
    return Dram(kind=named, bytes_per_cycle=words * width / 8 if words and width else None)


def _inherited(part: Part, key: str) -> tuple[Any, Fields]:
    attributes = part.attributes
    return attributes.data.get(key, part.inherited.get(key)), Fields(
        attributes.document, attributes.place, {key: attributes.data.get(key, part.inherited.get(key))}
    )


def _clock(part: Part) -> float | None:
    given, fields = _inherited(part, "global_cycle_seconds")
    seconds = fields.number("global_cycle_seconds") if given is not None else 0
    return float(f"{1e-6 / seconds:.6g}") if seconds > 1e-15 else None


def _node(part: Part) -> float | None:
    given, _ = _inherited(part, "technology")
    if isinstance(given, int) and not isinstance(given, bool) and 0 < given < 1000:
        return float(given)
    match = NODE.fullmatch(given) if isinstance(given, str) else None
    return float(match[1]) if match else None


def _unmapped(memories: Sequence[Part]) -> list[str]:
    """What memories say that a machine here finds itself, or does not model."""
    reasons = {
        "bandwidths: an SRAM's ports are as wide as the array asks": (
            "read_bandwidth",
            "write_bandwidth",
            "shared_bandwidth",
        ),
        "banks: those of the substrate": (
            "n_banks",
            "banks",
            "n_rdwr_ports",
            "n_rd_ports",
            "n_wr_ports",
            "block_size",
            "block-size",
        ),
        "metadata, compression and gating: none is modelled": ("metadata_storage_depth", "metadata_storage_width"),
    }
    notes = []
    for reason, keys in reasons.items():
        owners = [part.name for part in memories if any(key in part.attributes.data for key in keys)]
        notes += [f"{reason} ({names(owners)})"] if owners else []
    if any("sparse_optimizations" in part.fields.data for part in memories):
        notes.append("sparse optimizations: none is modelled")
    constrained = [part.name for part in memories if "constraints" in part.fields.data]
    notes += [f"constraints on mappings: the mapping is searched freely ({names(constrained)})"] if constrained else []
    return notes
