"""Points of a study: one network, method and accelerator, with values of the options and parameters that these have.

Two points are equal where everything that applies to them is; an axis that a method or accelerator does not have makes
no points.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from bitwright.studies.reader import Scalar
from bitwright.studies.sweep.axes import Axis, applying
from bitwright.studies.sweep.study import Study

Record = dict[str, Any]
"""A row: columns of the point, then what came out, as JSON holds it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Point:
    """What one trial is about.

    Attributes
    ----------
    network, method, accelerator : str
        Labels.
    options, parameters : tuple of (name, value)
        What varies of the method and of the accelerator, in the study's order.
    """

    network: str
    method: str
    accelerator: str
    options: tuple[tuple[str, Scalar], ...] = ()
    parameters: tuple[tuple[str, Scalar], ...] = ()

    @property
    def columns(self) -> dict[str, Any]:
        """The point as columns of a table: labels, then `options.x_bits`, `parameters.rows`, ..."""
        return {
            "network": self.network,
            "method": self.method,
            "accelerator": self.accelerator,
            **{f"options.{name}": value for name, value in self.options},
            **{f"parameters.{name}": value for name, value in self.parameters},
        }

    @property
    def work(self) -> tuple[Any, ...]:
        """What points share that are calibrated, executed and scored together."""
        return self.network, self.method, self.options


def allowed(study: Study, point: Point) -> bool:
    """Whether all conditions hold."""
    if not study.when:
        return True
    names: dict[str, Any] = {"network": point.network, "method": point.method, "accelerator": point.accelerator}
    for section, fixed, varied in (
        ("options", study.methods[point.method].values, point.options),
        ("parameters", study.accelerators[point.accelerator].values, point.parameters),
    ):
        values = {**fixed, **dict(varied)}
        names |= values | {f"{section}.{name}": value for name, value in values.items()}
    return all(condition.holds(names) for condition in study.when)


def grid(study: Study) -> Iterator[Point]:
    """All points that the conditions allow, in the order of the study: the last parameter changes fastest."""
    for network, method, accelerator in itertools.product(study.networks, study.methods, study.accelerators):
        options, parameters = applying(study.options, method), applying(study.parameters, accelerator)
        for chosen in itertools.product(*(axis.values for axis in (*options.values(), *parameters.values()))):
            point = Point(
                network=network,
                method=method,
                accelerator=accelerator,
                options=tuple(zip(options, chosen[: len(options)], strict=True)),
                parameters=tuple(zip(parameters, chosen[len(options) :], strict=True)),
            )
            if allowed(study, point):
                yield point


def point_of(study: Study, labels: tuple[str, str, str], values: Mapping[tuple[str, str], Scalar]) -> Point:
    """The point of three labels and of values by (section, key of an axis), of which only those that apply count."""
    network, method, accelerator = labels

    def pick(section: str, axes: Mapping[str, Axis]) -> tuple[tuple[str, Scalar], ...]:
        return tuple((name, values[section, axis.key]) for name, axis in axes.items())

    return Point(
        network=network,
        method=method,
        accelerator=accelerator,
        options=pick("options", applying(study.options, method)),
        parameters=pick("parameters", applying(study.parameters, accelerator)),
    )
