"""The function mode that finds a network's sites while it runs, and lets a handler compute them.

Any torch module works unmodified: torch's product functions are caught by `TorchFunctionMode`, and global forward
hooks keep the path of the module that is running, which names the site.
"""

import types
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from bitwright.networks.attention import attention
from bitwright.networks.calls import Call, parse_call
from bitwright.networks.sites import Site

Handler = Callable[[Site, Call], torch.Tensor]
Watcher = Callable[[Any, Any, Any, Any], None]  # (function, arguments, keyword arguments, result)


class SiteMode(TorchFunctionMode):
    """While active, every site of `module` is computed by `handler(site, call)`; enter it anew for each forward pass.

    Parameters
    ----------
    module : torch.nn.Module
        The network; its submodules' paths name the sites.
    handler : callable
        (site, call) -> the site's output.
    watcher : callable or None
        Told of every torch function after it ran, sites and attention included.
    """

    def __init__(self, module: torch.nn.Module, handler: Handler, watcher: Watcher | None = None) -> None:
        super().__init__()
        self.handler = handler
        self.watcher = watcher
        self.function = ""  # the torch function running outside any site, for whoever counts operators
        self.inside_site = False
        self._paths = {id(m): path for path, m in module.named_modules()}
        self._modules = dict(module.named_modules())
        self._names = {id(p): name.removesuffix(".weight") for name, p in module.named_parameters()}
        self._parameters = {_memory(p): p for p in module.parameters() if not p.is_meta}
        self._stack: list[str] = []
        self._seen: Counter[str] = Counter()
        self._hooks: list[Any] = []
        self._fast_path = True

    def __enter__(self) -> "SiteMode":
        self._stack, self._seen = [""], Counter()
        hooks = torch.nn.modules.module
        self._hooks = [
            hooks.register_module_forward_pre_hook(self._push),
            hooks.register_module_forward_hook(self._pop, always_call=True),
        ]
        self._fast_path = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)  # the fused encoder layer hides its products
        return super().__enter__()

    def __exit__(self, *exception: Any) -> None:
        torch.backends.mha.set_fastpath_enabled(self._fast_path)
        for hook in self._hooks:
            hook.remove()
        super().__exit__(*exception)

    def _push(self, module: torch.nn.Module, inputs: Any) -> None:  # noqa: ARG002
        if id(module) in self._paths:
            self._stack.append(self._paths[id(module)])

    def _pop(self, module: torch.nn.Module, inputs: Any, output: Any) -> None:  # noqa: ARG002
        if id(module) in self._paths:
            self._stack.pop()

    @property
    def path(self) -> str:
        """Path of the module that is running now."""
        return self._stack[-1]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = self._call(func, args, kwargs or {})
        if self.watcher is not None:
            self.watcher(func, args, kwargs or {}, result)
        return result

    def _call(self, func: Any, args: Any, kwargs: Any) -> Any:
        if func is F.scaled_dot_product_attention:
            return attention(self._part, *args, **kwargs)
        if func is F.multi_head_attention_forward:
            with self.again():
                return _without_dispatch(func)(*args, **kwargs)
        call = parse_call(func, args, kwargs, self._owner)
        if call is None:
            self.function = getattr(func, "__name__", str(func))
            return func(*args, **kwargs)
        return self._compute(self._name(call), call)

    def again(self) -> Any:
        """The bare mode once more, inside itself, without new hooks or counters."""
        return _Nested(self)

    def _part(self, part: str, call: Call) -> torch.Tensor:
        return self._compute(self._named(part), call)

    def _compute(self, name: str, call: Call) -> torch.Tensor:
        self._seen[name] += 1
        unique = name if self._seen[name] == 1 else f"{name}#{self._seen[name]}"
        self.inside_site = True
        try:
            return self.handler(call.site(unique), call)
        finally:
            self.inside_site = False

    def _named(self, part: str) -> str:
        """The name of one product of the module that is running."""
        return f"{self.path}:{part}" if self.path else part

    def _name(self, call: Call) -> str:
        if call.weight is None:
            return self._named(call.op)
        for attribute, parameter in self._modules[self.path].named_parameters(recurse=False):
            if parameter is call.weight:  # the running module's own, even where another one shares it
                part = attribute.removesuffix("weight").rstrip("_")
                return self._named(part) if part else self.path or call.op
        return self._names.get(id(call.weight)) or self._named(call.op)  # it may be none of the network's

    def _owner(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """The parameter whose memory `tensor` is or views, if any."""
        if isinstance(tensor, torch.nn.Parameter):
            return tensor
        base = tensor._base
        if isinstance(base, torch.nn.Parameter):
            return base
        return None if tensor.is_meta else self._parameters.get(_memory(tensor))


class _Nested(TorchFunctionMode):
    """Forwards to a `SiteMode` that is already entered, for composite functions called from within it."""

    def __init__(self, mode: SiteMode) -> None:
        super().__init__()
        self.mode = mode

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.mode.__torch_function__(func, types, args, kwargs)


def _memory(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _without_dispatch(func: Any) -> Any:
    """A composite torch function written in Python, without its own override check.

    The check would hand it back to the mode for ever; without it, the products inside meet the mode.
    """
    scope = {**func.__globals__, "has_torch_function": lambda tensors: False}  # noqa: ARG005
    copy = types.FunctionType(func.__code__, scope, func.__name__, func.__defaults__, func.__closure__)
    copy.__kwdefaults__ = func.__kwdefaults__
    return copy
