"""What makes a module of the user's an image, a sentence or a language network: what turns samples into its inputs.

With a preprocessing it reads pictures; with a tokenizer it reads text, and what it returns says which kind it is:
embeddings [B, width], or a `last_hidden_state` that is averaged over the tokens, are a sentence network's; logits
[B, tokens, vocabulary] are a language network's. Whatever does not fit is refused when the network is loaded.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from bitwright.errors import InputError
from bitwright.later import later, torch
from bitwright.networks.checks import check_shape
from bitwright.networks.inputs import averaged, output_tensor, refuse_decode, refuse_size
from bitwright.networks.network import Batch, InputShape, Network
from bitwright.networks.own_inputs import OWN, OwnExample, OwnInputs
from bitwright.networks.packages import told

if TYPE_CHECKING:
    from bitwright.networks import images as picture_reading
    from bitwright.networks.images import PictureReader
else:
    picture_reading = later("bitwright.networks.images")

TOKENS = 128  # of a network whose example inputs are not given
PICTURES = ((320, 256), (200, 300))  # pixels: wide and high, of which a preprocessing must make the same shape
SPOKEN = "Two words, then a comma: this is what a tokenizer reads to show which inputs it makes of text."
Tokenizer = Callable[..., Any]


class Reader(Protocol):
    """What turns samples of a kind into a network's inputs."""

    def example(self, module: torch.nn.Module, parameters: Mapping[str, Any], name: str) -> Any:
        """Example inputs of a module of which none are given, whose `forward` takes `parameters`."""

    def joined(self, network: Network, shape: InputShape) -> Network:
        """The network, which was of kind `tensor`, as one of this kind."""


def reader(preprocess: Any, tokenizer: Tokenizer | None) -> Reader | None:
    """What the user gives, or nothing.

    Raises
    ------
    InputError
        Both, or what is neither a preprocessing nor a tokenizer.
    """
    if preprocess is not None and tokenizer is not None:
        raise InputError(
            "a preprocess and a tokenizer are given; a network reads pictures or text, so give one of them"
        )
    if preprocess is not None:
        return Pictures(preprocess=picture_reading.preprocess_of(preprocess))
    if tokenizer is None:
        return None
    if not callable(tokenizer):
        raise InputError(
            f"tokenizer is a {type(tokenizer).__name__}; a callable is expected that is given a text (or a list of "
            "them) and returns a mapping with input_ids, as those of Hugging Face"
        )
    return Text(tokenizer=tokenizer)


def refuse_reader(name: str, given: Reader | None, why: str) -> None:
    """Raise `InputError` where a network brings its own preprocessing or tokenizer, or reads neither."""
    if given is not None:
        what = "preprocess" if isinstance(given, Pictures) else "tokenizer"
        raise InputError(f"{name}: a {what} is given, but {why}; leave it out")


