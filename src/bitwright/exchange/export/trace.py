"""A network and a plan as a graph of ONNX whose quantized operands are still nodes of our own.

A first pass runs the network by the plan, exactly, and keeps every weight's codes; a second one is traced by torch's
exporter while every site multiplies operands that are marked (`bitwright.exchange.export.operators`). Whatever the
network called becomes Conv or MatMul. Shapes are those of the batch.
"""

import contextlib
import dataclasses
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from bitwright import scratch
from bitwright.errors import BitwrightError, InputError
from bitwright.exchange.export import operators
from bitwright.exchange.export.coded import Coded, from_stored, images_of, static_scale, stored
from bitwright.formats import PerGroup
from bitwright.methods.execution import Execution
from bitwright.methods.executor import Executor, prepare
from bitwright.methods.integer.gemm import with_dropped_mean
from bitwright.methods.integer.scales import symmetric_scale
from bitwright.methods.plan import OperandPlan, Plan, SitePlan
from bitwright.networks.mode import SiteMode
from bitwright.networks.network import Batch, Network
from bitwright.networks.packages import told
from bitwright.networks.sites import Site
from bitwright.networks.view import GemmView, convolution

if TYPE_CHECKING:
    import onnx

OUTPUT = "output"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """One execution of one site.

    Attributes
    ----------
    site : str
        Its name.
    plan : SitePlan
        What becomes of it.
    weight : Coded or None
        Its stored weight; None where w is computed as the network runs, and of sites that stay float.
    constant : torch.Tensor or None
        What makes up for dropped bits, added to y.
    """

    site: str
    plan: SitePlan
    weight: Coded | None = None
    constant: torch.Tensor | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Traced:
    """A graph with marked operands.

    Attributes
    ----------
    model : onnx.ModelProto
        Its nodes of the domain `bitwright` name operands.
    operands : mapping
        What these are, by name.
    steps : tuple of Step
        All executions, in order.
    """

    model: "onnx.ModelProto"
    operands: Mapping[str, Coded]
    steps: tuple[Step, ...]


def traced(network: Network, plan: Plan, batch: Batch) -> Traced:
    """The graph of one pass on `batch`.

    Raises
    ------
    InputError
        Where torch's exporter fails, or products are made where it cannot follow.
    """
    prepared = prepare(network, plan)
    steps = survey(prepared, plan, batch)
    marking = _Marking(prepared, steps)
    model = _exported(prepared, marking, batch)
    return Traced(model=model, operands=marking.operands, steps=tuple(steps))


def survey(prepared: Network, plan: Plan, batch: Batch) -> list[Step]:
    """All executions of one exact pass of a network that has the plan's changes, with weights as codes."""
    steps: list[Step] = []
    weights: dict[tuple[str, int], tuple[Any, Coded]] = {}
    named = Counter[str]()

    def keep(work: Execution) -> None:
        if work.x is None or work.w is None or work.view is None:
            steps.append(Step(site=work.site.name, plan=work.plan))
            return
        bare = dataclasses.replace(work.view, bias=None)
        constant = with_dropped_mean(bare, work.x, work.w).bias
        weight = None
        if work.view.weight is not None:
            key = (work.site.name, id(work.w))
            if key not in weights:
                named[work.site.name] += 1
                weights[key] = work.w, stored(work.view, work.w, numbered(work.site.name, named, "w"))
            weight = weights[key][1]
        steps.append(Step(site=work.site.name, plan=work.plan, weight=weight, constant=constant))

    Executor(prepared, plan, listeners=[keep], prepared=True).run(batch)
    return steps


def numbered(site: str, seen: Mapping[str, int], operand: str) -> str:
    """The name of an operand; of a site that has run before, with a number."""
    return f"{site}.{operand}" if seen[site] == 1 else f"{site}~{seen[site]}.{operand}"


