"""What a quantization method is, and how methods compose.

A method fills one or more of the three parts of a site's plan. Who fills the operands encodes them, and turns sums of
products into the site's output; who fills the accumulation says how products are added up to such sums. So partial sums
are a concern of their own: any accumulation works with any operands whose method can finish sums.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

import pydantic

from bitwright import registry
from bitwright.errors import InputError, unknown_name
from bitwright.formats import Quantized
from bitwright.later import torch
from bitwright.methods.operand_options import CorrectingOptions, OperandOptions
from bitwright.methods.plan import Part, Plan, SitePlan
from bitwright.methods.plan_checks import refuse_zero_points_of_rows
from bitwright.methods.plugin import method_fault
from bitwright.methods.rules import Exact, Static
from bitwright.methods.sharing import once
from bitwright.networks.network import Batch, Network
from bitwright.networks.view import GemmView
from bitwright.settings import refusal

if TYPE_CHECKING:
    from bitwright.methods.refine import Refiner

GROUP = registry.group("bitwright.methods", method_fault)


class Provides(enum.StrEnum):
    """What a method can do beside what its parts of the plan ask of it."""

    FINISH = "finish"
    """Of operands: `finish` (see `Finishing`), so that it composes with methods that fill the accumulation."""
    SUMS = "sums"
    """Of precision: `sums` and `fast_sums` as an `AccumulationMethod`, because its narrow operands do not share a grid
    with the wide ones."""
    ROUGH = "rough"
    """`rough` (see `Rough`), for trials of weights."""
    FIXED = "fixed"
    """Of operands: plans that no samples decide, so that none are drawn."""
    DRAFT = "draft"
    """`draft` (see `Drafting`), for trials of what the network is changed into before."""
    PENDING = "pending"
    """Of operands: `encode_x` takes a view whose x is yet to be computed (`GemmView.pending`)."""


@runtime_checkable
class Method(Protocol):
    """A quantization method, registered as an instance under the entry point group `bitwright.methods`.

    Examples
    --------
    >>> from bitwright.methods.aqs import METHOD
    >>> isinstance(METHOD, Method), sorted(METHOD.fills)
    (True, [<Part.OPERANDS: 'operands'>])
    """

    summary: str
    """One line for `bitwright methods`."""
    fills: frozenset[Part]
    """The parts of a site's plan that it fills."""
    options: type[pydantic.BaseModel]
    """Its options, a frozen model that forbids unknown keys."""
    provides: frozenset[Provides]
    """What it can do beside that."""
    on: str
    """The method of operands that it stands on where the user names none; empty: none."""
    recipes: Mapping[str, Mapping[str, Any]]
    """Names for sets of options: {'int8': {...}}; each is a method name on the command line."""

    def calibrate(self, network: Network, samples: Sequence[Batch], options: Any, plan: Plan) -> Plan:
        """`plan` with this method's parts filled in, from a few unlabelled batches."""


