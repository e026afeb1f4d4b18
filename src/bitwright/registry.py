"""One registry and one lookup for everything that plugs in: methods, accelerators, formats and rules, by entry point.

The built-in ones are registered through the same entry points (see pyproject.toml) as anybody else's, and go before:
no plug-in takes the place of a built-in name. A plug-in that cannot be used, for whatever reason, costs nobody but who
asks for it by name; `refused` says which and why.
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Collection
from importlib.metadata import Distribution, EntryPoint, distributions
from typing import Any

from bitwright.errors import InputError, unknown_name

OWN = "bitwright"
NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
FILES = (".yaml", ".yml")
NAMELESS = "?"
MEND = "mend or uninstall it"

Check = Callable[[Any], str | None]
"""What is wrong with an object that a plug-in registers, in a clause; None if nothing is."""

_checks: dict[str, Check] = {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Refused:
    """A plug-in that cannot be used.

    Attributes
    ----------
    name, package : str
        What it is registered as, and by which distribution.
    reason : str
        A clause that says why not.
    """

    name: str
    package: str
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Found:
    """Entry points of one group by name, which of them are built in, and those that nobody can ask for."""

    points: dict[str, EntryPoint]
    packages: dict[str, str]
    refused: tuple[Refused, ...]

    def own(self, name: str) -> bool:
        return self.packages[name] == OWN


def group(path: str, check: Check) -> str:
    """The entry point group `path`, whose objects have to pass `check`; the built-in ones are not asked."""
    _checks[path] = check
    return path


def names(group: str) -> list[str]:
    """Names registered under the entry point group `group`, sorted; nothing is imported."""
    return sorted(_found(group).points)


def usable(group: str) -> list[str]:
    """Those of the names whose objects can be had, the built-in ones first."""
    found = _found(group)
    return [name for name in sorted(found.points, key=lambda n: (not found.own(n), n)) if not _loaded(group, name)[1]]


def refused(group: str) -> tuple[Refused, ...]:
    """The plug-ins of a group that cannot be used, each with the reason, sorted by name."""
    found = _found(group)
    more = [
        Refused(name=name, package=found.packages[name], reason=reason)
        for name in found.points
        if (reason := _loaded(group, name)[1])
    ]
    return tuple(sorted((*found.refused, *more), key=lambda each: (each.name, each.package)))


def lookup(group: str, name: str) -> Any:
    """The object registered as `name`.

    Raises
    ------
    InputError
        If there is none of that name (with the nearest one), or the plug-in cannot be used.
    """
    points = _found(group).points
    refuse(group, name)
    if name not in points:
        raise unknown_name(group.removeprefix("bitwright.").removesuffix("s"), name, points)
    return _loaded(group, name)[0]


def refuse(group: str, name: str) -> None:
    """Raise what is wrong with the plug-in of that name, if it cannot be used.

    Raises
    ------
    InputError
        Saying so.
    """
    found = _found(group)
    if name in found.points:
        reason = _loaded(group, name)[1]
        if reason:
            raise InputError(f"the plug-in {name!r} ({found.points[name].value}) of {group} {reason}; {MEND}")
        return
    for each in found.refused:
        if each.name == name:
            raise InputError(f"the plug-in {name!r} of {each.package} cannot be used: {each.reason}; {MEND}")


def name_of(group: str, kind: type) -> str | None:
    """What a class is registered as; None if it is not. Plug-ins that cannot be used are none of anybody's."""
    found = _found(group)
    for name in sorted(found.points, key=lambda n: (not found.own(n), n)):  # most often nothing else is imported
        if _loaded(group, name)[0] is kind:
            return name
    return None


def refresh() -> None:
    """Forget what was found, for tests and notebooks that install plug-ins while Python runs."""
    _every_point.cache_clear()
    _found.cache_clear()
    _loaded.cache_clear()


@functools.cache
def _loaded(group: str, name: str) -> tuple[Any, str]:
    """The object, or None and why it cannot be had."""
    found = _found(group)
    try:
        loaded = found.points[name].load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever somebody else's module does when it is imported
        return None, f"cannot be imported: {_said(error)}"
    check = None if found.own(name) else _checks.get(group)
    try:
        fault = None if check is None else check(loaded)
    except Exception as error:
        fault = f"cannot be looked at: {_said(error)}"
    return (None, fault) if fault else (loaded, "")


def _said(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return "it ends the program"
    try:
        text = " ".join(str(error).split())
    except KeyboardInterrupt:
        raise
    except BaseException:
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@functools.cache
def _found(group: str) -> _Found:
    """What is registered, and what of it nobody can ask for; nothing is imported."""
    registered, refused = _every_point()
    mine = [(point, package) for point, package in registered if point.group == group]
    own = {point.name for point, package in mine if package == OWN}
    by_name: dict[str, list[tuple[EntryPoint, str]]] = {}
    for point, package in mine:
        reason = None if package == OWN else unfit(point.name, own)
        if reason:
            refused = (*refused, Refused(name=point.name, package=package, reason=reason))
        else:
            by_name.setdefault(point.name, []).append((point, package))
    for name, several in list(by_name.items()):
        if len(several) > 1:
            del by_name[name]
            packages = ", ".join(sorted(package for _, package in several))
            reason = f"several register that name ({packages}); keep one of them"
            refused = (*refused, Refused(name=name, package=packages, reason=reason))
    return _Found(
        points={name: point for name, ((point, _),) in by_name.items()},
        packages={name: package for name, ((_, package),) in by_name.items()},
        refused=refused,
    )


def unfit(name: str, taken: Collection[str]) -> str | None:
    """Why a plug-in cannot have that name, beside those that are `taken`; None if it can."""
    if name in taken:
        return "its name is that of another one, which goes before; give it another"
    if not NAME.fullmatch(name) or name.endswith(FILES):
        return "its name is none: letters, digits and ._- between them, and not as a file ends"
    return None


@functools.cache
def _every_point() -> tuple[tuple[tuple[EntryPoint, str], ...], tuple[Refused, ...]]:
    """All entry points for bitwright with their distributions, and distributions whose entry points nobody can read."""
    found, refused, seen = [], [], set()
    for each in distributions():
        package = _package(each)
        if package in seen:  # a later one of the path is hidden by the first
            continue
        seen.update({package} - {NAMELESS})
        try:
            found += [(point, package) for point in each.entry_points if point.group.startswith(f"{OWN}.")]
        except Exception as error:
            if _mentions(each):
                reason = f"its entry points cannot be read: {_said(error)}"
                refused.append(Refused(name=NAMELESS, package=package, reason=reason))
    return tuple(found), tuple(refused)


def _package(distribution: Distribution) -> str:
    try:
        name = distribution.metadata["Name"]
    except Exception:
        name = None
    return re.sub(r"[-_.]+", "-", name).lower() if isinstance(name, str) else NAMELESS


def _mentions(distribution: Distribution) -> bool:
    try:
        return f"[{OWN}." in (distribution.read_text("entry_points.txt") or "")
    except Exception:
        return False
