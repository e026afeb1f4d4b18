"""How good a network becomes with more, or other, calibration images: SQNR over their number and their sources.

    python benchmarks/calibration_samples.py FOLDER [--sources scikit-image batch-norm ...] [--counts 8 16 32 64]

FOLDER has labelled images named NNNN_name.jpg, of which 100 judge. Two figures per row: `int8`, whose ranges the images
set and nothing else; and weights of 8 bits alone with bias correction (Nagel et al., ICCV 2019), layer after layer,
whose means the images give, which is what second-order rounding and training read of them, too. Sources with + between
them are taken together. Prints one line per source and number: each seed's SQNR in dB, and their mean. EfficientNet, 3
seeds, 4 numbers: three minutes a source on one core.
"""

import argparse
import copy
from collections.abc import Sequence
from pathlib import Path

import torch

import bitwright
from bitwright.methods.protocol import compose
from bitwright.networks.fold import fold_batch_norm
from bitwright.networks.network import Batch, Network
from bitwright.tasks import get_task
from bitwright.tasks.evaluate import evaluate
from bitwright.tasks.samples import default_samples
from bitwright.tasks.sources import parse_sources

TESTED = 100


def main() -> None:
    """Parse and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sources", nargs="+", default=["scikit-image", "batch-norm"])
    parser.add_argument("--counts", nargs="+", type=int, default=[8, 16, 32, 64])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--model", default="efficientnet-lite0")
    given = parser.parse_args()
    network = bitwright.load(given.model)
    folded = fold_batch_norm(network)
    task = get_task("top1", network=network, data=given.folder, limit=TESTED)
    tests = [batch.inputs for batch in task.batches(network)]
    print(f"weights of 8 bits, no correction: {sqnr(folded, rounded(folded), tests):.2f} dB")
    for text in given.sources:
        origins = parse_sources(text.replace("+", ","))
        for count in given.counts:
            ranges, means = [], []
            for seed in range(given.seeds):
                samples = default_samples(network, count=count, seed=seed, origins=origins)
                plan = compose("int8", {"smoothing": "none"}).calibrate(network, samples.batches)
                score = evaluate(network, plan, task, exact=False).score
                ranges.append(next(each.value for each in score.measures if each.name == "SQNR"))
                means.append(sqnr(folded, corrected(folded, samples.batches), tests))
            for what, found in (("int8", ranges), ("weights, bias corrected", means)):
                each = " ".join(f"{value:.2f}" for value in found)
                print(f"{text}, {count}: {what}: {each}; mean {sum(found) / len(found):.2f} dB", flush=True)


def layers(module: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """Those with weights that are rounded."""
    return {name: each for name, each in module.named_modules() if isinstance(each, torch.nn.Conv2d | torch.nn.Linear)}


def rounded(network: Network) -> torch.nn.Module:
    """A copy with weights on grids of 8 bits, symmetric, one scale per output channel."""
    module = copy.deepcopy(network.module)
    for layer in layers(module).values():
        weight = layer.weight.data
        scale = weight.abs().amax(tuple(range(1, weight.dim())), keepdim=True).clamp_min(1e-12) / 127
        layer.weight.data = (weight / scale).round() * scale
    return module


def channel_means(output: torch.Tensor) -> torch.Tensor:
    """Of outputs [B, C] or [B, C, H, W]: means [C]."""
    return output.transpose(0, 1).flatten(1).mean(dim=1)


@torch.no_grad()
def corrected(network: Network, batches: Sequence[Batch]) -> torch.nn.Module:
    """`rounded`, each layer's bias moved so that its mean output is float's, after those before it."""
    module, expected = rounded(network), {}
    joined = {key: torch.cat([batch[key] for batch in batches]) for key in batches[0]}

    def seen(name):
        return lambda _layer, _given, output: expected.__setitem__(name, channel_means(output))

    def mended(name):
        def hook(layer, _given, output):
            off = expected[name] - channel_means(output)
            layer.bias = torch.nn.Parameter(off if layer.bias is None else layer.bias + off)
            return output + off.reshape(-1, *[1] * (output.dim() - 2))

        return hook

    for target, made in ((network.module, seen), (module, mended)):
        hooks = [layer.register_forward_hook(made(name)) for name, layer in layers(target).items()]
        network.run(target, joined)
        for hook in hooks:
            hook.remove()
    return module


@torch.no_grad()
def sqnr(network: Network, module: torch.nn.Module, tests: Sequence[Batch]) -> float:
    """Of `module` beside the network's own, dB over all logits of all tests."""
    signal = noise = 0.0
    for batch in tests:
        reference = network.run(network.module, batch)
        signal += float(reference.square().sum())
        noise += float((network.run(module, batch) - reference).square().sum())
    return float(10 * torch.tensor(signal / noise).log10())


if __name__ == "__main__":
    main()
