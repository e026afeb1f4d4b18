"""What commands are given: the options they share, and settings written `key=value`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bitwright.cli import names as known
from bitwright.errors import InputError
from bitwright.networks.catalogue import DISTRIBUTIONS

if TYPE_CHECKING:
    from bitwright.networks.network import Network

MOST = 2**31 - 1
"""The largest whole number that an option takes, as a setting of a machine or a method does."""
Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        autocompletion=known.models,
        help="A name (see: bitwright models), package.module:callable, a folder, a Hugging Face id, a file "
        "(ONNX, .pt2, .gguf, .safetensors beside its config.json, or shapes as YAML or CSV), or gemm:MxKxN.",
    ),
]
Preprocess = Annotated[
    str | None,
    typer.Option(
        "--preprocess",
        metavar="SPEC|PATH",
        help="For package.module:callable, which then reads pictures: size=240,mean=127,std=128 (of pixels from 0 to "
        "255; add scale=1 where mean and std are of pixels from 0 to 1; a/b/c per channel), or "
        "package.module:function, PIL image -> tensor.",
    ),
]
Tokenizer = Annotated[
    str | None,
    typer.Option(
        "--tokenizer",
        metavar="PATH",
        help="For package.module:callable, which then reads text: package.module:tokenizer, as those of Hugging Face.",
    ),
]
Method = Annotated[
    str | None,
    typer.Option(
        "--method",
        "-m",
        help="See: bitwright methods.  [default: int8; of a quantized file its own]",
        autocompletion=known.methods,
    ),
]
Options = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="[GLOB:]KEY=VALUE", help="An option of the method (for sites matching GLOB)."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="[NAME.]KEY=VALUE", help="A parameter of the accelerators (of NAME only)."),
]
Technology = Annotated[
    str | None,
    typer.Option(metavar="28|45|FILE", help="A node in nm or a price list: --set node_nm=..."),
]
Prices = Annotated[
    str | None,
    typer.Option(
        "--prices",
        metavar="published|synthesized",
        help="Circuits that have RTL here by published prices, or by their synthesis: --set prices=...",
    ),
]
Substrate = Annotated[
    str,
    typer.Option(
        "--substrate",
        metavar="common|native|FILE",
        help="The same for all machines, each as published, or your own.",
        autocompletion=known.substrates,
    ),
]
Plan = Annotated[Path | None, typer.Option("--plan", help="Use this plan; it brings its own method.")]
SavePlan = Annotated[Path | None, typer.Option("--save-plan", help="Keep the plan in this file.")]
Calibration = Annotated[
    int | None,
    typer.Option("--calibration", min=1, max=MOST, help="Calibration images, sentences or windows of tokens."),
]
Task = Annotated[
    str | None,
    typer.Option(
        "--task", "-t", help="top1, perplexity, sts, or fidelity (needs no data).", autocompletion=known.tasks
    ),
]
Data = Annotated[Path | None, typer.Option("--data", "-d", help="The task's labelled samples.")]
Judged = Annotated[
    str | None,
    typer.Option(
        "--data",
        "-d",
        metavar="PATH",
        help="The task's labelled samples; or package.module:callable that returns a loader of (inputs, labels), of "
        "which every other batch calibrates and the rest judge.",
    ),
]
Metric = Annotated[
    str | None,
    typer.Option(
        "--metric",
        metavar="PATH",
        help="With such a loader: package.module:function, (output, labels) -> a score per sample.  [default: top-1]",
    ),
]
LowerIsBetter = Annotated[bool, typer.Option("--lower-is-better", help="Of the metric.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, max=MOST, help="At most so many images, pairs or tokens.")]
Samples = Annotated[
    str | None,
    typer.Option(
        "--samples",
        metavar="PATH",
        help="Your own: a folder of pictures, a text (for sentences one a line), or package.module:callable that "
        "returns a data loader or another iterable of batches. Half calibrate and half judge; with --data, or where "
        "nothing is judged, all calibrate.",
    ),
]
CalibrationFrom = Annotated[
    str | None,
    typer.Option(
        "--calibration-from",
        metavar="NAMES|PATH",
        help="Calibrate on these and nothing else: sources of images, separated by commas (scikit-image, batch-norm, "
        "scikit-learn, mate-backgrounds, lomiri-wallpapers-16.04, opencv-doc), or what --samples takes.",
        autocompletion=known.sources,
    ),
]
Exact = Annotated[
    bool,
    typer.Option("--exact/--fast", help="Exact arithmetic, or float32 emulation of the same codes."),
]
BatchSize = Annotated[int | None, typer.Option("--batch-size", min=1, max=MOST, help="Test samples at once.")]
Seed = Annotated[int, typer.Option("--seed", min=0, max=MOST, help="Of every choice of samples and of the bootstrap.")]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda, or auto: cuda where torch sees a GPU.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
Wide = Annotated[bool, typer.Option("--wide", help="All columns, however wide the page is.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")]
Sites = Annotated[bool, typer.Option("--sites", help="A line for every site too.")]
Batch = Annotated[int, typer.Option("--batch", min=1, max=MOST, help="Inputs per inference.")]
SequenceLength = Annotated[
    int | None, typer.Option("--sequence-length", min=1, max=MOST, help="Tokens; of context, in decode.")
]
Shape = Annotated[
    list[str] | None,
    typer.Option(
        "--shape",
        metavar="NAME=1x3x224x224",
        help="Sizes of an input of an ONNX file, for axes that it leaves open. Repeatable.",
    ),
]
ImageSize = Annotated[int | None, typer.Option("--image-size", min=1, max=MOST, help="Height and width, in pixels.")]
Distribution = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help=f"Synthetic operands for a network with shapes only: {', '.join(DISTRIBUTIONS)}. Results say so.",
    ),
]
Phase = Annotated[str, typer.Option("--phase", help="prefill (all tokens at once) or decode (one token).")]


def method_options(given: Sequence[str] | None) -> dict[str, Any]:
    """`KEY=VALUE` and `GLOB:KEY=VALUE` as a method's options; the glob ends at the last colon before the `=`.

    Examples
    --------
    >>> method_options(["x_bits=7", "*:qk:x_bits=8"])
    {'x_bits': 7, 'sites': {'*:qk': {'x_bits': 8}}}
    """
    options: dict[str, Any] = {}
    sites: dict[str, dict[str, Any]] = {}
    for text in given or ():
        key, value = _split("--option", text)
        glob, colon, name = key.rpartition(":")
        place = sites.setdefault(glob, {}) if colon else options
        if name in place:
            raise InputError(f"--option {key} is given twice; give it once")
        place[name] = value
    return {**options, "sites": sites} if sites else options


def machine_settings(
    given: Sequence[str] | None, technology: str | None = None, prices: str | None = None
) -> dict[str, Any]:
    """`KEY=VALUE` and `NAME.KEY=VALUE` as settings of machines."""
    settings: dict[str, Any] = {} if technology is None else {"node_nm": technology}
    if prices is not None:
        settings["prices"] = prices
    for text in given or ():
        key, value = _split("--set", text)
        if key in settings:
            raise InputError(f"{key} is set twice; set it once")
        settings[key] = value
    return settings


def samples(path: str | None) -> Any:
    """What the callable of `package.module:callable` returns, a path that is there, or names of sources.

    Nothing where no path is given.
    """
    if path is None:
        return None
    from bitwright.networks.load import is_python_path
    from bitwright.tasks.sources import are_sources

    if are_sources(path):
        return path
    if Path(path).exists() or not is_python_path(path):
        return Path(path)
    from bitwright.networks.user import called, current_folder_first, resolved

    with current_folder_first():
        found = called(resolved(path), path)
    if found is None:
        raise InputError(f"{path} returned None; a data loader or another iterable of batches is expected")
    return found


def data(text: str | None) -> Any:
    """The path of labelled samples, or what the callable of `package.module:callable` returns."""
    from bitwright.networks.load import is_python_path

    if text is None or not is_python_path(text) or Path(text).exists():
        return None if text is None else Path(text)
    return samples(text)


def metric(path: str | None) -> Any:
    """The function that `package.module:function` stands for, if one is given."""
    return None if path is None else named_object(path)


def dims(given: Sequence[str] | None) -> dict[str, tuple[int, ...]]:
    """`NAME=1x3x224x224` as sizes by name."""
    if not given:
        return {}
    from bitwright.networks.onnx.network import dims_of

    return dims_of(given)


def named_object(path: str) -> Any:
    """What `package.module:name` stands for, which is not called."""
    from bitwright.networks.user import current_folder_first, resolved

    with current_folder_first():
        return resolved(path)


def reading(preprocess: str | None, tokenizer: str | None) -> dict[str, Any]:
    """What turns samples into the inputs of a network of one's own, as `load` takes it."""
    if preprocess is None and tokenizer is None:
        return {}
    specified = preprocess is None or "=" in preprocess
    return {
        "preprocess": preprocess if specified or preprocess is None else named_object(preprocess),
        "tokenizer": None if tokenizer is None else named_object(tokenizer),
    }


