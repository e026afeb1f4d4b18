"""What is varied: options of methods and parameters of accelerators, each over a list, a range or an interval.

A key is for every method or accelerator that has it, `label.key` for one of them, which goes before the former.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bitwright import registry
from bitwright.errors import InputError, unknown_name
from bitwright.methods.protocol import compose
from bitwright.studies.machines import GROUP, build_accelerators
from bitwright.studies.reader import Reader, Scalar

if TYPE_CHECKING:
    from bitwright.strict_yaml import Place
    from bitwright.studies.sweep.study import Variant

MOST_VALUES = 100_000
DIGITS = 12  # significant ones of a range's values, so that 0.1 + 0.2 is 0.3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Axis:
    """One thing that varies.

    Attributes
    ----------
    key : str
        As the study has it: `rows`, `systolic-ws.rows`.
    name : str
        Of the option or parameter.
    values : tuple
        What it takes; empty for an interval.
    low, high : float
        Ends of an interval.
    log : bool
        Whether the interval is even in logarithms.
    labels : tuple of str
        The methods or accelerators that have it.
    """

    key: str
    name: str
    values: tuple[Scalar, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    labels: tuple[str, ...] = ()

    def record(self) -> Any:
        """What it takes, as JSON holds it."""
        return list(self.values) if self.values else {"from": self.low, "to": self.high, "log": self.log}


def read_axes(
    reader: Reader, section: str, given: Any, variants: Mapping[str, "Variant"], discrete: bool
) -> tuple[Axis, ...]:
    """The axes in `options` or `parameters`; a grid has no intervals."""
    if not isinstance(given, Mapping):
        raise reader.error((section,), f"{section} is a mapping of keys to values, not {given!r}")
    known = {label: _fields(reader, section, i, variant) for i, (label, variant) in enumerate(variants.items())}
    axes: list[Axis] = []
    for key, value in given.items():
        place = (section, str(key))
        labels, name = _takers(reader, place, str(key), known)
        for label in labels:
            if name in variants[label].fixed:
                fixed = variants[label].fixed[name]
                raise reader.error(place, f"{name} of {label} is set to {fixed!r} and varied too; remove one")
        axis = _axis(reader, place, value, discrete)
        axis = dataclasses.replace(axis, key=str(key), name=name, labels=tuple(labels))
        _check_values(reader, place, section, axis, variants)
        axes.append(axis)
    return tuple(axes)


def applying(axes: Sequence[Axis], label: str) -> dict[str, Axis]:
    """Name -> axis of a method or accelerator; one of its own goes before the general one."""
    found: dict[str, Axis] = {}
    for axis in sorted(axes, key=lambda axis: "." in axis.key):
        if label in axis.labels:
            found[axis.name] = axis
    return found


def _fields(reader: Reader, section: str, index: int, variant: "Variant") -> set[str]:
    """The options of a method or the parameters of an accelerator; what is fixed must be among them."""
    place = ("methods" if section == "options" else "accelerators", index)
    try:
        if section == "options":
            parts = compose(variant.name, variant.fixed).methods
            return {field for _, method, _ in parts for field in method.options.model_fields} - {"sites"}
        build_accelerators([variant.machine()], variant.fixed)
        return set(registry.lookup(GROUP, variant.name).model_fields)
    except InputError as error:
        raise reader.error(place, str(error)) from None


def _takers(reader: Reader, place: "Place", key: str, known: Mapping[str, set[str]]) -> tuple[list[str], str]:
    """Who has the option or parameter of that key, and its own name."""
    label, dot, name = key.rpartition(".")
    what = "option" if place[0] == "options" else "parameter"
    if dot:
        if label not in known:
            raise reader.error(place, str(unknown_name("label", label, known)))
        if name not in known[label]:
            raise reader.error(place, str(unknown_name(f"{what} of {label}", name, known[label])))
        return [label], name
    labels = [label for label, fields in known.items() if key in fields]
    if not labels:
        raise reader.error(place, str(unknown_name(f"{what} of {', '.join(known)}", key, set().union(*known.values()))))
    return labels, key


def _axis(reader: Reader, place: "Place", given: Any, discrete: bool) -> Axis:
    if isinstance(given, Mapping):
        return _range(reader, place, given, discrete)
    values = [reader.scalar((*place, i), value) for i, value in enumerate(reader.items(place, given))]
    if not values:
        raise reader.error(place, f"{place[-1]} has no values; give at least one")
    seen: set[tuple[str, Scalar]] = set()
    for i, value in enumerate(values):
        if (type(value).__name__, value) in seen:
            raise reader.error((*place, i), f"{place[-1]} has the value {value!r} twice; remove one")
        seen.add((type(value).__name__, value))
    return Axis(key="", name="", values=tuple(values))


def _range(reader: Reader, place: "Place", given: Mapping[str, Any], discrete: bool) -> Axis:
    data = reader.mapping(place, given, ("from", "to", "step", "factor", "log"), what="a range")
    low = reader.number((*place, "from"), reader.required(place, data, "from"))
    high = reader.number((*place, "to"), reader.required(place, data, "to"))
    if low > high:
        raise reader.error(place, f"{place[-1]} goes from {low} to {high}; from must not be larger than to")
    if "step" in data and "factor" in data:
        raise reader.error((*place, "factor"), f"{place[-1]} has both a step and a factor; remove one")
    log = data.get("log", False)
    if not isinstance(log, bool) or (log and ("step" in data or "factor" in data)):
        raise reader.error((*place, "log"), "log is true or false, and for intervals only: without step and factor")
    if log and low <= 0:
        raise reader.error((*place, "from"), f"an interval that is even in logarithms begins above 0, not at {low}")
    whole = isinstance(low, int) and isinstance(high, int)
    if "factor" in data:
        factor = reader.number((*place, "factor"), data["factor"])
        if factor <= 1 or low <= 0:
            raise reader.error(place, f"a range with a factor begins above 0 and its factor is above 1, not {factor}")
        return Axis(key="", name="", values=_values(reader, place, low, high, lambda value: value * factor))
    if "step" in data or (whole and not log):
        step = reader.number((*place, "step"), data.get("step", 1))
        if step <= 0:
            raise reader.error((*place, "step"), f"step is {step}; it must be above 0")
        count = _multiples(low, step)
        return Axis(key="", name="", values=_values(reader, place, low, high, lambda _: next(count)))
    if discrete:
        raise reader.error(place, f"{place[-1]} is an interval without a step, and a grid needs values; give a step")
    return Axis(key="", name="", low=float(low), high=float(high), log=log)


def _multiples(low: float, step: float) -> Iterator[float]:
    """low + step, low + 2 step, ..., whole where both are."""
    number = 1
    while True:
        yield low + number * step
        number += 1


def _values(reader: Reader, place: "Place", low: float, high: float, following: Any) -> tuple[Scalar, ...]:
    values: list[Scalar] = []
    value = low
    while _rounded(value) <= high:
        values.append(_rounded(value))
        if len(values) > MOST_VALUES:
            raise reader.error(place, f"{place[-1]} has more than {MOST_VALUES:,} values; take a larger step")
        value = following(value)
    return tuple(values)


def _rounded(value: float) -> float:
    """The number without what binary fractions leave behind; whole numbers stay whole."""
    if isinstance(value, int) or value == 0:
        return value
    return round(value, DIGITS - 1 - math.floor(math.log10(abs(value))))


def _check_values(reader: Reader, place: "Place", section: str, axis: Axis, variants: Mapping[str, "Variant"]) -> None:
    """Refuse values that no point could have; those that only some others rule out become trials that say so."""
    for label in axis.labels:
        variant = variants[label]
        for i, value in enumerate(axis.values or (axis.low, axis.high)):
            line = (*place, i) if (*place, i) in reader.document.lines else place
            try:
                if section == "options":
                    compose(variant.name, {**variant.fixed, axis.name: value})
                else:
                    build_accelerators([variant.machine()], {**variant.fixed, axis.name: value})
            except InputError as error:
                if f"{axis.name} of" in str(error) or f"option {axis.name}" in str(error):
                    raise reader.error(line, str(error)) from None
