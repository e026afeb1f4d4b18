"""Options that several methods of one reproduction share."""

from collections.abc import Collection, Mapping
from typing import Any


def known_options(options: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Those of the options that a method knows, for single sites too.

    Examples
    --------
    >>> known_options({"w_bits": 4, "phase": "tail", "sites": {"*:qk": {"phase": "head"}}}, {"w_bits"})
    {'w_bits': 4, 'sites': {'*:qk': {}}}
    """
    kept = {key: value for key, value in options.items() if key in known and key != "sites"}
    sites = {
        glob: {key: value for key, value in over.items() if key in known}
        for glob, over in options.get("sites", {}).items()
    }
    return {**kept, "sites": sites} if sites else kept
