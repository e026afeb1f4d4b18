"""Hugging Face networks: a local folder with `config.json`, or an id of the hub. Weights from safetensors only.

The configuration decides what it is: a causal language model, an encoder (mean-pooled), an image classifier, or another
head that is judged on inputs made from the configuration. The model comes as it is: its own attention implementation
and its own floating type. Nothing that comes with the weights is executed (`trust_remote_code=False`).
"""

import socket
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bitwright.errors import InputError
from bitwright.networks.folders import Pretrained, check_folder, has_tokenizer
from bitwright.networks.heads import HeadExample, run_head, stated
from bitwright.networks.inputs import TokenExample, run_language, run_sentence
from bitwright.networks.network import Batch, InputShape, Network
from bitwright.networks.packages import first_line, quiet, require
from bitwright.networks.pictures import image_classifier

CALLABLE_HINT = "give it as package.module:callable, a function that returns the torch module and example inputs"
SENTENCE = "A tokenizer makes tokens of this; one without a vocabulary makes none, or unknown ones."
LANGUAGE_TOKENS = 512
SENTENCE_TOKENS = 128
LANGUAGE_ENDINGS = ("ForCausalLM", "LMHeadModel")
OTHER_SENSES = ("vision_config", "audio_config")
ENCODER_ENDINGS = ("Model", "ForMaskedLM", "ForPreTraining")


def build(name: str, shape: InputShape) -> Network:
    """The network in folder `name`, or of hub id `name` (from its local copies if there are any)."""
    require(name, ["transformers"])
    local = Path(name).is_dir()
    random = check_folder(Path(name)) if local else False
    with quiet():
        options = {"local_files_only": True, "trust_remote_code": False}
        if not local and not _is_cached(name, options):
            _check_connection(name)
            options["local_files_only"] = False
        try:
            return _load(name, shape, options, random=random)
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"cannot load {name!r} with transformers: {first_line(error)}") from error


def _load(name: str, shape: InputShape, options: dict[str, Any], *, random: bool) -> Network:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(name, **options)
    found = Pretrained(name=name, config=config, options=options, random=random)
    by_kind = {"language": _language, "sentence": _sentence, "image": image_classifier, "tensor": _head}
    return by_kind[kind_of(config)](found, shape)


def kind_of(config: Any) -> str:
    """`language`, `sentence`, `image` or `tensor`, from the saved architecture's name or else the type of `config`."""
    from transformers.models.auto import modeling_auto

    if config.is_encoder_decoder:
        return "tensor"
    saved = saved_architecture(config)
    if saved.endswith("ForImageClassification") or (
        not saved and type(config) in modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING
    ):
        return "image" if (stated(config, "num_channels") or 3) == 3 else "tensor"
    causal: Any = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    if saved.endswith(LANGUAGE_ENDINGS) or (causal is not None and saved == causal.__name__):
        return "language"
    if saved and not saved.endswith(ENCODER_ENDINGS):
        return "tensor"
    if type(config) in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING:
        return "sentence"
    if causal is not None:
        return "sentence" if saved.endswith("Model") else "language"
    return "tensor"


def saved_architecture(config: Any) -> str:
    """The class that was saved, as `config` names it; empty where it names none."""
    names = getattr(config, "architectures", None)
    return names[0] if isinstance(names, list | tuple) and names and isinstance(names[0], str) else ""


def _language(found: Pretrained, shape: InputShape) -> Network:
    from transformers import AutoModelForCausalLM

    module = found.module(AutoModelForCausalLM.from_pretrained, AutoModelForCausalLM.from_config)
    tokens = _tokens(module, shape, LANGUAGE_TOKENS)
    example = TokenExample(
        name=found.name, module=module, tokens=tokens, positions=_positions(module.config), decodes=True
    )
    return _text(found, module, kind="language", run=run_language, task="perplexity", example=example)


def _sentence(found: Pretrained, shape: InputShape) -> Network:
    from transformers import AutoModel

    module = found.module(AutoModel.from_pretrained, AutoModel.from_config)
    tokens = _tokens(module, shape, SENTENCE_TOKENS)
    example = TokenExample(name=found.name, module=module, tokens=tokens, positions=_positions(module.config))
    return _text(found, module, kind="sentence", run=run_sentence, task="sts", example=example)


