"""Rounding learned on the outputs of blocks: each weight is one of two neighbours on its grid, and learns which.

Sources: AdaRound (Nagel et al., "Up or down? Adaptive rounding for post-training quantization", ICML 2020) for soft
rounding, w = low + (high - low) h(V) with the rectified sigmoid h and a regulariser whose exponent is annealed; BRECQ
(Li et al., ICLR 2021) for the output of a block as what is learned on. Inputs of a block are the quantized network's,
targets the float network's. Activations are rounded in the loop, with straight-through gradients.

Ours: the start is what second-order rounding chose and its neighbour on the side of the real weight; the block's biases
learn beside V; rates and counts are for hundreds of steps of a few samples instead of 20,000 of many; a block keeps
what it learned only where its output is closer to its target on samples that it did not learn from.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from bitwright.methods.plan import Plan
from bitwright.methods.progress import report
from bitwright.methods.refine.trial import Trial
from bitwright.networks.blocks import Chain, chain_of
from bitwright.networks.mode import SiteMode
from bitwright.networks.network import Batch
from bitwright.networks.sites import Site
from bitwright.networks.view import GemmView

STEPS = 200
"""Of each block."""
AT_ONCE = 4
"""Samples in a step."""
RATE, BIAS_RATE = 0.1, 0.001
"""Of Adam, for V, and for biases in units of their root mean square."""
STRETCH = 0.1
"""h(V) = clip((1 + 2 STRETCH) sigmoid(V) - STRETCH, 0, 1): zeta and gamma of AdaRound."""
SURE = 0.8
"""h at the start, of the neighbour that second-order rounding chose."""
FREE = 0.2
"""Share of the steps before the regulariser begins."""
EXPONENTS = (20.0, 2.0)
PRESSURE = 2.0
"""Weight of the regulariser at the end, beside a loss that is 1 at the start."""
KEPT_BYTES = 2**30
"""Of the blocks' outputs of all samples; samples that do not fit are left out."""


