"""The modes that find a network's sites while it runs, and let a handler compute them.

Any torch module works unmodified. torch's product functions are caught where Python calls them (`TorchFunctionMode`),
which tells most of their structure; products that no such call makes (traced, scripted, exported, vmapped modules,
composite functions of torch, recurrent layers) are caught where torch finally executes them (`TorchDispatchMode`).
Global forward hooks keep the path of the module that is running, which names the site.
"""

import contextlib
import dataclasses
import functools
import sys
import threading
import types
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from bitwright.errors import InputError
from bitwright.networks import attention, composites
from bitwright.networks.composites import COMPOSITES
from bitwright.networks.counting import GRADIENTS, OperatorCounts
from bitwright.networks.deferred import OF_SHAPE, Deferred, asking, deferred_result, filled
from bitwright.networks.eager import running_here
from bitwright.networks.gradients import with_gradients
from bitwright.networks.meta_results import meta_result
from bitwright.networks.ownership import Ownership
from bitwright.networks.parsers import IN_PLACE, PARSERS, parse
from bitwright.networks.scans import Scan
from bitwright.networks.sites import Site
from bitwright.networks.unseen import autocast, disturbed, undisturbed
from bitwright.networks.view import GemmView

Handler = Callable[[Site, GemmView], torch.Tensor]
Watcher = Callable[[Any, Any, Any, Any], None]  # (function, arguments, keyword arguments, result)
LAST_REPEAT = 64
"""How many products of one name are sites of their own; all later ones are the last of these (our choice)."""
NO_BACKWARD = -1
CALL = torch.nn.Module._call_impl.__code__
OURS = {__file__, attention.__file__, composites.__file__}