class _Marking:
    """A handler of sites that multiplies marked operands, in the order of the survey's steps."""

    def __init__(self, network: Network, steps: Sequence[Step]) -> None:
        self.network, self.steps = network, steps
        self.operands: dict[str, Coded] = {}
        self.left: Iterator[Step] = iter(())
        self.named = Counter[str]()
        self.marked: dict[str, torch.Tensor] = {}
        self.mode: SiteMode | None = None

    @contextlib.contextmanager
    def once(self) -> Iterator[None]:
        """Within this, one pass of the network."""
        assert self.network.module is not None
        self.left, self.named, self.marked = iter(self.steps), Counter(), {}
        self.mode = SiteMode(self.network.module, self.handle)
        try:
            with torch.no_grad(), self.network.undisturbed(), self.mode:
                yield
        finally:
            self.mode = None  # it refers to this object, through its handler

    def handle(self, site: Site, view: GemmView) -> torch.Tensor:
        """One site in float, of operands that are marked."""
        if not view.x.numel() or not view.w.numel():
            return view.float_result()
        step = next(self.left, None)
        if step is None or step.site != site.name:
            raise InputError(
                f"{self.network.name} ran {site.name} where it had run {step.site if step else 'nothing more'} before; "
                "a network whose products depend on how often it ran cannot be exported"
            )
        if not step.plan.quantized:
            return view.float_result()
        if self.mode is not None and self.mode.below:
            raise InputError(
                f"the site {site.name} of {self.network.name} is a product that torch makes inside a function of its "
                "own (a recurrent layer, or a traced or scripted module), where ONNX export cannot follow; use "
                "--format vectors or safetensors, or write the layer of linear ones"
            )
        self.named[site.name] += 1
        assert step.plan.x is not None
        x = images_of(view, view.x) if view.spatial else view.x
        x = self._run_time(_float(x), step.plan.x, numbered(site.name, self.named, "x"), of_image=bool(view.spatial))
        y = _product(view, x, self._factor(site.name, view, step, x), step.constant)
        return y if y.dtype == view.x.dtype else y.to(view.x.dtype)

    def _factor(self, site: str, view: GemmView, step: Step, x: torch.Tensor) -> torch.Tensor:
        """w, marked: of a convolution [N, C, *kernel], else [.., K, N]."""
        if step.weight is not None:
            marked = self._weight(step.weight, x)
            return marked if view.spatial else from_stored(view, marked)
        assert step.plan.w is not None
        w = view.filters(view.w) if view.spatial else view.w
        marked = self._run_time(_float(w), step.plan.w, numbered(site, self.named, "w"), of_image=bool(view.spatial))
        return marked if view.spatial else marked.transpose(-1, -2)

    def _weight(self, weight: Coded, x: torch.Tensor) -> torch.Tensor:
        if weight.name not in self.marked:
            self.operands[weight.name] = weight
            reals = torch.from_numpy(weight.reals())
            self.marked[weight.name] = torch.ops.bitwright_export.weight(reals, x, weight.name)
        return self.marked[weight.name]

    def _run_time(self, x: torch.Tensor, plan: OperandPlan, name: str, *, of_image: bool) -> torch.Tensor:
        """An operand that is quantized as the network runs, by static scales or by those of its rows."""
        if plan.scale is None:
            return self._by_row(x, plan, name, of_image=of_image)
        shape = _shape(x)
        scale, merged = static_scale(plan, shape)
        flat = x if merged is None else x.reshape(merged)
        self.operands[name] = Coded(
            name=name, format=plan.integer, zero_point=plan.zero_point, scale=scale, shape=_shape(flat)
        )
        marked: torch.Tensor = torch.ops.bitwright_export.operand(flat, name)
        return marked if merged is None else marked.reshape(shape)

    def _by_row(self, x: torch.Tensor, plan: OperandPlan, name: str, *, of_image: bool) -> torch.Tensor:
        shape = _shape(x)
        size = plan.granularity.size if isinstance(plan.granularity, PerGroup) else 0
        rows = F.pad(x, (0, -shape[-1] % size)).reshape(-1, size) if size else x.reshape(-1, shape[-1])
        rows = x.flatten(1) if of_image else rows
        scale = symmetric_scale(rows.abs().amax(1), plan.integer)
        self.operands[name] = Coded(name=name, format=plan.integer, zero_point=plan.zero_point, shape=_shape(rows))
        marked: torch.Tensor = torch.ops.bitwright_export.scaled(rows, scale, name)
        if not size or of_image:
            return marked.reshape(shape)
        return marked.reshape(*shape[:-1], -1)[..., : shape[-1]]


def _shape(x: torch.Tensor) -> tuple[int, ...]:
    """Sizes as numbers, which tracing makes tensors of."""
    return tuple(int(size) for size in x.shape)


def _float(x: torch.Tensor) -> torch.Tensor:
    """x in float32; a cast to what it is already would be traced too."""
    return x if x.dtype == torch.float32 else x.float()


def _product(view: GemmView, x: torch.Tensor, w: torch.Tensor, constant: torch.Tensor | None) -> torch.Tensor:
    """The network's result of operands in the graph's layouts; `constant` joins the bias."""
    bias = view.bias if constant is None else constant if view.bias is None else view.bias + constant
    if not view.spatial:
        y = torch.matmul(x, w)
        y = y if view.alpha == 1 else y * view.alpha
        return view.result(y if bias is None else y + bias)
    axes, flat = view.spatial, None
    order = (1, 0, axes + 2, *range(2, axes + 2)) if view.lead else (0, axes + 1, *range(1, axes + 1))
    per_column = bias is None or (bias.numel() == view.groups * view.n and int(bias.shape[-1]) == view.n)
    direct = view.alpha == 1 and view.arrangement.order == order and per_column
    if direct and bias is not None:
        own = view.bias_parameter if constant is None else None
        flat = own if own is not None and own.dim() == 1 else bias.reshape(-1)
    convolve = convolution(view.spatial)
    y = convolve(x, w, flat, view.stride, view.padding, view.dilation, view.groups)
    if direct:
        shape = tuple(int(size) for size in view.network_shape)
        return y if _shape(y) == shape else y.reshape(shape)
    y = view.from_pixels(y.movedim(1, -1))
    y = y if view.alpha == 1 else y * view.alpha
    return view.result(y if bias is None else y + bias)


class _Wrapped(torch.nn.Module):
    """A network as torch's exporter takes it: called with its inputs by position."""

    def __init__(self, network: Network, marking: _Marking, names: Sequence[str]) -> None:
        super().__init__()
        self.module, self.network, self.marking, self.names = network.module, network, marking, tuple(names)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """The network's output."""
        assert self.module is not None
        with self.marking.once():
            return self.network.run(self.module, dict(zip(self.names, inputs, strict=True)))


def _exported(network: Network, marking: _Marking, batch: Batch) -> "onnx.ModelProto":
    import onnx

    wrapped = _Wrapped(network, marking, list(batch)).eval()
    with scratch.folder() as folder, operators.known_to_the_exporter(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of traced sizes, and that this exporter is the older one
        file = folder / "network.onnx"
        try:
            torch.onnx.export(
                wrapped,
                tuple(tensor.detach().clone() for tensor in batch.values()),
                str(file),
                dynamo=False,
                opset_version=operators.OPSET,
                input_names=list(batch),
                output_names=[OUTPUT],
            )
        except (BitwrightError, MemoryError):
            raise
        except Exception as error:  # whatever the exporter, or the network in it, comes to
            raise InputError(
                f"{network.name} cannot be exported to ONNX: {told(error)}; use --format vectors or safetensors"
            ) from error
        return onnx.load(file)
