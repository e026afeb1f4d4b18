"""Networks that compute by a plan: load, calibrate, quantize."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from bitwright.errors import InputError
from bitwright.later import is_module, later, torch
from bitwright.methods.plan import Plan
from bitwright.methods.progress import reporting, within
from bitwright.networks.fingerprint import difference, fingerprint
from bitwright.networks.load import load as load_network
from bitwright.networks.network import InputShape, Network
from bitwright.studies.systems import refuse_systems
from bitwright.tasks.calibrate import FLOAT, calibrate_method, require_quantized, samples_to_calibrate
from bitwright.tasks.evaluate import Progress, require_numbers, silent
from bitwright.tasks.labelled import Metric

if TYPE_CHECKING:
    from bitwright.api import module
    from bitwright.api.module import QuantizedModule
    from bitwright.tasks import given as given_samples
    from bitwright.tasks import labelled
    from bitwright.tasks.labelled import Labelled
else:
    labelled = later("bitwright.tasks.labelled")
    module = later("bitwright.api.module")
    given_samples = later("bitwright.tasks.given")


def load(
    name: str | torch.nn.Module,
    inputs: Any = None,
    *,
    preprocess: Callable[[Any], torch.Tensor] | Mapping[str, Any] | str | None = None,
    tokenizer: Callable[..., Any] | None = None,
    batch: int = 1,
    sequence_length: int | None = None,
    image_size: int | None = None,
    phase: str = "prefill",
    device: str | None = None,
    weights: str | Path | None = None,
    distribution: str | None = None,
    seed: int = 0,
    dims: Mapping[str, Sequence[int]] | None = None,
) -> Network:
    """Load a network.

    Parameters
    ----------
    name : str or torch.nn.Module
        One of `models()`, `package.module:callable`, a folder, a Hugging Face id, a file (ONNX, or a workload) or
        `gemm:MxKxN`; or a module, which is left as it is: a copy in evaluation mode runs, with the same parameters.
    inputs : tensor, tuple or dict of tensors, function or None
        A module's example inputs; None is its attribute `example_inputs`, or what `preprocess` or `tokenizer` makes.
    preprocess : callable, mapping, str or None
        For a module, or `package.module:callable`, that reads pictures: a callable (PIL image -> tensor of one sample),
        or a specification: `size`, `mean` and `std` (a number, or one per channel), and `scale` (255: mean and std are
        of pixels from 0 to 255; 1: from 0 to 1), `resize`, `crop`, `interpolation`, `channels`. It makes an image
        network, judged by top-1 and on photographs as those known by name.
    tokenizer : callable or None
        For one that reads text, as those of Hugging Face. It makes a sentence network of what returns embeddings
        [B, width] or a `last_hidden_state`, and a language network of what returns logits [B, tokens, vocabulary].
    batch, sequence_length, image_size, phase
        The shape of its input; phase is `prefill` or `decode`. One that changes nothing there is refused.
    device : str or None
        cpu, cuda, or auto: cuda where torch sees a GPU. None is the CPU, and where it is for a module.
    weights : path or None
        A safetensors file for a network that comes with shapes only.
    distribution : str or None
        Synthetic operands for a network with shapes only: gaussian, laplace, outliers or one-sided. Everything made of
        them says so.
    seed : int
        Of synthetic operands.
    dims : mapping or None
        Name of an input of an ONNX file -> its sizes, for axes that the file leaves open; a first axis is 1 without.

    Raises
    ------
    InputError
        Unknown name, missing package, a shape, preprocessing or tokenizer that does not fit, or a distribution for a
        network with numbers.

    Examples
    --------
    >>> load("gemm:841x576x128").sites[0].macs
    62005248
    >>> layers = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    >>> load(layers, preprocess={"size": 32, "mean": 127, "std": 128}).kind
    'image'
    """
    shape = InputShape(batch=batch, sequence_length=sequence_length, image_size=image_size, phase=phase)
    return load_network(
        name,
        inputs,
        preprocess=preprocess,
        tokenizer=tokenizer,
        shape=shape,
        device=device,
        weights=weights,
        distribution=distribution,
        seed=seed,
        dims=dims or {},
    )


def named(
    network: Network | str | torch.nn.Module, samples: Iterable[Any] | Path | None = None, data: object = None
) -> Network:
    """A network, loaded where only its name or its module is given; the first of `samples` is a module's example.

    Or else the inputs of the first labelled batch of `data`.
    """
    if isinstance(network, Network):
        return network
    if samples is None and data is not None and isinstance(data, labelled.Labelled):
        samples = data.inputs()
    if samples is None or not lacks_example(network):
        return load(network)
    return load(network, inputs=given_samples.first_inputs(network, samples))


def lacks_example(network: Network | str | torch.nn.Module) -> TypeGuard[torch.nn.Module]:
    """Whether it is a module whose example inputs are yet to come."""
    return is_module(network) and not hasattr(network, "example_inputs")


def calibrate(
    network: Network | str | torch.nn.Module,
    method: str,
    samples: Iterable[Any] | Path | None = None,
    *,
    options: Mapping[str, Any] | None = None,
    count: int | None = None,
    seed: int = 0,
) -> Plan:
    """The plan of a method for a network.

    Parameters
    ----------
    network : Network, str or torch.nn.Module
        Or its name, or a module with `example_inputs` (without: the first of `samples` is its example).
    method : str
        One of `methods()`, or a composition `a+b`.
    samples : iterable of batches, path, str or None
        What to calibrate on: a data loader, or any iterable of tensors, tuples in the order of `forward`, or dicts by
        name; labels are left out. A path is a folder of pictures, or a text, for networks that read such. A text may
        name sources of images instead, separated by commas: scikit-image (the default), batch-norm, and those in
        `bitwright.tasks.sources`. None takes `count` default samples of the network's kind.
    options : mapping or None
        Of the method; `sites` maps globs on sites' names to options of these.
    count : int or None
        How many default samples, or images of sources.
    seed : int
        Of these.

    Returns
    -------
    Plan
        `.site(name)` is what becomes of one site, `.frame()` all of them, `.save(path)` keeps it.

    Raises
    ------
    InputError
        An unknown method or option, a glob that matches no site, or samples that do not fit the network.

    Examples
    --------
    >>> calibrate("gemm:841x576x128", "int8").site("gemm").x_type
    'uint8'
    """
    refuse_systems([method])
    samples = kept(samples)
    network = named(network, samples)
    given = None
    if count is not None and (network.shape_only or method == FLOAT):
        why = f"{network.name} has shapes only" if network.shape_only else "method float needs none"
        raise InputError(f"a number of calibration samples ({count}) is given, but {why}; leave it out")
    if samples is not None:
        refuse_samples(network)
        given = samples_to_calibrate(network, samples, count=count, seed=seed)
    return calibrate_method(network, method, options=options, samples=given, count=count, seed=seed)


def kept(samples: Iterable[Any] | Path | None) -> Iterable[Any] | Path | None:
    """Samples that can be gone through more than once: a generator's batches in a list."""
    if not isinstance(samples, Iterator):
        return samples
    return list(itertools.islice(given_samples.iterated(samples, "samples"), given_samples.MOST + 1))


