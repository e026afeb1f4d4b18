"""What studies are given: saved plans, and the one input that a simulation runs a network on.

That is real samples at exactly the network's input shape. Texts are long enough to fill the sequence, so that no
padding is costed. Costs of dense machines depend on the shape only; machines that skip see real values, or synthetic
ones where that was asked for. A decoding step takes the network's own example input.
"""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from bitwright.errors import InputError
from bitwright.networks.network import Batch, Network
from bitwright.networks.synthetic import describe
from bitwright.networks.trace import example_batch
from bitwright.tasks.inputs import sentence_inputs, window_length
from bitwright.tasks.prose import paragraphs
from bitwright.tasks.samples import default_samples, drawn
from bitwright.words import counted

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLE = "the network's example input"
CONTEXT = "context"  # the input that only a decoding step has


def check_plans(plans: "Mapping[str, Path]", taken: Collection[str], what: str) -> None:
    """Refuse files of plans that are not there, or would have the name of a `what`; raises `InputError`."""
    for name, file in plans.items():
        if not file.is_file():
            raise InputError(f"there is no plan {file}; --save-plan of evaluate, train or search makes one")
        if name in taken:
            raise InputError(f"the plan {file} would have the name of the {what} {name!r}; rename the file")


def simulation_input(network: Network, *, seed: int = 0) -> tuple[Batch | None, str]:
    """The batch, and one phrase that says what it is; None where a list of products needs none."""
    if network.module is None:
        return None, f"{describe(network)} of the given sizes" if network.distribution else "the given sizes"
    example = example_batch(network)
    first = next(iter(example.values()))
    if network.shape_only or CONTEXT in example:
        sizes = ", ".join(f"{name} {'x'.join(map(str, tensor.shape))}" for name, tensor in example.items())
        kind = describe(network) if network.distribution else "shapes only" if network.shape_only else EXAMPLE
        return example, f"{kind}: {sizes}"
    if network.kind == "sentence" and not drawn(network):
        return _texts(network, len(first))
    count = 1 if network.kind == "tensor" else len(first)  # a tensor network's example is its whole batch
    samples = default_samples(network, count=count, seed=seed, batch_size=count)
    if samples.count < count:
        raise InputError(f"a batch of {count} was asked for and there are only {counted(samples.count, 'sample')}")
    return samples.batches[0], samples.description


def _texts(network: Network, count: int) -> tuple[Batch, str]:
    """Prose cut at the network's sequence length; every text is another part of it."""
    prose = paragraphs(test=False)
    share = len(prose) // count
    texts = [" ".join(prose[i * share : (i + 1) * share]) for i in range(count)]
    inputs = sentence_inputs(network, texts)
    masked = "attention_mask" in inputs and not bool(inputs["attention_mask"].all())
    tokens = next(iter(inputs.values())).shape[1]
    if masked or tokens < window_length(network):
        wanted = f"{counted(count, 'sequence')} of {window_length(network)} tokens"
        raise InputError(f"there is not enough text for {wanted}; use a smaller batch or shorter sequences")
    return inputs, f"{counted(count, 'text')} of {tokens} tokens of the prose in Python's pydoc_data.topics"
