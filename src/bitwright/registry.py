"""One registry and one lookup for everything that plugs in: methods, accelerators and formats, by entry point.

The built-in ones are registered through the same entry points (see pyproject.toml) as anybody else's.
"""

import contextlib
import functools
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from bitwright.errors import InputError, unknown_name


@functools.cache
def _points(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=group)}


def names(group: str) -> list[str]:
    """Names registered under the entry point group `group`, sorted; nothing is imported."""
    return sorted(_points(group))


def lookup(group: str, name: str) -> Any:
    """The object registered as `name`.

    Raises
    ------
    InputError
        If there is none of that name (with the nearest one), or the plug-in cannot be imported.
    """
    points = _points(group)
    if name not in points:
        raise unknown_name(group.removeprefix("bitwright.").removesuffix("s"), name, points)
    try:
        return points[name].load()
    except Exception as error:
        raise InputError(
            f"the plug-in {name!r} ({points[name].value}) of {group} cannot be imported: {error!r}; "
            "mend or uninstall it"
        ) from error


def name_of(group: str, kind: type) -> str | None:
    """What a class is registered as; None if it is not. Plug-ins that cannot be imported are none of anybody's."""
    for name in names(group):
        with contextlib.suppress(InputError):
            if lookup(group, name) is kind:
                return name
    return None


def refresh() -> None:
    """Forget what was found, for tests and notebooks that install plug-ins while Python runs."""
    _points.cache_clear()
