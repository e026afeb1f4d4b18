"""Hugging Face networks of any other head: encoder-decoders, audio, pictures without classes, text without next tokens.

Their inputs are made from the configuration: what the architecture calls its main input, and the decoder's first tokens
where it has one. They are judged as any tensor network is, by fidelity on such inputs.
"""

import dataclasses
import inspect
from typing import Any

import torch

from bitwright.errors import InputError
from bitwright.networks.checks import check_shape
from bitwright.networks.inputs import output_tensor, random_ids, refuse_decode, refuse_size
from bitwright.networks.network import Batch, InputShape

SAMPLES = 16_000  # of raw audio: one second at the usual rate
FRAMES = 128  # of audio features, where the configuration fixes no number
TOKENS = 128


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadExample:
    """InputShape -> a batch of what the architecture reads: tokens drawn from its vocabulary, pictures and audio of 0.

    Attributes
    ----------
    name : str
        The network's, for messages.
    module : PreTrainedModel
        Its configuration gives the sizes, its parameters device and type.
    """

    name: str
    module: Any

    def __call__(self, shape: InputShape) -> dict[str, torch.Tensor]:
        """The batch; `InputError` for decoding, for sizes that do not apply or fit, or that no configuration states."""
        check_shape(shape)
        refuse_decode(shape, self.name)
        config, main = self.module.config, self.module.main_input_name
        decodes = config.is_encoder_decoder and "decoder_input_ids" in inspect.signature(self.module.forward).parameters
        if main != "input_ids" and not decodes:
            refuse_size(shape, self.name, "sequence_length", f"its input is {main}")
        if main != "pixel_values":
            refuse_size(shape, self.name, "image_size", f"its input is {main}")
        tokens = shape.sequence_length or _within(config, TOKENS)
        if tokens > _within(config, tokens):
            raise InputError(
                f"{self.name}: sequence_length is {tokens}, but the network has {_within(config, tokens)} positions; "
                "use at most that many tokens."
            )
        if main == "input_ids":
            batch = {main: random_ids(self.module, shape.batch, tokens)}
        else:
            parameter = next(p for p in self.module.parameters() if p.is_floating_point())
            size = _size(main, config, shape)
            if size is None:
                raise InputError(f"{self.name}: the sizes of its input {main!r} are in no configuration.")
            batch = {main: torch.zeros(shape.batch, *size, dtype=parameter.dtype, device=parameter.device)}
        if decodes:
            batch["decoder_input_ids"] = random_ids(self.module, shape.batch, tokens)
        return batch


def run_head(module: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """The logits, or else the last hidden state, or whatever tensor the network returns first."""
    caching = {"use_cache": False} if "use_cache" in inspect.signature(module.forward).parameters else {}
    return output_tensor(module(**batch, **caching))


def _size(main: str, config: Any, shape: InputShape) -> tuple[int, ...] | None:
    """The size of one sample of the input `main`; None where it is not known."""
    if main == "pixel_values":
        size = shape.image_size or picture_size(config) or 224
        return stated(config, "num_channels", "in_channels") or 3, size, size
    bins = stated(config, "num_mel_bins", "feature_projection_input_dim", "input_feat_per_channel")
    if main == "input_values":  # spectrograms [time, bins], or raw audio
        return (stated(config, "max_length") or FRAMES, bins) if bins else (SAMPLES,)
    if main == "input_features" and bins:
        positions = stated(config, "max_source_positions")
        whisper = config.model_type == "whisper"  # [bins, time], and its first convolutions halve the time
        return (bins, 2 * positions) if whisper and positions else (FRAMES, bins)
    return None


def picture_size(config: Any) -> int | None:
    """Height and width of the pictures that a network was made for, if its configuration says."""
    own = getattr(config, "image_size", None)
    return int(own[0] if isinstance(own, list | tuple) else own) if own else None


def stated(config: Any, *names: str) -> int | None:
    """The first of the configuration's attributes `names` that is a number above 0."""
    for name in names:
        value = getattr(config, name, None)
        if isinstance(value, int) and value > 0:
            return value
    return None


def _within(config: Any, tokens: int) -> int:
    """`tokens`, or as many as both the encoder and the decoder have positions for."""
    positions = (stated(config, name) for name in ("max_position_embeddings", "max_target_positions"))
    return min([tokens, *(count for count in positions if count)])