@runtime_checkable
class OperandMethod(Method, Protocol):
    """A method that fills the operands' formats."""

    def encode_x(self, view: GemmView, plan: SitePlan) -> Quantized:
        """Codes of the view's x."""

    def encode_w(self, view: GemmView, plan: SitePlan) -> Quantized:
        """Codes of the view's w; asked once where w is a parameter."""

    def gemm(self, view: GemmView, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:
        """y as the machine computes it: exact arithmetic on codes, then scale and bias in float32."""

    def fast(self, view: GemmView, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:
        """The same from the same codes by float32 products."""

    def step(self, view: GemmView, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:
        """What one unit of the accumulator is worth in the output (broadcastable to it), for "off by N"."""


class Finishing(Protocol):
    """A method of operands that provides `Provides.FINISH`."""

    def finish(self, view: GemmView, sums: torch.Tensor, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:
        """y from exact sums of products of centred codes, scale and bias included."""


@runtime_checkable
class Rough(Protocol):
    """A method of operands that provides `Provides.ROUGH`: its emulation in float32 is slow."""

    def rough(self) -> OperandMethod:
        """A method that executes the same plans, but for small errors of the machine's products."""


@runtime_checkable
class Drafting(Protocol):
    """A method, of operands or of the accumulation, that provides `Provides.DRAFT`."""

    def draft(self, options: Any) -> tuple[Any, Any]:
        """A method and its options that make plans like this one's, without searches of their own."""


@runtime_checkable
class AccumulationMethod(Method, Protocol):
    """A method that fills the accumulation: asked for sums at the sites whose plan has its rule."""

    def sums(self, view: GemmView, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:
        """Sums of products of centred codes as the machine adds them: integers, as y."""

    def fast_sums(self, view: GemmView, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:
        """The same by float32 arithmetic."""


@runtime_checkable
class PrecisionMethod(Method, Protocol):
    """A method that fills the precision: shown every operand at the sites whose plan has its rule."""

    def narrow_x(self, view: GemmView, x: Quantized, plan: SitePlan) -> Quantized:
        """x with what becomes narrow, and `shifts` that say what did; the memory of its codes may be overwritten."""

    def narrow_w(self, view: GemmView, w: Quantized, plan: SitePlan) -> Quantized:
        """w likewise; asked once where w is a parameter."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Composition:
    """One or more methods that fill different parts, by the name the user gave, with their options."""

    name: str
    methods: tuple[tuple[str, Method, Any], ...]  # (name of the part, method, its options)

    def calibrate(self, network: Network, samples: Sequence[Batch]) -> Plan:
        """The plan of all methods, each adding its parts: operands first, then precision, then accumulation.

        Compositions that begin alike share what they begin with, where a study does (`bitwright.methods.sharing`). What
        operands are transformed by is judged with the accumulation, so those that differ in it do not begin alike.
        """
        options = {name: chosen.model_dump(mode="json") for name, _, chosen in self.methods}
        plan = Plan(method=self.name, options=options)
        made_by: tuple[Any, ...] = ()
        stored = [each for each in self.methods if each[1].fills == {Part.ACCUMULATION}]
        refiner: Refiner | None = None
        for _, method, chosen in sorted(self.methods, key=_first_part):
            if Part.OPERANDS not in method.fills:
                refuse_zero_points_of_rows(self.name, plan)
            made_by = (*made_by, id(method), chosen.model_dump_json())
            judged = stored if Part.OPERANDS in method.fills else []
            made_by = (*made_by, *(part for _, one, own in judged for part in (id(one), own.model_dump_json())))
            make = functools.partial(_calibrated, method, network, samples, chosen, plan, judged)
            plan = dataclasses.replace(once(made_by, (network, *samples), make), method=self.name, options=options)
            if Part.OPERANDS in method.fills and (refiner := self._refiner(network, samples, plan)) is not None:
                made_by = (*made_by, "rounded")
                made = once(made_by, (network, *samples), functools.partial(refiner.rounded, plan))
                plan = dataclasses.replace(made, method=self.name, options=options)
        return plan if refiner is None else refiner.corrected(plan, narrowing=self._corrects_narrow())

    def corrected(self, network: Network, samples: Sequence[Batch], plan: Plan) -> Plan:
        """A whole plan of these methods with its biases corrected, as the last step of `calibrate` does it."""
        refiner = self._refiner(network, samples, plan)
        return plan if refiner is None else refiner.corrected(plan, narrowing=self._corrects_narrow())

    def refined(self, network: Network, samples: Sequence[Batch], plan: Plan) -> Plan:
        """A plan of operands, found otherwise than by `calibrate`, with weights rounded and biases corrected."""
        refiner = self._refiner(network, samples, plan)
        return plan if refiner is None else refiner.corrected(refiner.rounded(plan))

    def _refiner(self, network: Network, samples: Sequence[Batch], plan: Plan) -> Refiner | None:
        """Who rounds weights and corrects biases of `plan`; None where there is nothing that could be."""
        if network.shape_only or not samples or not plan.quantizes:
            return None
        from bitwright.methods.refine import Refiner

        options = next(chosen for _, method, chosen in self.methods if Part.OPERANDS in method.fills)
        if not isinstance(options, OperandOptions):  # a plug-in's: its codes are its own, and corrected if narrow
            options = OperandOptions(
                rotation="none", rotation_bits=0, w_rounding="nearest", bias_correction=len(self.methods) > 1
            )
        return Refiner(network, samples, plan, self, options)

    def _corrects_narrow(self) -> bool:
        """Whether biases make up for operands that become narrow at run time, where some do."""
        chosen = [options for _, method, options in self.methods if Part.PRECISION in method.fills]
        return all(options.bias_correction for options in chosen if isinstance(options, CorrectingOptions))

    @property
    def fixed(self) -> bool:
        """Whether samples decide nothing of its plans."""
        return all(Provides.FIXED in method.provides for _, method, _ in self.methods)

    def rough(self) -> Composition:
        """Whoever executes the same plans faster, where the methods know of one."""

        def faster(method: Method) -> Method:
            return method.rough() if Provides.ROUGH in method.provides and isinstance(method, Rough) else method

        methods = tuple((name, faster(method), options) for name, method, options in self.methods)
        return dataclasses.replace(self, methods=methods)

    def encoder(self) -> OperandMethod:
        """Whoever encodes operands."""
        method = self._filler(Part.OPERANDS)
        if method is None:
            raise InputError(
                f"{self.name}: no method fills the {Part.OPERANDS}; compose it with one that does, such as int8"
            )
        return cast(OperandMethod, method)

    @property
    def pending(self) -> bool:
        """Whether `encode_x` takes x that is yet to be computed."""
        return Provides.PENDING in self.encoder().provides

    def encode_x(self, view: GemmView, plan: SitePlan) -> Quantized:
        """Codes of the view's x, narrow where the precision rule has it so."""
        x, chooser = self.encoder().encode_x(view, plan), self._chooser(plan)
        return x if chooser is None else chooser.narrow_x(view, x, plan)

    def encode_w(self, view: GemmView, plan: SitePlan) -> Quantized:
        """Codes of the view's w likewise."""
        w, chooser = self.encoder().encode_w(view, plan), self._chooser(plan)
        return w if chooser is None else chooser.narrow_w(view, w, plan)

    def gemm(self, view: GemmView, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:
        """The view's output in exact arithmetic."""
        adder = self._adder(plan)
        if adder is None:
            return self.encoder().gemm(view, x, w, plan)
        return self._finish(view, adder.sums(view, x, w, plan), x, w, plan)

    def fast(self, view: GemmView, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:
        """The same from the same codes by float32 arithmetic."""
        adder = self._adder(plan)
        if adder is None:
            return self.encoder().fast(view, x, w, plan)
        return self._finish(view, adder.fast_sums(view, x, w, plan), x, w, plan)

    def sums(self, view: GemmView, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor | None:
        """What the accumulation comes to, integers as y; None where it is one exact product."""
        adder = self._adder(plan)
        return None if adder is None else adder.sums(view, x, w, plan)

    def check(self, plan: Plan) -> None:
        """Refuse a plan of other methods: with rules that none of these made.

        Raises
        ------
        InputError
            If a site has a precision rule or an accumulation rule and no method here chooses it.
        """
        for name, site in plan.sites.items():
            for part, plain, rule in (
                (Part.PRECISION, isinstance(site.precision, Static), site.precision),
                (Part.ACCUMULATION, isinstance(site.accumulation, Exact), site.accumulation),
            ):
                if not plain and self._filler(part) is None:
                    raise InputError(
                        f"the plan's {part} rule of {name} is {rule.name}, which {self.name} does not make; calibrate "
                        "it anew"
                    )

    def _adder(self, plan: SitePlan) -> AccumulationMethod | None:
        """Whoever adds up the products of a site; None where they are one exact product."""
        if isinstance(plan.accumulation, Exact):
            chooser = self._chooser(plan)
            adds = chooser is not None and Provides.SUMS in chooser.provides
            return cast(AccumulationMethod, chooser) if adds else None
        method = self._filler(Part.ACCUMULATION)
        assert method is not None, f"{self.name} did not make the rule {plan.accumulation.name}"
        return cast(AccumulationMethod, method)

    def _chooser(self, plan: SitePlan) -> PrecisionMethod | None:
        """Whoever chooses precision at run time; None where it is static."""
        if isinstance(plan.precision, Static):
            return None
        method = self._filler(Part.PRECISION)
        assert method is not None, f"{self.name} did not make the rule {plan.precision.name}"
        return cast(PrecisionMethod, method)

    def _finish(self, view: GemmView, sums: torch.Tensor, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:
        return cast(Finishing, self.encoder()).finish(view, sums, x, w, plan)

    def _filler(self, part: Part) -> Method | None:
        return next((method for _, method, _ in self.methods if part in method.fills), None)


def _calibrated(
    method: Method, network: Network, samples: Sequence[Batch], options: Any, plan: Plan, stored: Sequence[Any]
) -> Plan:
    """`plan` with one method's parts; operands of numbers are transformed as the options say."""
    if network.shape_only or not samples or not isinstance(options, OperandOptions):
        return method.calibrate(network, samples, options, plan)
    from bitwright.methods.transforms import calibrate_transformed

    return calibrate_transformed(method, network, samples, options, plan, stored)


def _first_part(method: tuple[str, Method, Any]) -> int:
    return min(list(Part).index(part) for part in method[1].fills)


def method_names() -> list[str]:
    """Every name that `compose` takes for one part: methods and their recipes."""
    return sorted({*registry.names(GROUP), *recipes()[0]})


def recipes() -> tuple[dict[str, tuple[str, Method, Mapping[str, Any]]], tuple[registry.Refused, ...]]:
    """By recipe, its method's name, the method and the options; and the recipes of plug-ins that others' names hide.

    Methods go before recipes, built-in ones before those of plug-ins, and names in alphabetical order.
    """
    found: dict[str, tuple[str, Method, Mapping[str, Any]]] = {}
    hidden = []
    taken = set(registry.names(GROUP))
    for name in registry.usable(GROUP):
        method: Method = registry.lookup(GROUP, name)
        for recipe, values in method.recipes.items():
            reason = registry.unfit(recipe, {*taken, *found})
            if reason is None:
                found[recipe] = name, method, values
            else:
                hidden.append(registry.Refused(name=recipe, package=f"recipe of {name}", reason=reason))
    return found, tuple(hidden)


def compose(name: str, options: Mapping[str, Any] | None = None) -> Composition:
    """The methods named `a+b`, with `options` given to whichever of them knows each key.

    An option for some sites only, in `sites`, goes to those methods likewise.

    Raises
    ------
    InputError
        Unknown method or option, an option's value that is refused, methods that fill the same part, or an accumulation
        beside operands whose sums are not to be had.
    """
    chosen = _named(name)
    _check_parts(name, [(part, method) for part, method, _ in chosen])
    given = dict(options or {})
    known = {key for _, method, _ in chosen for key in method.options.model_fields}
    by_site = {key for over in _overrides(given).values() for key in over} if len(chosen) > 1 else set()
    for key in (*given, *sorted(by_site)):
        if key not in known:
            raise unknown_name(f"option of {name}", key, known)
    parts = []
    for part, method, recipe in chosen:
        mine = _own(method, given) if len(chosen) > 1 else given
        parts.append((part, method, parse_options(part, method, {**recipe, **mine})))
    return Composition(name=name, methods=tuple(parts))


def recompose(name: str, options: Mapping[str, Mapping[str, Any]]) -> Composition:
    """The methods named `a+b` with the options that a plan keeps, each method its own."""
    parts = [
        (part, method, parse_options(part, method, {**recipe, **options.get(part, {})}))
        for part, method, recipe in _named(name)
    ]
    return Composition(name=name, methods=tuple(parts))


def _named(name: str) -> list[tuple[str, Method, Mapping[str, Any]]]:
    """(part, method, recipe) of the parts of `a+b`, and of what they stand on where none fills the operands."""
    found = [(part, *_find(part)) for part in name.split("+")]
    if not any(Part.OPERANDS in method.fills for _, method, _ in found):
        bases = dict.fromkeys(base for _, method, _ in found if (base := method.on))
        found = [*((base, *_find(base)) for base in bases), *found]
    return found


def _overrides(given: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    sites = given.get("sites", {})
    return sites if isinstance(sites, Mapping) else {}


def _own(method: Method, given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the options that `method` knows, for single sites too."""
    fields = method.options.model_fields
    mine = {key: value for key, value in given.items() if key in fields and key != "sites"}
    sites = {
        glob: {key: value for key, value in over.items() if key in fields}
        for glob, over in _overrides(given).items()
        if any(key in fields for key in over)
    }
    return {**mine, "sites": sites} if sites and "sites" in fields else mine


def parse_options(name: str, method: Method, given: Mapping[str, Any]) -> Any:
    """A method's options from plain values, with one sentence for the first that is refused."""
    try:
        return method.options(**given)
    except pydantic.ValidationError as error:
        raise InputError(refusal(method.options, f"option of {name}", error.errors()[0])) from None


def _find(name: str) -> tuple[Method, Mapping[str, Any]]:
    if name in registry.names(GROUP):
        return registry.lookup(GROUP, name), {}
    known = recipes()[0]
    if name in known:
        _, method, values = known[name]
        return method, values
    registry.refuse(GROUP, name)
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
    for part, method in chosen:
        if Part.PRECISION in method.fills and Part.ACCUMULATION in taken and Provides.SUMS in method.provides:
            raise InputError(
                f"{name}: {part} adds up the products of two precisions itself, which leaves "
                f"{taken[Part.ACCUMULATION]} nothing to decide; compose that with drift or a static method"
            )
        if Part.OPERANDS in method.fills and Part.ACCUMULATION in taken and Provides.FINISH not in method.provides:
            raise InputError(
                f"{name}: {part} has no sums of integers, so {taken[Part.ACCUMULATION]} has nothing to decide; "
                "compose it with a method that has, such as int8"
            )