def networks(
    models: Sequence[str],
    *,
    device: str,
    distribution: str | None,
    seed: int,
    own: Mapping[str, Mapping[str, Any]] | None = None,
    reads: Mapping[str, Any] | None = None,
    dims: Mapping[str, Sequence[int]] | None = None,
    **shape: Any,
) -> "list[Network]":
    """Several networks, each with the sizes that it has (and its `own`); a size that none of them has is refused."""
    import torch

    from bitwright.networks.load import load_several
    from bitwright.networks.network import InputShape

    here = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    return load_several(
        models,
        shape=InputShape(**shape),
        own=own or {},
        device=here,
        distribution=distribution,
        seed=seed,
        dims=dims or {},
        **(reads or {}),
    )


def names(text: str, what: str) -> list[str]:
    """`a,b` as a list without repetitions."""
    found = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not found:
        raise InputError(f"no {what} is named in {text!r}; give one or several, separated by commas")
    return found


def _split(flag: str, text: str) -> tuple[str, Any]:
    from bitwright import strict_yaml

    key, equals, value = text.partition("=")
    if not equals or not key.strip() or not value.strip():
        raise InputError(f"{flag} {text!r} is not understood; write {flag} key=value")
    return key.strip(), strict_yaml.parse(value, file=f"{flag} {key}").data


def command_line() -> str:
    """What was typed, without passwords."""
    import sys
    from pathlib import Path

    from bitwright.redaction import redacted_command

    return redacted_command([Path(sys.argv[0]).name, *sys.argv[1:]])
