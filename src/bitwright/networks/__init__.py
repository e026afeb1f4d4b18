"""Networks: loading them (`bitwright.networks.load`) and finding their GEMMs; names are imported when first used."""

from typing import Any

_HOMES = {
    "InputShape": "bitwright.networks.network",
    "ModelEntry": "bitwright.networks.catalogue",
    "Network": "bitwright.networks.network",
    "Site": "bitwright.networks.sites",
    "models": "bitwright.networks.catalogue",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
