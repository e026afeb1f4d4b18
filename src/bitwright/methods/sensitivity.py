"""How much a network's loss grows with noise at each of its sites, from one backward pass per batch.

To second order, independent noise of variance v on every element of an activation x adds v / 2 * sum_i E[(d log p(y) /
d x_i)^2] to the KL divergence from the noiseless output distribution p, with y drawn from p (Fisher information, whose
cross terms between outputs vanish). Of outputs that are no logits, it adds v * |J|^2 to the squared error, and |J|^2 is
the mean of |J^T s|^2 over random signs s (Hutchinson's estimator).
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence

import torch

from bitwright.errors import InputError
from bitwright.methods.progress import reported
from bitwright.networks.mode import SiteMode
from bitwright.networks.network import Batch, Network
from bitwright.networks.sites import Site
from bitwright.networks.view import GemmView


def noise_sensitivity(network: Network, batches: Sequence[Batch], *, logits: bool, seed: int = 0) -> dict[str, float]:
    """Site name -> loss added per unit of noise variance on each element of its x.

    The loss is the mean KL divergence per row of logits, in nats, or the relative squared error of other outputs;
    averaged over `batches`. Where no gradient comes (what scripted modules, recurrent layers and networks without
    gradients compute), noise is added and its loss measured: one pass per such site and batch.
    """
    generator = torch.Generator().manual_seed(seed)
    total: dict[str, float] = {}
    for batch in reported(batches, "sensitivities"):
        moments: dict[str, float] = {}
        clean = _output(network, batch, _Noise(moments=moments))
        found = _by_gradients(network, batch, logits, generator)
        for name, moment in moments.items():
            if name not in found:
                found[name] = _by_noise(network, batch, logits, clean, name, moment, generator)
            total[name] = total.get(name, 0.0) + found[name] / len(batches)
    return total


def _by_gradients(network: Network, batch: Batch, logits: bool, generator: torch.Generator) -> dict[str, float]:
    """Sensitivities of the sites that gradients reach; nothing of a network that has none."""
    assert network.module is not None
    if network.remembers:  # what backward would read is put back before
        return {}
    squares: dict[str, torch.Tensor] = {}
    try:
        with _frozen(network.module), torch.enable_grad(), SiteMode(network.module, _Watch(squares)):
            output = network.forward(batch).float()
            if logits:
                log_p = output.flatten(0, -2).log_softmax(-1)
                drawn = torch.multinomial(log_p.detach().exp().cpu(), 1, generator=generator).to(output.device)
                target, weight = log_p.gather(-1, drawn).sum(), 0.5 / len(log_p)
            else:
                signs = torch.randint(0, 2, output.shape, generator=generator).to(output) * 2 - 1
                target, weight = (output * signs).sum(), _inverse(output)
            target.backward()
    except (RuntimeError, InputError):  # torch's word for what it cannot differentiate, afterwards or on the way
        return {}
    return {name: weight * float(square) for name, square in squares.items()}


def _by_noise(
    network: Network,
    batch: Batch,
    logits: bool,
    clean: torch.Tensor,
    name: str,
    moment: float,
    generator: torch.Generator,
) -> float:
    """Sensitivity of one site, by noise of 1/64 of its x's mean square (our choice)."""
    variance = moment / 64
    if not variance:
        return 0.0
    noisy = _output(network, batch, _Noise(name, variance**0.5, generator))
    if logits:
        p, q = (each.flatten(0, -2).log_softmax(-1) for each in (clean, noisy))
        return float((p.exp() * (p - q)).sum(-1).mean()) / variance
    return float((noisy - clean).square().sum()) * _inverse(clean) / variance


def _inverse(output: torch.Tensor) -> float:
    """One over the sum of squares; of an output that is all 0, which has no relative error, nothing matters."""
    square = float(output.detach().square().sum())
    return 1.0 / square if square else 0.0


def _output(network: Network, batch: Batch, noise: "_Noise") -> torch.Tensor:
    assert network.module is not None
    with torch.no_grad(), SiteMode(network.module, noise):
        return network.forward(batch).float()


@dataclasses.dataclass
class _Noise:
    """A handler that adds noise to one site's x, and notes the mean square of all."""

    site: str = ""
    deviation: float = 0.0
    generator: torch.Generator | None = None
    moments: dict[str, float] = dataclasses.field(default_factory=dict)

    def __call__(self, site: Site, view: GemmView) -> torch.Tensor:
        if site.name == self.site:
            noise = torch.randn(view.x.shape, generator=self.generator).to(view.x) * self.deviation
            return dataclasses.replace(view, x=view.x + noise, compute=None).float_result()
        self.moments[site.name] = float(view.x.float().square().mean()) if view.x.numel() else 0.0
        return view.float_result()


@contextlib.contextmanager
def _frozen(module: torch.nn.Module) -> Iterator[None]:
    """Parameters need no gradients meanwhile: those of activations are wanted."""
    wanted = [parameter for parameter in module.parameters() if parameter.requires_grad]
    try:
        for parameter in wanted:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)


@dataclasses.dataclass(frozen=True)
class _Watch:
    """A handler that computes sites in float and adds up the squared gradients of their x."""

    squares: dict[str, torch.Tensor]

    def __call__(self, site: Site, view: GemmView) -> torch.Tensor:
        x = view.x if view.x.requires_grad else view.x.detach().requires_grad_()
        x = x.view_as(x)  # a node of its own: other sites may read the same tensor
        if not x.requires_grad:  # inside torch's own code, or scripted: no gradient is recorded there
            return view.float_result()

        def add(gradient: torch.Tensor) -> None:
            square = gradient.detach().double().square().sum()
            self.squares[site.name] = self.squares.get(site.name, torch.zeros_like(square)) + square

        x.register_hook(add)
        return dataclasses.replace(view, x=x, compute=None).float_result()