class _ReachedError(Exception):
    """A block's arguments are known."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """The two neighbours of every element of a parameter; h = 1 is `high`.

    Attributes
    ----------
    low, high : torch.Tensor
        As the parameter.
    start : torch.Tensor
        h at the beginning.
    """

    low: torch.Tensor
    high: torch.Tensor
    start: torch.Tensor


def choice_of(w: torch.Tensor, q: torch.Tensor, scale: torch.Tensor, values: torch.Tensor) -> Choice:
    """q on the grid and its neighbour on the side of w; all laid out alike, values ascending."""
    table = values.to(w)
    place = torch.bucketize((q / scale).contiguous(), (table[1:] + table[:-1]) / 2, right=True)
    up = w > q
    other = (place + torch.where(up, 1, -1)).clamp(0, len(table) - 1)
    neighbour = table[other] * scale
    start = torch.where(up, 1 - SURE, SURE)
    return Choice(low=torch.where(up, q, neighbour), high=torch.where(up, neighbour, q), start=start)


def soft(v: torch.Tensor) -> torch.Tensor:
    """The rectified sigmoid h(V)."""
    return (torch.sigmoid(v) * (1 + 2 * STRETCH) - STRETCH).clamp(0, 1)


def inverse_soft(h: torch.Tensor) -> torch.Tensor:
    """V of h."""
    return torch.logit((h + STRETCH) / (1 + 2 * STRETCH))


def exponent(share: float) -> float:
    """Of the regulariser, after a share of the steps with it: from the first to the last, as half a cosine."""
    first, last = EXPONENTS
    return last + 0.5 * (first - last) * (1 + float(torch.cos(torch.tensor(share * torch.pi))))


class Reconstruction:
    """Learns the rounding of one network's weights, block by block.

    Parameters
    ----------
    trial : Trial
        The network in float, with samples.
    plan : Plan
        Of its sites; decided.
    choices : mapping
        Site -> (parameter name, `Choice`), of weights that learn.
    biases : mapping
        Site -> parameter name, of biases that learn.
    weights : mapping
        Parameter name -> values of all weights that are rounded already, those that learn included.
    """

    def __init__(
        self,
        trial: Trial,
        plan: Plan,
        *,
        choices: Mapping[str, tuple[str, Choice]],
        biases: Mapping[str, str],
        weights: Mapping[str, torch.Tensor],
    ) -> None:
        self.trial, self.plan, self.choices, self.biases = trial, plan, choices, biases
        self.weights: dict[str, torch.Tensor] = dict(weights)
        self.generator = torch.Generator().manual_seed(0)
        self.kept = 0

    def run(self) -> dict[str, torch.Tensor]:
        """Parameter name -> values of weights and biases, learned where that is better."""
        trial = self.trial
        chain = chain_of(trial.network, trial.seen[0], list(self.plan.sites))
        if not chain.blocks or any("#" in name for name in chain.index):
            return self.weights
        runs = [_Run(batch) for batch in small_batches(trial.seen)]
        judges = [_Run(batch) for batch in small_batches(trial.judges)]
        for i in range(len(chain.blocks)):
            report("learning to round, block", i, len(chain.blocks))
            for run in (*runs, *judges):
                self._advance(chain, i, run)
            runs = _within_budget(runs)
            judges = _within_budget(judges)
            learned = self._learned(chain, i, runs)
            if learned and self._error(chain, i, judges, learned) < self._error(chain, i, judges, {}):
                self.weights |= learned
                self.kept += 1
            for run in (*runs, *judges):
                run.quantized[i] = self._quantized(chain, i, run, {})
        return self.weights

    # ---------------- running one block

    @torch.no_grad()
    def _advance(self, chain: Chain, i: int, run: "_Run") -> None:
        """The block's arguments in both networks, and its float output."""
        args, kwargs = self._arguments(chain, i, run.batch, run.plain, lambda _, view: view.float_result())
        run.plain[i] = self._block(chain, i, args, kwargs, lambda _, view: view.float_result())
        with self.trial.loaded(self.weights):
            run.args, run.kwargs = self._arguments(
                chain, i, run.batch, run.quantized, self.trial.executor(self.plan).handle
            )

    def _arguments(
        self, chain: Chain, i: int, batch: Batch, outputs: Mapping[int, Any], handle: "Handle"
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        network = chain.network
        assert network.module is not None
        found: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

        def reached(_: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            found.append((_copied(args), _copied(kwargs)))
            raise _ReachedError

        hook = network.module.get_submodule(chain.blocks[i]).register_forward_pre_hook(reached, with_kwargs=True)
        try:
            with torch.no_grad(), SiteMode(network.module, handle), network.undisturbed():
                chain.run(batch, start=i, outputs=outputs)
        except Exception:
            if not found:
                raise
        finally:
            hook.remove()
        return found[0]

    def _block(self, chain: Chain, i: int, args: Any, kwargs: Any, handle: "Handle") -> Any:
        network = chain.network
        assert network.module is not None
        with SiteMode(network.module, handle), network.undisturbed():
            return network.module.get_submodule(chain.blocks[i])(*_copied(args), **_copied(kwargs))

    @torch.no_grad()
    def _quantized(self, chain: Chain, i: int, run: "_Run", weights: Mapping[str, torch.Tensor]) -> Any:
        with self.trial.loaded({**self.weights, **weights}):
            return self._block(chain, i, run.args, run.kwargs, self.trial.executor(self.plan).handle)

    def _error(self, chain: Chain, i: int, runs: Sequence["_Run"], weights: Mapping[str, torch.Tensor]) -> float:
        """Squared error of the block's output, by that of its target."""
        pairs = [(_first(self._quantized(chain, i, run, weights)), _first(run.plain[i])) for run in runs]
        return sum(float((y - wanted).square().sum() / wanted.square().sum().clamp_min(1e-12)) for y, wanted in pairs)

    # ---------------- learning

    def _learned(self, chain: Chain, i: int, runs: Sequence["_Run"]) -> dict[str, torch.Tensor]:
        own = [name for name in self.choices if _owner(chain, name) == i]
        if not own:
            return {}
        values = {name: inverse_soft(self.choices[name][1].start).requires_grad_() for name in own}
        biased = [name for name in self.biases if _owner(chain, name) == i]
        biases = {name: self._bias(name).clone() for name in biased}
        sizes = {name: bias.square().mean().sqrt().clamp_min(1e-6) for name, bias in biases.items()}
        moves = {name: torch.zeros_like(bias).requires_grad_() for name, bias in biases.items()}
        groups = [{"params": list(values.values()), "lr": RATE}, {"params": list(moves.values()), "lr": BIAS_RATE}]
        adam = torch.optim.Adam([group for group in groups if group["params"]])
        rates = [group["lr"] for group in adam.param_groups]
        first = None
        for step in range(STEPS):
            run = runs[int(torch.randint(len(runs), (), generator=self.generator))]
            soften = {name: soft(v) for name, v in values.items()}
            moved = {name: bias + moves[name] * sizes[name] for name, bias in biases.items()}
            with torch.enable_grad(), self.trial.loaded(self._others(own)):
                y = _first(self._block(chain, i, run.args, run.kwargs, self._handle(soften, moved)))
                wanted = _first(run.plain[i])
                lost = (y - wanted).square().mean() / wanted.square().mean().clamp_min(1e-12)
                first = float(lost.detach()) or 1.0 if first is None else first
                total = lost / first + self._pressure(soften, step)
                adam.zero_grad()
                total.backward()
            for group, rate in zip(adam.param_groups, rates, strict=True):
                group["lr"] = rate * min(1.0, 2 * (1 - step / STEPS))
            adam.step()
        found = {}
        for name in own:
            parameter, choice = self.choices[name]
            found[parameter] = torch.where(values[name].detach() > 0, choice.high, choice.low)
        moved = {self.biases[name]: (bias + moves[name] * sizes[name]).detach() for name, bias in biases.items()}
        return found | moved

    def _bias(self, name: str) -> torch.Tensor:
        parameter = self.biases[name]
        return self.weights.get(parameter, self.trial.parameters[parameter]).detach()

    def _others(self, own: Sequence[str]) -> dict[str, torch.Tensor]:
        """Values of everything that does not learn now."""
        learning = {self.choices[name][0] for name in own}
        return {name: values for name, values in self.weights.items() if name not in learning}

    def _pressure(self, soften: Mapping[str, torch.Tensor], step: int) -> torch.Tensor:
        share = (step / STEPS - FREE) / (1 - FREE)
        if share <= 0:
            return torch.zeros(())
        beta = exponent(share)
        count = sum(h.numel() for h in soften.values())
        undecided = sum((1 - (2 * h - 1).abs().pow(beta)).sum() for h in soften.values())
        return torch.as_tensor(PRESSURE * undecided / count)

    def _handle(self, soften: Mapping[str, torch.Tensor], moved: Mapping[str, torch.Tensor]) -> "Handle":
        """A block's products with soft weights, biases that move, and rounded activations."""
        methods, plan = self.trial.methods, self.plan

        def handle(site: Site, view: GemmView) -> torch.Tensor:
            made = plan.site(site.name)
            if not made.quantized or not view.x.numel():
                return view.float_result()
            x = _straight(view.x, methods.encode_x(view, made).dequantize())
            if site.name in soften:
                choice = self.choices[site.name][1]
                parameter = choice.low + (choice.high - choice.low) * soften[site.name]
                w = parameter.as_strided(view.w.shape, view.w.stride())
            else:
                w = view.w.detach() if view.weight is not None else view.w
                w = _straight(w, methods.encode_w(view, made).dequantize())
            if site.name in moved and view.bias is not None:
                view = dataclasses.replace(view, bias=moved[site.name].view(view.bias.shape))
            return view.finished(view.product(x, w))

        return handle


Handle = Callable[[Site, GemmView], torch.Tensor]


@dataclasses.dataclass
class _Run:
    """One batch on its way through the blocks: its outputs in both networks, the arguments of the next block."""

    batch: Batch
    plain: dict[int, Any] = dataclasses.field(default_factory=dict)
    quantized: dict[int, Any] = dataclasses.field(default_factory=dict)
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = dataclasses.field(default_factory=dict)


def small_batches(batches: Sequence[Batch]) -> list[Batch]:
    """The samples `AT_ONCE` at a time, where batches can be cut along their first axis."""
    found: list[Batch] = []
    for batch in batches:
        sizes = {len(tensor) if tensor.dim() else 0 for tensor in batch.values()}
        if len(sizes) != 1 or min(sizes) <= AT_ONCE:
            found.append(batch)
            continue
        found += [
            {name: tensor[start : start + AT_ONCE] for name, tensor in batch.items()}
            for start in range(0, min(sizes), AT_ONCE)
        ]
    return found


def _owner(chain: Chain, name: str) -> int | None:
    path = name.split(":", maxsplit=1)[0]
    return next((i for i, block in enumerate(chain.blocks) if path == block or path.startswith(f"{block}.")), None)


def _straight(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """`after`, with gradients as if it were `before`."""
    return before + (after.to(before.dtype) - before).detach()


def _first(output: Any) -> torch.Tensor:
    found = output[0] if isinstance(output, tuple | list) else output
    assert isinstance(found, torch.Tensor)
    return found


def _copied(values: Any) -> Any:
    """Arguments that a block may write to, copied."""
    if isinstance(values, torch.Tensor):
        return values.detach().clone()
    if isinstance(values, tuple | list):
        return type(values)(map(_copied, values))
    if isinstance(values, dict):
        return {name: _copied(value) for name, value in values.items()}
    return values


def _within_budget(runs: list[_Run]) -> list[_Run]:
    """As many runs as keep their outputs within the budget, one at least."""
    taken = 0
    for count, run in enumerate(runs):
        taken += sum(_first(y).nbytes for kept in (run.plain, run.quantized) for y in kept.values())
        if count and taken > KEPT_BYTES:
            return runs[:count]
    return runs
