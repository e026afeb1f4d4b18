"""What every quantization method must hold: `check_method`.

Each check states a promise of `bitwright.methods.protocol.Method`; a broken one is an AssertionError that says which.
A method that does not encode operands (an accumulation rule, say) is checked on top of `int8`.
"""

import dataclasses
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic
import torch

from bitwright import registry
from bitwright.errors import InputError
from bitwright.formats import Integer, Quantized
from bitwright.methods.execution import Execution
from bitwright.methods.executor import Executor
from bitwright.methods.plan import Part, Plan
from bitwright.methods.plan_file import load_plan, save_plan
from bitwright.methods.protocol import GROUP, AccumulationMethod, Composition, Method, OperandMethod, compose
from bitwright.networks import windows
from bitwright.networks.fingerprint import fingerprint
from bitwright.networks.network import Batch, Network
from bitwright.networks.sites import Site
from bitwright.networks.trace import example_batch, observe, trace
from bitwright.networks.view import GemmView
from bitwright.testing.networks import shape_only, toy_networks
from bitwright.testing.requirement import require

BASE = "int8"
ROUNDING = 1e-5  # relative: a handful of float32 roundings in the epilogue
Samples = Sequence[Batch]
PROTOCOLS: Mapping[Part | None, type] = {
    None: Method,
    Part.OPERANDS: OperandMethod,
    Part.ACCUMULATION: AccumulationMethod,
}


