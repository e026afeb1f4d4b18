"""Programs that `torch.export.save` wrote (.pt2): a graph of torch operators in JSON, and weights as bytes.

torch's own reader unpickles parts of such files and evaluates texts in them (sizes by sympy, names of functions), so a
file is checked first: operators of ATen alone, sizes that are sums and products of symbols, no pickles. What is handed
to torch is a copy of the archive that holds what was checked and nothing else.
"""

import contextlib
import io
import json
import logging
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from bitwright.errors import InputError
from bitwright.networks.network import Network
from bitwright.networks.packages import told

TARGET = re.compile(r"torch\.ops\.(aten|prims)\.[a-zA-Z0-9_]+(\.[a-zA-Z0-9_]+)?|_operator\.[a-z]+_?")
UNSAFE = re.compile(r"\.(from_file|_?save|_?load)\b|_operator\.(call|attrgetter|methodcaller|itemgetter)")
"""Operators that touch files, and functions that call others."""
SIZE = re.compile(
    r"(?:Symbol\('[su]\d+'(?:, (?:positive|integer|nonnegative)=True)*\)|Integer\(-?\d{1,18}\)"
    r"|[su]\d+|\d{1,18}|Add|Mul|Max|Min|Mod|PythonMod|FloorDiv|CleanDiv|CeilDiv|[-+(), ]|\*(?!\*))*"
)
"""Of symbols and integers alone, as sympy and its `srepr` write them; without powers, which may not end."""
SYMBOL = re.compile(r"[su]\d+")
DEEPEST = 200
FIELDS = ("guards_code",)  # texts that torch would run
HINT = "export it with torch.onnx.export, or give its module as package.module:callable"


def build(name: str) -> Network:
    """The network of an exported program; its example inputs are those that it was exported with.

    Raises
    ------
    InputError
        A damaged file, one that would run code, or one without example inputs.
    """
    from bitwright.networks.user import INPUTS_HINT, made_of

    try:
        with zipfile.ZipFile(name) as archive:
            entries = {each: archive.read(each) for each in archive.namelist()}
        inputs = _inputs(name, entries)
        with _quiet():
            program = torch.export.load(io.BytesIO(_checked(name, entries, inputs)))
            module = program.module(check_guards=False)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{name} cannot be read as an exported program ({told(error)[:200]}); {HINT}") from error
    return made_of(module, inputs, name, f"exported program {Path(name).name}", INPUTS_HINT)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """While active, torch's reader does not log what it raises anyway."""
    logger = logging.getLogger("torch.export")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _inputs(name: str, entries: dict[str, bytes]) -> Any:
    """The example inputs: tensors alone, which torch reads without running anything."""
    found = next((data for key, data in entries.items() if "/data/sample_inputs/" in key and data), None)
    if found is None:
        raise InputError(f"{name} holds no example inputs; {HINT}")
    try:
        args, named = torch.load(io.BytesIO(found), weights_only=True)
    except Exception as error:
        raise InputError(f"{name}: its example inputs are no tensors alone, so they are not read; {HINT}") from error
    if args and named:
        raise InputError(f"{name} takes inputs by position and by name at once; {HINT}")
    return dict(named) if named else tuple(args)


def _checked(name: str, entries: dict[str, bytes], inputs: Any) -> bytes:
    """An archive of what was checked."""
    models = [key for key in entries if re.search(r"/models/[^/]+\.json$", key)]
    if len(models) != 1:
        raise InputError(f"{name} holds {len(models)} programs, one is expected; {HINT}")
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        for key, data in entries.items():
            content = data
            if key == models[0]:
                content = json.dumps(_graph(name, json.loads(data))).encode()
            elif key.endswith("_config.json"):
                _check_payloads(name, json.loads(data))
            elif "/data/sample_inputs/" in key:
                content = _own_inputs(inputs)
            elif not re.search(r"/(data/(weights|constants)/[^/]+|archive_\w+|byteorder|\.data/[^/]+|version)$", key):
                continue
            archive.writestr(key, content)
    return made.getvalue()


def _own_inputs(inputs: Any) -> bytes:
    """The example inputs, written anew: tensors that were read as such."""
    buffer = io.BytesIO()
    named = isinstance(inputs, dict)
    torch.save(((), inputs) if named else (inputs, {}), buffer)
    return buffer.getvalue()


def _check_payloads(name: str, record: Any) -> None:
    """Refuse weights that are pickles, or objects that are none."""
    payloads = record.get("config", {}) if isinstance(record, dict) else {}
    for key, each in payloads.items():
        if each.get("use_pickle", True) or "/" in str(each.get("path_name", "/")):
            raise InputError(f"{name}: {str(key)[:60]!r} is a pickle, which can run code when it is read; {HINT}")


def _graph(name: str, value: Any, depth: int = 0) -> Any:
    """A record of the graph without what torch would run; refused where an operator or a size is no plain one."""
    if depth > DEEPEST:
        raise InputError(f"{name}: its graph is nested too deeply; {HINT}")
    if isinstance(value, list):
        return [_graph(name, each, depth + 1) for each in value]
    if not isinstance(value, dict):
        return value
    target = value.get("target")
    if isinstance(target, str) and "inputs" in value and (not TARGET.fullmatch(target) or UNSAFE.search(target)):
        raise InputError(f"{name} calls {target[:80]!r}; only torch's own operators are run: {HINT}")
    expression = value.get("expr_str")
    if isinstance(expression, str) and not SIZE.fullmatch(expression):
        raise InputError(f"{name}: the size {expression[:60]!r} is no expression of sizes that is read; {HINT}")
    if "as_custom_obj" in value:
        raise InputError(f"{name} holds objects of its own, which are not read; {HINT}")
    for symbol in value.get("range_constraints") or {}:
        if not SYMBOL.fullmatch(symbol):
            raise InputError(f"{name}: the size {symbol[:60]!r} is no symbol; {HINT}")
    found = {key: _graph(name, each, depth + 1) for key, each in value.items() if key not in FIELDS}
    if "metadata" in found and "target" in found:
        found["metadata"] = {}
    return found | {key: [] for key in FIELDS if key in value}