def _own(network: Network, what: str) -> OwnInputs:
    if network.shape_only:
        raise InputError(f"{network.name}: a {what} is given, but the network has shapes only; leave it out")
    found: OwnInputs = network.tools[OWN]
    return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pictures:
    """Pictures, by a preprocessing."""

    preprocess: PictureReader

    def example(self, module: torch.nn.Module, parameters: Mapping[str, Any], name: str) -> torch.Tensor:
        """One grey picture, preprocessed, in the module's floating type."""
        del parameters
        types = (each.dtype for each in module.parameters() if each.is_floating_point())
        return self._sample(name)[None].to(next(types, torch.float32))

    def joined(self, network: Network, shape: InputShape) -> Network:
        """The image network: one input, whose samples lie along axis 0."""
        del shape
        own, sample = _own(network, "preprocess"), self._sample(network.name)
        if len(own.given) != 1:
            raise InputError(
                f"{network.name}: a preprocess is given, but its inputs are {', '.join(own.given)}; an image network "
                "has one input"
            )
        key, given = next(iter(own.given.items()))
        if given.shape[1:] != sample.shape or not given.is_floating_point():
            raise InputError(
                f"{network.name}: preprocess gives {list(sample.shape)} for one picture, but the example input is "
                f"{list(given.shape)} of {given.dtype}, a batch of such pictures is expected; change one of them"
            )
        one = dataclasses.replace(own, given={key: given[:1]}, scaled={key: 0})
        example = OwnExample(inputs=one)
        self._check_run(network, example)
        size = (
            {"image_size": self.preprocess.image_size}
            if isinstance(self.preprocess, picture_reading.Preprocess)
            else {}
        )
        return dataclasses.replace(
            network,
            kind="image",
            example=example,
            default_task="top1",
            tools={**network.tools, OWN: one, "preprocess": self.preprocess, **size},
        )

    def _sample(self, name: str) -> torch.Tensor:
        """What one picture becomes; two of other shapes must become the same shape, and one always the same."""
        from PIL import Image

        pictures = [Image.new("RGB", size, (90, 120, 150)) for size in (*PICTURES, PICTURES[0])]
        try:
            first, second, again = (self.preprocess(picture) for picture in pictures)
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"{name}: preprocess fails on a PIL image ({told(error)}); mend it") from error
        for made in (first, second, again):
            if not isinstance(made, torch.Tensor) or not made.numel() or not bool(made.isfinite().all()):
                given = f"a tensor {list(made.shape)} with NaN, infinity or nothing in it"
                given = given if isinstance(made, torch.Tensor) else f"a {type(made).__name__}"
                raise InputError(f"{name}: preprocess gives {given}; one sample as a tensor of numbers is expected")
        if first.shape != second.shape:
            raise InputError(
                f"{name}: preprocess gives {list(first.shape)} and {list(second.shape)} for pictures of other sizes; "
                "let it resize and crop, so that several fit into a batch"
            )
        if not torch.equal(first, again):
            raise InputError(f"{name}: preprocess gives another tensor each time; leave random augmentation out of it")
        return first.detach()

    @staticmethod
    def _check_run(network: Network, example: OwnExample) -> None:
        two = example(InputShape(batch=2))
        sizes = list(next(iter(two.values())).shape)
        try:
            with torch.no_grad():
                output = network.forward(two)
        except InputError as error:
            raise InputError(f"preprocess does not fit: {error}") from error
        if not output.dim() or len(output) != 2:
            raise InputError(
                f"{network.name} gives {list(output.shape)} for {sizes}, two pictures; an image network gives "
                "something for each picture along axis 0"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Text:
    """Text, by a tokenizer."""

    tokenizer: Tokenizer

    def example(self, module: torch.nn.Module, parameters: Mapping[str, Any], name: str) -> Any:
        """128 tokens: by name what `forward` takes of what the tokenizer makes, or the ids alone by position."""
        del module
        encoded = self._encoded(name)
        named = {key: value for key, value in encoded.items() if key in parameters}
        return named if "input_ids" in named else (encoded["input_ids"],)

    def joined(self, network: Network, shape: InputShape) -> Network:
        """The network of the kind that its output says."""
        own, encoded = _own(network, "tokenizer"), self._encoded(network.name)
        takes = _taken(own, encoded)
        run = TextRun(names=tuple(takes), by_name=all(own.names.get(key) == key for key in own.given))
        tokens = shape.sequence_length or next(iter(own.given.values())).shape[-1]
        example = TextExample(name=network.name, module=own.module, tokens=tokens, names=tuple(takes))
        given = example(InputShape())
        one = dataclasses.replace(
            own, given=given, run=run, names={key: key for key in takes}, scaled=dict.fromkeys(takes, 0)
        )
        made = dataclasses.replace(network, run=run, example=example)
        kind = _kind_of(made, int(encoded["input_ids"].max()))
        return dataclasses.replace(
            made,
            kind=kind,
            default_task="sts" if kind == "sentence" else "perplexity",
            tools={**network.tools, OWN: one, "tokenizer": self.tokenizer, "sequence_length": tokens},
        )

    def _encoded(self, name: str) -> dict[str, torch.Tensor]:
        """What the tokenizer makes of a text, each [1, 128]."""
        try:
            made = self.tokenizer(SPOKEN, add_special_tokens=False, verbose=False)
            found = {key: torch.as_tensor(made[key]) for key in made}
        except Exception as error:
            raise InputError(
                f"{name}: the tokenizer fails on a text ({told(error)}); it is called as those of Hugging Face: "
                "tokenizer(text, add_special_tokens=False, verbose=False)"
            ) from error
        ids = found.get("input_ids")
        if ids is None or ids.dim() != 1 or ids.is_floating_point() or not ids.numel():
            given = "no input_ids" if ids is None else f"input_ids {list(ids.shape)} of {ids.dtype}"
            raise InputError(f"{name}: the tokenizer gives {given} for a text; a list of token ids is expected")
        times = TOKENS // ids.numel() + 1
        return {key: each.repeat(times)[None, :TOKENS] for key, each in found.items() if each.shape == ids.shape}


def _taken(own: OwnInputs, encoded: Batch) -> list[str]:
    """Which of what the tokenizer makes the network takes, in the order of its example inputs."""
    names = [own.names.get(key, key) for key in own.given]
    takes = ["input_ids"] if len(names) == 1 else names
    unknown = [name for name in takes if name not in encoded]
    if unknown:
        raise InputError(
            f"{own.name}: a tokenizer is given, which makes {', '.join(encoded)}, but the example inputs are "
            f"{', '.join(names)}; give those that the tokenizer makes, by their names"
        )
    for key, tensor in own.given.items():
        if tensor.dim() != 2 or tensor.is_floating_point():
            raise InputError(
                f"{own.name}: a tokenizer is given, but the example input {own.names.get(key, key)} is "
                f"{list(tensor.shape)} of {tensor.dtype}; token ids [B, tokens] are expected"
            )
    return takes


def _kind_of(network: Network, highest: int) -> str:
    """`sentence` or `language`, by what the module returns for two texts."""
    assert network.example is not None
    two = network.example(InputShape(batch=2))
    ids = two["input_ids"]
    with torch.no_grad():
        output = network.forward(two)
    if output.dim() == 2 and len(output) == 2:
        return "sentence"
    if output.dim() == 3 and output.shape[:2] == ids.shape and output.shape[2] > highest:
        return "language"
    raise InputError(
        f"{network.name} gives {list(output.shape)} for token ids {list(ids.shape)} (at least up to {highest}); with "
        "a tokenizer a sentence network gives embeddings [B, width] or a last_hidden_state, and a language network "
        "logits [B, tokens, vocabulary]"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextRun:
    """(module, batch) -> logits or embeddings: a `last_hidden_state` without logits is averaged over the tokens.

    Attributes
    ----------
    names : tuple of str
        What the module takes of a batch.
    by_name : bool
        Whether by name, or in this order.
    """

    names: tuple[str, ...]
    by_name: bool

    def __call__(self, module: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """The tensor that is judged."""
        given = {name: batch[name] for name in self.names}
        output = module(**given) if self.by_name else module(*given.values())
        if isinstance(output, Mapping) and "last_hidden_state" in output and "logits" not in output:
            return averaged(output["last_hidden_state"], batch.get("attention_mask"))
        return output_tensor(output)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextExample:
    """InputShape -> a batch of token ids (all 0) where the module is, with a mask and token types where it takes them.

    Attributes
    ----------
    name : str
        The network's, for messages.
    module : torch.nn.Module
        Its parameters say on which device.
    tokens : int
        Default sequence length.
    names : tuple of str
        What the tokenizer makes and the module takes.
    """

    name: str
    module: torch.nn.Module
    tokens: int
    names: tuple[str, ...]

    def __call__(self, shape: InputShape) -> dict[str, torch.Tensor]:
        """The batch; `InputError` for an image size or a decoding step."""
        check_shape(shape)
        refuse_decode(shape, self.name)
        refuse_size(shape, self.name, "image_size", "it reads text")
        device = next((parameter.device for parameter in self.module.parameters()), torch.device("cpu"))
        size = (shape.batch, shape.sequence_length or self.tokens)
        return {
            name: torch.full(size, int(name == "attention_mask"), dtype=torch.long, device=device)
            for name in self.names
        }
