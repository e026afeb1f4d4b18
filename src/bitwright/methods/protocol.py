"""What a quantization method is, and how methods compose.

A method fills one or more of the three parts of a site's plan. Whoever fills the operands' formats encodes the
operands; the product is computed by whoever fills the last part: accumulation, else precision, else operands.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import pydantic
import torch

from bitwright import registry
from bitwright.errors import InputError, unknown_name
from bitwright.formats import Quantized
from bitwright.methods.plan import Part, Plan, SitePlan
from bitwright.networks.calls import Call
from bitwright.networks.network import Batch, Network

GROUP = "bitwright.methods"


@runtime_checkable
class Method(Protocol):
    """A quantization method, registered as an instance under the entry point group `bitwright.methods`."""

    summary: str
    """One line for `bitwright methods`."""
    fills: frozenset[Part]
    """The parts of a site's plan that it fills."""
    options: type[pydantic.BaseModel]
    """Its options, a frozen model that forbids unknown keys."""
    recipes: Mapping[str, Mapping[str, Any]]
    """Names for sets of options: {'int8': {...}}; each is a method name on the command line."""

    def calibrate(self, network: Network, samples: Sequence[Batch], options: Any, plan: Plan) -> Plan:
        """`plan` with this method's parts filled in, from a few unlabelled batches."""

    def encode_x(self, call: Call, plan: SitePlan) -> Quantized:
        """Codes of a call's x. Encoding is asked only of a method that fills the operands."""

    def encode_w(self, call: Call, plan: SitePlan) -> Quantized:
        """Codes of a call's w; asked once where w is a parameter."""

    def gemm(self, call: Call, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:
        """The call's output as the machine computes it: exact arithmetic on codes, then scale and bias in float32."""

    def fast(self, call: Call, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:
        """The same from the same codes by float32 products."""

    def step(self, call: Call, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:
        """What one unit of the accumulator is worth in the output (broadcastable to it), for "off by N"."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Composition:
    """One or more methods that fill different parts, by the name the user gave, with their options."""

    name: str
    methods: tuple[tuple[str, Method, Any], ...]  # (name of the part, method, its options)

    def calibrate(self, network: Network, samples: Sequence[Batch]) -> Plan:
        """The plan of all methods, each adding its parts: operands first, then precision, then accumulation."""
        options = {name: chosen.model_dump(mode="json") for name, _, chosen in self.methods}
        plan = Plan(method=self.name, options=options)
        for _, method, chosen in sorted(self.methods, key=_first_part):
            plan = method.calibrate(network, samples, chosen, plan)
        return plan

    def encoder(self) -> Method:
        """Whoever encodes operands."""
        return self._filler(Part.OPERANDS)

    def multiplier(self) -> Method:
        """Whoever computes products."""
        for part in (Part.ACCUMULATION, Part.PRECISION):
            for _, method, _ in self.methods:
                if part in method.fills:
                    return method
        return self.encoder()

    def _filler(self, part: Part) -> Method:
        for _, method, _ in self.methods:
            if part in method.fills:
                return method
        raise InputError(f"{self.name}: no method fills the {part}; compose it with one that does, such as int8")


def _first_part(method: tuple[str, Method, Any]) -> int:
    return min(list(Part).index(part) for part in method[1].fills)


def method_names() -> list[str]:
    """Every name that `compose` takes for one part: methods and their recipes."""
    return sorted({*registry.names(GROUP), *(recipe for method in _importable() for recipe in method.recipes)})


def _importable() -> Iterator[Method]:
    """Every registered method; a plug-in that cannot be imported is an error only for who asks for it by name."""
    for name in registry.names(GROUP):
        with contextlib.suppress(InputError):
            yield registry.lookup(GROUP, name)


def compose(name: str, options: Mapping[str, Any] | None = None) -> Composition:
    """The methods named `a+b`, with `options` given to whichever of them knows each key.

    Raises
    ------
    InputError
        Unknown method or option, an option's value that is refused, or two methods that fill the same part.
    """
    chosen = [(part, *_find(part)) for part in name.split("+")]
    _check_parts(name, [(part, method) for part, method, _ in chosen])
    given = dict(options or {})
    known = {key for _, method, _ in chosen for key in method.options.model_fields}
    for key in given:
        if key not in known:
            raise unknown_name(f"option of {name}", key, known)
    parts = []
    for part, method, recipe in chosen:
        mine = {k: v for k, v in given.items() if k in method.options.model_fields}
        parts.append((part, method, parse_options(part, method, {**recipe, **mine})))
    return Composition(name=name, methods=tuple(parts))


def parse_options(name: str, method: Method, given: Mapping[str, Any]) -> Any:
    """A method's options from plain values, with one sentence for the first that is refused."""
    try:
        return method.options(**given)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "options"
        message = first["msg"].removeprefix("Value error, ")
        raise InputError(f"option {key} of {name}: {message} (given {first['input']!r})") from None


def _find(name: str) -> tuple[Method, Mapping[str, Any]]:
    if name in registry.names(GROUP):
        return registry.lookup(GROUP, name), {}
    for method in _importable():
        if name in method.recipes:
            return method, method.recipes[name]
    raise unknown_name("method", name, method_names())


def _check_parts(name: str, chosen: Sequence[tuple[str, Method]]) -> None:
    taken: dict[Part, str] = {}
    for part, method in chosen:
        for filled in sorted(method.fills):
            if filled in taken:
                raise InputError(
                    f"{name}: {taken[filled]} and {part} both decide the {filled}; "
                    "compose methods that decide different parts"
                )
            taken[filled] = part