class SiteMode(TorchFunctionMode):
    """While active, every site of `module` is computed by `handler(site, view)`; enter it anew for each forward pass.

    Parameters
    ----------
    module : torch.nn.Module
        The network; its submodules' paths name the sites.
    handler : callable
        (site, view) -> the site's output, in the network's own layout.
    watcher : callable or None
        Told of every torch function after it ran, sites and composites included.
    counts : OperatorCounts or None
        Told of every operator that runs outside the sites.
    defers : bool
        The handler may give tensors whose values wait (`bitwright.networks.deferred`).
    """

    def __init__(
        self,
        module: torch.nn.Module,
        handler: Handler,
        watcher: Watcher | None = None,
        counts: OperatorCounts | None = None,
        *,
        defers: bool = False,
    ) -> None:
        super().__init__()
        self.defers = defers
        self.handler, self.watcher, self.counts = handler, watcher, counts
        self.owner = Ownership(module)
        self._paths = {id(m): path for path, m in module.named_modules()}
        self._modules = dict(module.named_modules())
        self._stack: list[_Running] = []
        self._seen: Counter[str] = Counter()
        self._hooks: list[Any] = []
        self._thread = threading.get_ident()
        self._refusal: InputError | None = None
        self.casts = False  # whether a torch function runs whose operands are cast before they are multiplied
        self._below = _Below(self)

    def __enter__(self) -> "SiteMode":
        self._stack, self._seen, self._thread = [_Running("", {})], Counter(), threading.get_ident()
        torch.clear_autocast_cache()  # weights that were cast before this pass would be unknown in it
        hooks = torch.nn.modules.module
        self._hooks = [
            hooks.register_module_forward_pre_hook(self._push),
            hooks.register_module_forward_hook(self._pop, always_call=True),
        ]
        self._below.__enter__()
        self._again = disturbed()  # inside another mode's handler
        self._again.__enter__()
        return super().__enter__()

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        self._again.__exit__(*exception)
        self._below.__exit__(*exception)
        for hook in self._hooks:
            hook.remove()
        kind, error, *_ = exception
        if self._refusal is None or error is self._refusal or (kind is not None and not issubclass(kind, Exception)):
            return
        raise self._refusal from error  # the thread failed, and nobody asked it, or missed what it was to give

    def _push(self, module: torch.nn.Module, inputs: Any) -> None:  # noqa: ARG002
        if id(module) in self._paths and self._here():
            path, steps = self._paths[id(module)], self._stack[-1].steps
            names = {} if steps is None else steps.setdefault(path, {})
            self._stack.append(_Running(path, names, {} if steps is None and isinstance(module, Scan) else steps))

    def _pop(self, module: torch.nn.Module, inputs: Any, output: Any) -> None:  # noqa: ARG002
        if id(module) in self._paths and self._here():
            self._stack.pop()

    def _here(self) -> bool:
        """Whether this mode's own thread runs; another one may run the same module in a mode of its own.

        Raises
        ------
        InputError
            In a thread that the network started, where torch has no mode and products would be lost.
        """
        if threading.get_ident() == self._thread:
            return True
        if not running_here():
            self._refusal = InputError(
                "the network runs modules in threads of its own, where products cannot be followed; let it run them "
                "in the thread that calls it"
            )
            raise self._refusal
        return False

    @property
    def path(self) -> str:
        """Path of the module that is running now."""
        return self._stack[-1].path

    @property
    def below(self) -> bool:
        """Whether the product that is computed now was caught where torch executes it, inside what nobody can trace."""
        return self._below.runs

    # ---------------- what torch functions do

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        pending = None
        if Deferred in types:
            if func in OF_SHAPE:
                return func(*args, **kwargs)
            later = deferred_result(func, args, kwargs)
            if later is not None:
                return later
            if func in PARSERS and func not in COMPOSITES and isinstance(args[0], Deferred) and args[0].recipe:
                pending, args = args[0], (args[0].memory, *args[1:])
            args, kwargs = filled(args), filled(kwargs)
        result = self._call(func, args, kwargs, pending)
        self.owner.watch(func, _tensors(args) + _tensors(kwargs.values()) if kwargs else _tensors(args), result)
        if self.watcher is not None:
            self.watcher(func, args, kwargs, result)
        return result

    def _call(self, func: Any, args: Any, kwargs: Any, pending: Deferred | None) -> Any:
        if not autocast() and func not in WITHIN:
            found = self.product_of(func, args, kwargs, pending)
            if found is not None:
                return found
        if pending is not None:
            pending.fill()
        if autocast():  # what is multiplied is known below, where operands have been cast
            self.casts = True
            try:
                return func(*args, **kwargs)
            finally:
                self.casts = False
        if func in WITHIN:
            with self.again():
                return _without_dispatch(func)(*args, **kwargs)
        return func(*args, **kwargs)

    def product_of(
        self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], pending: Deferred | None = None
    ) -> Any:
        """The result of a function that is a product, or several, computed by the handler; None if it is none.

        The values of its first argument are yet to be computed where `pending` says so.
        """
        if torch._C._current_graph_task_id() != NO_BACKWARD and not torch.is_grad_enabled():
            return None  # a product of gradients; one that is computed anew for them (checkpoints) is the network's
        if func not in PRODUCTS or any(map(torch._C._functorch.is_functorch_wrapped_tensor, _tensors(args))):
            return None  # a product inside vmap is caught below, with its whole batch
        if func in COMPOSITES:
            found = COMPOSITES[func](self, *args, **kwargs)
            if found is not None or func not in PARSERS:
                return found
        if any(each.is_nested for each in _tensors(args)):
            return None
        with torch._C._DisableTorchDispatch():
            view = parse(func, args, kwargs, self.owner)
        if view is None:
            return None
        own = {key: value for key, value in kwargs.items() if key != "out"}
        compute = functools.partial(IN_PLACE.get(func, func), *args, **own)
        view = dataclasses.replace(view, compute=compute, pending=pending)
        return _into(args[0] if func in IN_PLACE else kwargs.get("out"), self.compute(view))

    def again(self) -> Any:
        """The bare mode once more, inside itself, without new hooks or counters."""
        return _Nested(self)

    # ---------------- sites and their names

    def compute(self, view: GemmView, part: str = "") -> torch.Tensor:
        """One product's result by the handler; `part` names it where it is one of several of a composite."""
        if self.owner.offline(view.x, view.w):
            return self._offline(view)
        repeats = 1 if view.weight is not None else self.owner.repeats(view.w)
        if repeats > 1:
            view = dataclasses.replace(view, shared=repeats)
        name = self._named(part) if part else self._name(view)
        site = view.site(self._unique(name, view))
        # what torch itself goes on with cannot wait, nor what another mode would see the handler compute
        alone = not self._below.runs and not torch._C._len_torch_function_stack()
        if self.defers and alone and not torch.is_grad_enabled():
            view = dataclasses.replace(view, defers=True)
        with undisturbed(view.x.device.type), asking() if view.defers else contextlib.nullcontext():
            result = self.handler(site, view)
            return result if self._below.runs else with_gradients(result, view)  # below, torch records none

    def _offline(self, view: GemmView) -> torch.Tensor:
        """The result of a product of what is known offline alone, which no inference computes: float, and no site."""
        if self.counts is not None:
            self.counts.add_offline(view.site(""))
        with undisturbed(view.x.device.type):
            return view.float_result()

    def _unique(self, name: str, view: GemmView) -> str:
        """The site's name: products of one name are counted, but for the steps of a scan, which are one site.

        A scan is the same instruction, called by the same ones, on operands of the same shapes, by the same weight if
        there is one, within one run of a module, or of a `Scan` that it is in.
        """
        names = self._stack[-1].names
        x = view.x.shape[-1:] if view.weight is not None else view.x.shape
        key = (name, x, view.w.shape, _instruction())
        opaque = view.weight is None and self._below.runs  # inside scripted code, where all has one instruction
        if not opaque and key in names:
            return names[key]
        self._seen[name] += 1
        times = min(self._seen[name], LAST_REPEAT)
        names[key] = name if times == 1 else f"{name}#{times}"
        return names[key]

    def _named(self, part: str) -> str:
        """The name of one product of the module that is running."""
        return f"{self.path}:{part}" if self.path else part

    def _name(self, view: GemmView) -> str:
        if view.weight is None:
            return self._named(view.op)
        running = self._modules[self.path]
        for attribute, stored in (*running.named_parameters(recurse=False), *running.named_buffers(recurse=False)):
            if stored is view.weight:  # the running module's own, even where another one shares it
                return self._of_attribute(attribute, view.op) + view.part
        name = self.owner.name(view.weight)
        if not name:
            return self._named(view.op)
        inside = name.removeprefix(f"{self.path}." if self.path else "")
        if view.weight is not self.owner.stored(view.weight) and "." not in inside:  # computed from its own
            return self._of_attribute(inside, view.op) + view.part
        return name.removesuffix(".weight") + view.part

    def _of_attribute(self, attribute: str, op: str) -> str:
        """The name of a product by a parameter of the running module: `weight` is the module itself."""
        part = attribute.removesuffix("weight").rstrip("_")
        return self._named(part) if part else self.path or op


