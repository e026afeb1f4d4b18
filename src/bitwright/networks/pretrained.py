"""Hugging Face networks: a local folder with `config.json`, or an id of the hub. Weights from safetensors only.

The configuration decides what it is: a causal language model, an encoder (mean-pooled) or an image classifier.
Nothing that comes with the weights is executed (`trust_remote_code=False`).
"""

import socket
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import torch

from bitwright.errors import InputError
from bitwright.networks.inputs import (
    ImageExample,
    TokenExample,
    cache_of,
    run_image,
    run_language,
    run_sentence,
)
from bitwright.networks.network import InputShape, Network
from bitwright.networks.packages import quiet, require
from bitwright.networks.zoo import check_complete

CALLABLE_HINT = "give it as package.module:callable, a function that returns the torch module"


def build(name: str, shape: InputShape) -> Network:
    """The network in folder `name`, or of hub id `name` (from its local copies if there are any)."""
    require(name, ["transformers"])
    local = Path(name).is_dir()
    if local and not (Path(name) / "config.json").is_file():
        raise InputError(f"folder {name!r} has no config.json; a folder that transformers saved is expected.")
    with quiet():
        options = {"local_files_only": True, "trust_remote_code": False}
        if not local and not _is_cached(name, options):
            _check_connection(name)
            options["local_files_only"] = False
        try:
            return _load(name, shape, options)
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"cannot load {name!r} with transformers: {_first_line(error)}") from error


def _load(name: str, shape: InputShape, options: dict[str, Any]) -> Network:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(name, **options)
    kind = kind_of(config)
    if kind is None:
        raise InputError(
            f"{name}: {type(config).__name__} is neither a causal language model, an encoder nor an image classifier; "
            f"{CALLABLE_HINT}."
        )
    return {"language": _language, "sentence": _sentence, "image": _image}[kind](name, shape, options)


def kind_of(config: Any) -> str | None:
    """`language`, `sentence` or `image`, from the saved architecture's name or else the configuration's type."""
    from transformers.models.auto import modeling_auto

    if config.is_encoder_decoder:
        return None
    saved = (getattr(config, "architectures", None) or [""])[0]
    for ending, kind in (("ForCausalLM", "language"), ("LMHeadModel", "language"), ("ForImageClassification", "image")):
        if saved.endswith(ending):
            return kind
    if type(config) in modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING:
        return "image"
    if type(config) in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING:
        return "sentence"
    return "language" if type(config) in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING else None


def _module(auto: Any, name: str, options: dict[str, Any], **more: Any) -> torch.nn.Module:
    module, report = auto.from_pretrained(
        name, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **options, **more
    )
    check_complete(report, name)
    return module


def _language(name: str, shape: InputShape, options: dict[str, Any]) -> Network:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    module = _module(AutoModelForCausalLM, name, options, attn_implementation="sdpa")
    tokens = _tokens(module, shape, 512)
    return Network(
        name=name,
        kind="language",
        module=module,
        run=run_language,
        example=TokenExample(
            name=name, module=module, tokens=tokens, positions=_positions(module), cache=cache_of(module.config)
        ),
        default_task="perplexity",
        tools={"tokenizer": AutoTokenizer.from_pretrained(name, **options), "sequence_length": tokens},
        source=f"transformers, {type(module).__name__} from {name}",
    )


def _sentence(name: str, shape: InputShape, options: dict[str, Any]) -> Network:
    from transformers import AutoModel, AutoTokenizer

    module = _module(AutoModel, name, options, attn_implementation="sdpa")
    tokens = _tokens(module, shape, 128)
    return Network(
        name=name,
        kind="sentence",
        module=module,
        run=run_sentence,
        example=TokenExample(name=name, module=module, tokens=tokens, positions=_positions(module)),
        default_task="sts",
        tools={"tokenizer": AutoTokenizer.from_pretrained(name, **options), "sequence_length": tokens},
        source=f"transformers, {type(module).__name__} from {name}, mean-pooled",
    )


def _image(name: str, shape: InputShape, options: dict[str, Any]) -> Network:
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    module = _module(AutoModelForImageClassification, name, options)
    pretrained: Any = AutoImageProcessor.from_pretrained
    processor = pretrained(name, **options)

    def preprocess(image: Any) -> torch.Tensor:
        return processor(images=image.convert("RGB"), return_tensors="pt")["pixel_values"][0]

    size = shape.image_size or _pixels(module.config, processor)
    return Network(
        name=name,
        kind="image",
        module=module,
        run=run_image,
        example=ImageExample(name=name, module=module, image_size=size),
        default_task="top1",
        tools={"preprocess": preprocess, "image_size": size},
        source=f"transformers, {type(module).__name__} from {name}",
    )


def _pixels(config: Any, processor: Any) -> int:
    """Height and width that the network was made for, or else those that its processor produces."""
    own = getattr(config, "image_size", None)
    if own:
        return int(own[0] if isinstance(own, list | tuple) else own)
    for size in (getattr(processor, "crop_size", None), getattr(processor, "size", None)):
        for key in ("height", "shortest_edge"):
            if size and key in size and size[key]:
                return int(size[key])
    return 224


def _positions(module: Any) -> int | None:
    """How many positions have a learned embedding; None where a rotation or bias stands for them."""
    config = module.config
    if getattr(config, "rope_parameters", None) or getattr(config, "rope_theta", None):
        return None
    positions = getattr(config, "max_position_embeddings", None)
    return positions - 2 if positions and config.model_type in {"roberta", "xlm-roberta", "camembert"} else positions


def _tokens(module: Any, shape: InputShape, default: int) -> int:
    positions = _positions(module)
    return shape.sequence_length or (min(default, positions) if positions else default)


def _is_cached(name: str, options: dict[str, Any]) -> bool:
    from transformers import AutoConfig

    try:
        AutoConfig.from_pretrained(name, **options)
    except Exception:
        return False
    return True


def _check_connection(name: str) -> None:
    """Fail at once where there is no connection; transformers itself would retry for half a minute."""
    if urllib.request.getproxies():
        return
    from huggingface_hub import constants

    hub = urllib.parse.urlsplit(constants.ENDPOINT)  # HF_ENDPOINT, if it is set
    port = hub.port or (80 if hub.scheme == "http" else 443)
    try:
        socket.create_connection((hub.hostname or "", port), timeout=5).close()
    except OSError as error:
        raise InputError(
            f"model {name!r} is no folder here and not in the local Hugging Face cache, and {hub.hostname} cannot be "
            "reached; connect, or give a folder with config.json and safetensors."
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