def judged_by(
    data: str | Path | Iterable[Any] | None, metric: Metric | None, *, higher_is_better: bool
) -> Path | Labelled | None:
    """A path of labelled samples, or the caller's own batches and metric; `InputError` for a metric of no such."""
    if data is not None and not isinstance(data, str | Path):
        most = given_samples.MOST + 1
        batches = list(itertools.islice(given_samples.iterated(data, "data"), most))  # the same ones for every network
        return labelled.Labelled(batches=batches, metric=metric, higher_is_better=higher_is_better)
    if metric is not None:
        instead = "none is given" if data is None else f"data is the path {data}"
        raise InputError(f"a metric judges batches of (inputs, labels), but {instead}; give data=, a loader of them")
    if not higher_is_better:
        raise InputError("higher_is_better=False is given without a metric that it is of; leave it out")
    return None if data is None else Path(data)


def refuse_samples(network: Network) -> None:
    """Raise `InputError` where samples are given to a network without numbers."""
    if network.shape_only:
        raise InputError(f"{network.name} has shapes only and runs on no samples; leave samples out")


def refuse_seed(network: Network, seed: int) -> None:
    """Raise `InputError` for a seed of nothing: a network with shapes only and no synthetic operands."""
    if seed and network.shape_only and not network.distribution:
        raise InputError(
            f"the seed is {seed}, but {network.name} has shapes only and nothing is drawn; leave the seed out, or give "
            "a distribution"
        )


