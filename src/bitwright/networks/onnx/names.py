"""Readable dotted names for the modules of an ONNX network, from the names of its nodes and weights.

Exporters write `/features/features.0/features.0.0/Conv`, `features.0.0.weight` or nothing. Names come from a file and
are hostile: what no Python attribute may be called is replaced, and lengths are bounded.
"""

import re

import torch

WEIGHT = re.compile(r"^([A-Za-z0-9_./]+)[._/](weight|kernel|gamma|W|w)$")
QUANTIZED = re.compile(r"(_quantized)?(_DequantizeLinear_Output|_dequantized)?$")
"""What quantizers append to a weight's name."""
UNSAFE = re.compile(r"[^A-Za-z0-9_]+")
MOST_PARTS, LONGEST = 24, 60
PLAIN = torch.nn.Linear(1, 1, device="meta")  # what it has by itself, no submodule may be called


def path_of(name: str, op: str, weight: str = "", index: int = 0, scope: str = "") -> str:
    """The dotted name of a node's module.

    Parameters
    ----------
    name, op : str
        Of the node.
    weight : str
        The name of the constant that it multiplies by; empty: none.
    index : int
        Of the node in its graph, which names it where nothing else does.
    scope : str
        The dotted name of the module that it was exported from, where the file says so.

    Examples
    --------
    >>> path_of("/features/features.0/features.0.0/Conv", "Conv", "features.0.0.weight")
    'features.0.0'
    >>> path_of("/encoder/layer.0/attention/self/query/MatMul", "MatMul", "onnx::MatMul_457")
    'encoder.layer.0.attention.self.query'
    >>> path_of("/encoder/layer.0/attention/self/MatMul_1", "MatMul"), path_of("", "Relu", index=7)
    ('encoder.layer.0.attention.self.MatMul_1', 'Relu_7')
    """
    named = WEIGHT.match(QUANTIZED.sub("", weight.partition("\0")[0]))
    if named and not named[1].startswith("onnx"):
        return _safe(_parts(named[1]), op, index)
    parts = _parts(name)
    if scope:
        return _safe([*(part for part in scope.split(".") if part), *([] if weight else parts[-1:])], op, index)
    if weight and len(parts) > 1 and re.fullmatch(rf"{re.escape(op)}(_\d+)?", parts[-1]):
        parts = parts[:-1]
    return _safe(parts, op, index)


def _parts(name: str) -> list[str]:
    """The parts of a name; one that is repeated at the beginning of the next is left out."""
    scopes = [scope for scope in name.replace("::", "/").split("/") if scope]
    kept = [
        scope
        for scope, after in zip(scopes, [*scopes[1:], ""], strict=False)
        if not (after.startswith(f"{scope}.") or after == scope)
    ]
    return [part for scope in kept for part in scope.split(".") if part]


def _safe(parts: list[str], op: str, index: int) -> str:
    cleaned = [_part(part) for part in parts[-MOST_PARTS:]]
    return ".".join(cleaned) if any(cleaned) else f"{_part(op)}_{index}"


def _part(part: str) -> str:
    plain = UNSAFE.sub("_", part)[:LONGEST].strip("_") or "_"
    return f"{plain}_" if plain in dir(PLAIN) or plain.startswith("__") else plain


class Places:
    """Where modules are put: each under a name of its own below one root."""

    def __init__(self, root: torch.nn.Module) -> None:
        self._root = root
        self._taken: set[str] = set()

    def put(self, module: torch.nn.Module, path: str) -> tuple[torch.nn.Module, str, str]:
        """Register a module; who holds it, by which name, and its whole path, which may end in a number."""
        own, times = path, 1
        while own in self._taken:
            times += 1
            own = f"{path}_{times}"
        self._taken.add(own)
        *scopes, key = own.split(".")
        parent = self._root
        for scope in scopes:
            if scope not in parent._modules:
                parent.add_module(scope, torch.nn.Module())
            parent = parent._modules[scope]  # type: ignore[assignment]
        before = parent._modules.get(key)
        if before is not None:  # a scope of others has this name
            module._modules.update(before._modules)
        parent._modules[key] = module
        return parent, key, own