def _text(
    found: Pretrained,
    module: torch.nn.Module,
    *,
    kind: str,
    run: Callable[[torch.nn.Module, Batch], torch.Tensor],
    task: str,
    example: TokenExample,
) -> Network:
    tokenizer, notes = _tokenizer(found)
    return Network(
        name=found.name,
        kind=kind,
        module=module,
        run=run,
        example=example,
        default_task=task,
        tools={"sequence_length": example.tokens} | ({} if tokenizer is None else {"tokenizer": tokenizer}),
        source=found.source(module) + (", mean-pooled" if kind == "sentence" else ""),
        notes=(*found.notes, *notes, *_left_out(found.config)),
    )


def _head(found: Pretrained, shape: InputShape) -> Network:
    """A network of any other head, if it runs on inputs that are made from its configuration."""
    own = _class_of(found.config)
    if own is None:
        raise InputError(
            f"{found.name}: transformers have no class for {type(found.config).__name__}"
            f"{saved_architecture(found.config) and ' saved as ' + saved_architecture(found.config)}; {CALLABLE_HINT}."
        )
    module = found.module(own.from_pretrained, own._from_config)
    example = HeadExample(name=found.name, module=module)
    try:
        with torch.no_grad():
            run_head(module, example(InputShape(batch=2, image_size=shape.image_size)))
    except InputError:
        raise
    except Exception as error:  # whatever the architecture misses
        raise InputError(
            f"{found.name}: {type(module).__name__} does not run on inputs made from its config.json "
            f"({first_line(error)}); {CALLABLE_HINT}."
        ) from error
    return Network(
        name=found.name,
        kind="tensor",
        module=module,
        run=run_head,
        example=example,
        source=found.source(module),
        notes=(*found.notes, *(_left_out(found.config) if module.main_input_name == "input_ids" else ())),
    )


def _left_out(config: Any) -> tuple[str, ...]:
    """The note of a network with more senses than its inputs here speak to."""
    senses = [sense.removesuffix("_config") for sense in OTHER_SENSES if getattr(config, sense, None) is not None]
    return (f"it is run on text alone: its {' and '.join(senses)} parts are left out",) if senses else ()


def _class_of(config: Any) -> Any:
    """The saved architecture's class in transformers, or else the one without a head; None where there is neither."""
    import transformers
    from transformers.models.auto import modeling_auto

    saved = saved_architecture(config)
    own = getattr(transformers, saved, None) if saved.isidentifier() else None
    if isinstance(own, type) and issubclass(own, transformers.PreTrainedModel):
        return own
    return modeling_auto.MODEL_MAPPING.get(type(config), None)


def _tokenizer(found: Pretrained) -> tuple[Any, tuple[str, ...]]:
    """The tokenizer, or None and a note that says why there is none."""
    from transformers import AutoTokenizer

    if Path(found.name).is_dir() and not has_tokenizer(Path(found.name)):
        return None, ("there is no tokenizer in the folder, so no text can be read",)
    try:
        tokenizer = AutoTokenizer.from_pretrained(found.name, **found.options)
        ids = set(tokenizer(SENTENCE, add_special_tokens=False)["input_ids"])
        if ids <= {tokenizer.unk_token_id}:
            return None, ("its tokenizer has no vocabulary, so no text can be read",)
        return tokenizer, ()
    except Exception as error:  # shapes, traces and random tokens need none
        return None, (f"its tokenizer cannot be loaded ({first_line(error)}), so no text can be read",)


def _positions(config: Any) -> int | None:
    """How many positions have a learned embedding or a bias; None where a rotation stands for them, or nothing does."""
    text = config.get_text_config()
    if getattr(text, "rope_parameters", None) or getattr(text, "rope_theta", None):
        return None
    positions = stated(text, "max_position_embeddings", "max_seq_len")
    return positions - 2 if positions and text.model_type in {"roberta", "xlm-roberta", "camembert"} else positions


def _tokens(module: Any, shape: InputShape, default: int) -> int:
    trained = stated(module.config.get_text_config(), "max_position_embeddings", "max_seq_len")
    most = _positions(module.config) or trained  # a rotation goes further, but not by default
    return shape.sequence_length or (min(default, most) if most else default)


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