def quantize(
    network: Network | str | torch.nn.Module,
    method: str | Plan,
    samples: Iterable[Any] | Path | None = None,
    *,
    exact: bool = False,
    options: Mapping[str, Any] | None = None,
    calibration_count: int | None = None,
    seed: int = 0,
) -> QuantizedModule:
    """A torch module that computes as `method` would, called like the module it was made of, which stays as it is.

    In evaluation mode, in which it begins, products are exact in integers or their fast float emulation. In training
    mode they are emulated with straight-through gradients, so that it trains like any other module.

    Parameters
    ----------
    network, method, samples, options, seed
        As in `calibrate`. A plan is calibrated already; with it, samples are the example of a module that has none.
    exact : bool
        Exact arithmetic as the machine's, or its fast float emulation.
    calibration_count : int or None
        How many default samples.

    Returns
    -------
    QuantizedModule
        `.plan` is the plan as it stands, `.run(batch)` gives the output tensor that tasks judge.

    Raises
    ------
    InputError
        A network with shapes only, or none of whose products the method quantizes; a plan of another network.

    Examples
    --------
    >>> import torch
    >>> layer = torch.nn.Linear(4, 2)
    >>> quantized = quantize(layer, "int8", [torch.rand(8, 4) for _ in range(4)], exact=True)
    >>> quantized(torch.ones(1, 4)).shape
    torch.Size([1, 2])
    """
    samples = kept(samples)
    given, network = network, named(network, samples)
    require_numbers(network)
    plan = planned(
        network,
        method,
        samples,
        given=given,
        options=options,
        calibration_count=calibration_count,
        seed=seed,
        progress=silent,
    )
    require_quantized(network, plan)
    return module.QuantizedModule(network, plan, exact=exact)


def planned(
    network: Network,
    method: str | Plan,
    samples: Iterable[Any] | Path | None,
    *,
    given: Network | str | torch.nn.Module,
    options: Mapping[str, Any] | None,
    calibration_count: int | None,
    seed: int,
    progress: Progress,
) -> Plan:
    """A plan that fits `network`, which was given as `given`; a method is calibrated."""
    if isinstance(method, str):
        with reporting(within(progress, "calibrating")):
            return calibrate(network, method, samples, options=options, count=calibration_count, seed=seed)
    beside = None if lacks_example(given) else samples
    refuse_beside_plan(samples=beside, options=options, calibration_count=calibration_count)
    return fitting(method, network)


def fitting(plan: Plan, network: Network) -> Plan:
    """The plan, if it was made for `network`.

    Raises
    ------
    InputError
        If it was made for another one, or for other weights.
    """
    differs = difference(plan.fingerprint, fingerprint(network)) if plan.fingerprint else None
    if differs:
        raise InputError(f"the plan of {plan.method} was made for another network than {network.name}: {differs}")
    return plan


def refuse_beside_plan(**beside: object) -> None:
    """Raise `InputError` for what would make a plan, where one is given."""
    for name, value in beside.items():
        if value:
            raise InputError(f"a plan is given, which is calibrated already, and {name} too; leave {name} out")