class _Running(NamedTuple):
    """A module that is running."""

    path: str
    names: dict[Any, str]  # of its products so far
    steps: dict[str, dict[Any, str]] | None = None  # within a scan, those of every module in it, by path


class _Nested(TorchFunctionMode):
    """Forwards to a `SiteMode` that is already entered, for composite functions called from within it."""

    def __init__(self, mode: SiteMode) -> None:
        super().__init__()
        self.mode = mode

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.mode.__torch_function__(func, types, args, kwargs)


class _Below(TorchDispatchMode):
    """Catches products that no torch function told of, where torch executes them, and counts all other operators."""

    supports_higher_order_operators = True

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Whether torch is to wrap every call against its compiler: none is at work, and loading it takes seconds."""
        return False

    def __init__(self, mode: SiteMode) -> None:
        super().__init__()
        self.mode: SiteMode = weakref.proxy(mode)  # else what handlers hold would wait for the garbage collector
        self.runs = False  # whether a product is computed that was caught here

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.mode.defers:
            args, kwargs = filled(args), filled(kwargs)  # what reaches torch without a torch function
        if not (_may_multiply(func) or self.mode.casts or self.mode.counts is not None):
            with torch._C.DisableTorchFunction():
                return func(*args, **kwargs)
        if torch._C._current_graph_task_id() != NO_BACKWARD:  # of gradients: no sites
            result = func(*args, **kwargs)
            if self.mode.counts is not None:
                self.mode.counts.add(func, args, kwargs, result, GRADIENTS)
            return result
        if any(each.is_nested for each in _tensors(args)):
            return self._counted(func, args, kwargs)  # they decide themselves what becomes of their parts
        with torch._C.DisableTorchFunction():
            if func in PRODUCTS:
                before, self.runs = self.runs, True
                try:
                    with self:
                        found = self.mode.product_of(func, args, kwargs)
                finally:
                    self.runs = before
                if found is not None:
                    return found
            inner = _inside(func)
            if inner is not None:
                with self:
                    return inner(*args, **kwargs)
            return self._counted(func, args, kwargs)

    def _counted(self, func: Any, args: Any, kwargs: Any) -> Any:
        result = meta_result(func, args, kwargs)
        result = func(*args, **kwargs) if result is None else result
        if self.mode.casts:
            self.mode.owner.watch(func, _tensors(args), result)
        if self.mode.counts is not None:
            self.mode.counts.add(func, args, kwargs, result)
        return result


PRODUCTS = {*COMPOSITES, *PARSERS, *IN_PLACE}
WITHIN = {F.multi_head_attention_forward, torch.autograd.grad, torch.autograd.backward, torch.Tensor.backward}
"""Functions written in Python that torch hands over whole, in which there are products."""
OVERRIDES = ("has_torch_function", "has_torch_function_unary")
LOOKED_INTO = {torch.ops.aten._euclidean_dist.default, torch.ops.aten.affine_grid_generator.default}
"""Operators whose kernels call products; composite ones and those of other libraries are looked into anyway."""


@functools.lru_cache(maxsize=4096)
def _may_multiply(func: Any) -> bool:
    """Whether an operator is a product, or is made of others."""
    return func in PRODUCTS or _inside(func) is not None


@functools.lru_cache(maxsize=4096)
def _inside(func: Any) -> Callable[..., Any] | None:
    """What an operator that is made of others does, to be run while the mode watches; None for one that is not."""
    if not isinstance(func, torch._ops.OpOverload) or not torch._C._dispatch_has_kernel(func.name()):
        return None
    keys, compiled = torch._C.DispatchKey, torch._C._dispatch_has_kernel_for_dispatch_key
    if compiled(func.name(), keys.CompositeImplicitAutograd):
        return functools.partial(func._op_dk, keys.CompositeImplicitAutograd)
    foreign = func.namespace not in ("aten", "prims", "prim", "quantized")
    if (foreign or func in LOOKED_INTO) and compiled(func.name(), keys.CompositeExplicitAutograd):
        return functools.partial(func._op_dk, keys.CompositeExplicitAutograd)
    return None


def _instruction() -> tuple[int, ...]:
    """Where the running module is: the instructions that led here from where torch called it."""
    frame, found = sys._getframe(2), list[int]()
    while frame is not None and frame.f_code is not CALL:
        if frame.f_code.co_filename not in OURS:
            found += (id(frame.f_code), frame.f_lasti)
        frame = frame.f_back  # type: ignore[assignment]
    return tuple(found)


def _tensors(values: Any) -> list[torch.Tensor]:
    """The tensors among arguments, inside lists too."""
    found = []
    for value in values:
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, tuple | list):
            found += _tensors(value)
    return found


def _into(out: torch.Tensor | None, result: torch.Tensor) -> torch.Tensor:
    """`result`, in the memory of `out` where one is given."""
    if out is None:
        return result
    if out.shape != result.shape:
        out.resize_(result.shape)
    return out.copy_(result)


def _without_dispatch(func: Any) -> Any:
    """A composite torch function written in Python, without its own override check.

    The check would hand it back to the mode for ever; without it, the products inside meet the mode.
    """
    scope = func.__globals__ | dict.fromkeys(OVERRIDES, lambda tensors: False)  # noqa: ARG005
    copy = types.FunctionType(func.__code__, scope, func.__name__, func.__defaults__, func.__closure__)
    copy.__kwdefaults__ = func.__kwdefaults__
    return copy