def check_method(
    method: str | Method,
    network: Network | None = None,
    *,
    off_by: int = 0,
    product_error: float = 0.0,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Raise AssertionError unless a registered method keeps its promises.

    Parameters
    ----------
    method : str or Method
        A name as on the command line (a method, a recipe, or a composition), or a registered object.
    network : Network or None
        What to run it on beside the toy networks, by its own example input.
    off_by : int
        How many accumulator steps `fast` may differ from `gemm`, as the method's documentation states.
    product_error : float
        How far a machine's product of two values may be from the true one, as a share of it, likewise.
    options : mapping or None
        Options to check it with, by name.

    Examples
    --------
    >>> check_method("int8")
    """
    name = method if isinstance(method, str) else _name_of(method)
    parts = compose(name).methods
    for _, part, _ in parts:
        _check_description(name, part)
    if not any(Part.OPERANDS in part.fills for _, part, _ in parts):
        name = f"{BASE}+{name}"
    composition = compose(name, options)
    _check_options(name)
    cases = list(toy_networks().values())
    if network is not None:
        require(network.example is not None, f"{network.name} has no example input to check {name} on")
        cases.append((network, (example_batch(network),)))
    for case, samples in cases:
        _check_on(composition, case, samples, off_by, product_error)
    for case, _ in toy_networks().values():
        _check_shape_only(composition, case)
    _check_refusals(composition)


def _name_of(method: Method) -> str:
    for name in registry.usable(GROUP):
        if registry.lookup(GROUP, name) is method:
            return name
    raise AssertionError(
        f"{method!r} is not registered under the entry point group {GROUP!r}; plans find their method by its name"
    )


def _check_description(name: str, method: Method) -> None:
    for part, protocol in PROTOCOLS.items():
        if part is None or part in method.fills:
            of = f"bitwright.methods.protocol.{protocol.__name__}"
            require(isinstance(method, protocol), f"{name} lacks a part of the protocol {of}")
    require(method.summary.strip(), f"{name} has no summary")
    require("\n" not in method.summary, f"the summary of {name} is longer than one line")
    require(method.fills, f"{name} fills no part of a site's plan")
    require(
        method.fills <= set(Part), f"{name} fills {set(method.fills) - set(Part)}, which is no part of a site's plan"
    )
    config = method.options.model_config
    require(config.get("extra") == "forbid", f"the options of {name} accept unknown keys; set extra='forbid'")
    require(config.get("frozen"), f"the options of {name} can be changed after they were checked; set frozen=True")
    for recipe, values in method.recipes.items():
        try:
            method.options(**values)
        except pydantic.ValidationError as error:
            raise AssertionError(f"recipe {recipe} of {name} is refused by its own options: {error}") from None


def _check_options(name: str) -> None:
    _expect_refusal(lambda: compose(name, {"no_such_option": 1}), f"{name} accepts an unknown option")
    _expect_refusal(lambda: compose(f"{name}+{name}"), f"{name} composes with itself, though both fill the same part")


def _expect_refusal(action: Callable[[], object], otherwise: str) -> None:
    try:
        action()
    except InputError as error:
        message = str(error)
    else:
        raise AssertionError(otherwise)
    require(message.strip() and "\n" not in message, f"a refusal is one sentence, not {message!r}")


def _check_on(composition: Composition, network: Network, samples: Samples, off_by: int, product_error: float) -> None:
    name, before = f"{composition.name} on {network.name}", fingerprint(network)
    plan = composition.calibrate(network, samples)
    require(plan.method == composition.name, f"{name}: the plan's method is {plan.method!r}")
    batch = samples[-1]
    content, output = _saved(plan), _check_execution(name, network, plan, batch, off_by, product_error)
    require(fingerprint(network) == before, f"{name}: calibration or execution changed the network itself")
    again = composition.calibrate(network, samples)
    require(_saved(again) == content, f"{name}: a second calibration on the same samples gives another plan")
    _check_file(name, network, plan, batch, output)


def _saved(plan: Plan) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan"
        save_plan(plan, path)
        return path.read_bytes()


class _Checked:
    """An executor whose codes are all checked, and every exact product of integers against the same in float64."""

    def __init__(self, network: Network, plan: Plan, what: str, product_error: float) -> None:
        self.heard: list[Execution] = []
        self.what, self.product_error = what, product_error
        self.executor = Executor(network, plan, exact=True, listeners=[self.heard.append])

    def handle(self, site: Site, view: GemmView) -> torch.Tensor:
        """As `Executor.handle`."""
        output, heard = self.executor.handle(site, view), self.heard[-1]
        shape = view.float_result().shape
        require(output.shape == shape, f"{self.what}: {site.name} gives {tuple(output.shape)}, not {tuple(shape)}")
        require(bool(output.isfinite().all()), f"{self.what}: what {site.name} gives is not finite")
        for operand, quantized in (("x", heard.x), ("w", heard.w)):
            if quantized is not None:
                _check_codes(f"{self.what}: {operand} of {site.name}", quantized)
        if heard.plan.plain and heard.x is not None and heard.w is not None:
            y = view.output(output)
            _check_product(f"{self.what}: {site.name}", view, heard.x, heard.w, y, self.product_error)
        return output


def _check_product(
    what: str, view: GemmView, x: Quantized, w: Quantized, y: torch.Tensor, product_error: float
) -> None:
    """`y` against the reals that the codes stand for, multiplied and added in float64."""
    reals = x.dequantize().double()
    if x.dropped_mean and any(view.padding):  # padding is a code too, and what it drops is made up for like the others'
        reals = windows.padded(reals, view, float(x.scale) * x.dropped_mean)
        view = dataclasses.replace(view, x=reals, padding=(0,) * view.spatial)
    weights = w.dequantize().double()
    expected, allowed = view.product(reals, weights), product_error * view.product(reals.abs(), weights.abs())
    expected = expected * view.alpha
    if view.bias is not None:
        expected = expected + view.bias
    size = float(expected.abs().max()) or 1.0
    difference = float(((y.double() - expected).abs() - allowed).max())
    require(
        difference <= ROUNDING * size,
        f"{what}: the product of the codes is off by {difference} (values up to {size})",
    )


def _check_execution(
    name: str, network: Network, plan: Plan, batch: Batch, off_by: int, product_error: float
) -> torch.Tensor:
    checked = _Checked(network, plan, name, product_error)
    output = observe(checked.executor.network, batch, checked.handle)
    sites = [site.name for site in trace(checked.executor.network, batch).sites]
    require([each.site.name for each in checked.heard] == sites, f"{name}: not every site was executed once, in order")
    with torch.no_grad():
        expected = network.forward(batch)
    require(output.shape == expected.shape, f"{name}: the output has shape {tuple(output.shape)}")
    require(output.dtype == expected.dtype, f"{name}: the output is {output.dtype}, the network's own {expected.dtype}")
    repeated = Executor(network, plan, exact=True)
    require(torch.equal(output, repeated.run(batch)), f"{name}: two executions of one plan differ")
    steps = repeated.audit(batch)
    require(steps <= off_by, f"{name}: fast differs from gemm by {steps} steps of the accumulator, {off_by} are stated")
    return output


def _check_codes(what: str, operand: Quantized) -> None:
    codes, fmt = operand.codes.double(), operand.format
    low, high = (fmt.low, fmt.high) if isinstance(fmt, Integer) else (0, 2**fmt.bits - 1)
    require(bool((codes == codes.round()).all()), f"{what}: codes are not whole numbers")
    require(low <= float(codes.min()), f"{what}: code {codes.min()} is below {fmt.name}'s lowest, {low}")
    require(float(codes.max()) <= high, f"{what}: code {codes.max()} is above {fmt.name}'s highest, {high}")
    decoded = fmt.encode(fmt.decode(operand.codes))
    require(torch.equal(decoded.double(), codes), f"{what}: encoding what codes of {fmt.name} mean gives other codes")
    scale = operand.scale
    require(bool((scale.isfinite() & (scale > 0)).all()), f"{what}: a scale is not positive and finite")
    require(
        low <= operand.zero_point <= high,
        f"{what}: zero point {operand.zero_point} is no code of {fmt.name}",
    )


def _check_file(name: str, network: Network, plan: Plan, batch: Batch, output: torch.Tensor) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan"
        save_plan(plan, path)
        loaded = load_plan(path, network)
        require(_saved(loaded) == path.read_bytes(), f"{name}: a plan that was saved and loaded is saved differently")
        after = Executor(network, loaded, exact=True).run(batch)
        require(torch.equal(output, after), f"{name}: a plan that was saved and loaded gives other outputs")
        if plan.sites:
            other = next(toy for toy, _ in toy_networks().values() if toy.name != network.name)
            _expect_refusal(
                lambda: load_plan(path, other), f"{name}: its plan loads for {other.name}; set the fingerprint"
            )


def _check_shape_only(composition: Composition, network: Network) -> None:
    name, shapes = f"{composition.name} on the shapes of {network.name}", shape_only(network)
    plan = composition.calibrate(shapes, [])
    known = {site.name for site in trace(shapes).sites}
    require(set(plan.sites) <= known, f"{name}: planned sites that do not exist: {sorted(set(plan.sites) - known)}")
    for site, decided in plan.sites.items():
        for operand in (decided.x, decided.w):
            require(operand is None or operand.scale is None, f"{name}: {site} has a scale, but there are no numbers")


def _check_refusals(composition: Composition) -> None:
    network, samples = toy_networks()["linear"]
    plan = composition.calibrate(network, samples)
    if not any(site.quantized for site in plan.sites.values()):
        return
    broken = {"x": samples[0]["x"].clone()}
    broken["x"][0, 0] = torch.nan
    _expect_refusal(lambda: composition.calibrate(network, []), f"{composition.name} calibrates without samples")
    _expect_refusal(lambda: composition.calibrate(network, [broken]), f"{composition.name} calibrates on NaN")
    _expect_refusal(lambda: Executor(network, plan).run(broken), f"{composition.name} executes on NaN")
    smaller = dataclasses.replace(plan, sites=dict(list(plan.sites.items())[:1]))
    _expect_refusal(
        lambda: Executor(network, smaller).run(samples[0]), f"{composition.name} runs what it has no plan for"
    )
