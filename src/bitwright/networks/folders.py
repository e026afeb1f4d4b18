"""What a folder that transformers saved holds, found without running anything of it.

Weights are read from safetensors only. A folder without any weights gives a network of random ones, which is said in
its notes; one whose weights are in other files (pickles run code when they are read) is refused. Sizes that no memory
holds are refused before anything of that size is made: the network is built on torch's meta device first, and counted.
"""

import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from bitwright.errors import InputError
from bitwright.networks.packages import first_line
from bitwright.networks.zoo import check_complete

RANDOM_NOTE = "weights are random (seed 0): the folder has no safetensors; its outputs mean nothing, its shapes do"
RANDOM_SEED = 0
OTHER_WEIGHTS = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack", ".gguf", ".onnx", ".npz")
NO_WEIGHTS = {"training_args.bin", "optimizer.bin", "optimizer.pt", "scheduler.bin", "scheduler.pt", "rng_state.pth"}
TOKENIZER_FILES = ("tokenizer*", "vocab.*", "*vocab*.json", "spiece.model", "*.spm", "*.bpe.model", "*.tiktoken")
MOST_LAYERS = 10_000  # the deepest published networks have some hundreds
MOST_TENSORS = 1_000_000  # parameters; the largest mixtures of experts have some ten thousand


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pretrained:
    """A configuration, and where its weights are.

    Attributes
    ----------
    name : str
        The folder or hub id.
    config : PretrainedConfig
        Of transformers.
    options : dict
        Of every `from_pretrained`.
    random : bool
        Whether there are no weights.
    """

    name: str
    config: Any
    options: dict[str, Any]
    random: bool

    @property
    def notes(self) -> tuple[str, ...]:
        """What reports must say of the weights."""
        return (RANDOM_NOTE,) if self.random else ()

    def source(self, module: torch.nn.Module) -> str:
        """Where `module` came from, in a phrase."""
        return f"transformers, {type(module).__name__} from {self.name}"

    def module(self, load: Callable[..., Any], make: Callable[..., Any]) -> torch.nn.Module:
        """The module in the folder's own type, its weights read by `load` or made by `make`."""
        self._check_memory(make)
        if self.random:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(RANDOM_SEED)
                return make(self.config, dtype=_dtype(self.config)).eval()
        module, report = load(self.name, dtype="auto", use_safetensors=True, output_loading_info=True, **self.options)
        check_complete(report, self.name)
        return module.eval()

    def _check_memory(self, make: Callable[..., Any]) -> None:
        """Refuse a network that does not fit in memory; nothing is allocated to find out."""
        memory = _memory_bytes()
        tensors = elements = used = 0

        def count(_module: Any, _name: str, tensor: Any) -> None:
            nonlocal tensors, elements, used
            if tensor is None:
                return
            tensors, elements = tensors + 1, elements + tensor.numel()
            used += tensor.numel() * tensor.element_size()
            if tensors > MOST_TENSORS or (memory is not None and used > memory):
                raise InputError(
                    f"{self.name}: its config.json asks for {elements:,} numbers or more in {tensors:,} tensors "
                    f"({used / 1e9:,.0f} GB), and {(memory or 0) / 1e9:,.0f} GB of memory are free; use a smaller "
                    "network, or a machine with more memory."
                )

        hooks = torch.nn.modules.module
        handles = [
            hooks.register_module_parameter_registration_hook(count),
            hooks.register_module_buffer_registration_hook(count),
        ]
        try:
            with torch.device("meta"):
                made = make(self.config, dtype=_dtype(self.config))
        except (RuntimeError, TypeError, OverflowError, MemoryError) as error:  # sizes beyond 64 bits
            raise InputError(
                f"{self.name}: no network can be built of its config.json ({first_line(error)}); correct its sizes."
            ) from error
        finally:
            for handle in handles:
                handle.remove()
        if not any(parameter.numel() for parameter in made.parameters()):
            raise InputError(f"{self.name}: the network of its config.json has no weights at all; correct its sizes.")


def check_folder(folder: Path) -> bool:
    """Whether a folder has no weights, so that random ones will do.

    Raises
    ------
    InputError
        No `config.json`, more layers than any network has, or weights in files that are not read.
    """
    if not (folder / "config.json").is_file():
        raise InputError(f"folder {str(folder)!r} has no config.json; a folder that transformers saved is expected.")
    _check_layers(folder)
    if any(folder.glob("*.safetensors")) or any(folder.glob("*.safetensors.index.json")):
        return False
    others = sorted(file.name for file in folder.iterdir() if _is_other_weights(file.name))
    if others:
        raise InputError(
            f"folder {str(folder)!r} has weights in {others[0]}, but only safetensors are read, since pickles can run "
            "code; where you trust the file, load it with transformers and save_pretrained it as safetensors."
        )
    return True


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder has files of a tokenizer; without any, transformers may make up an empty one."""
    return any(True for pattern in TOKENIZER_FILES for _ in folder.glob(pattern))


def _is_other_weights(name: str) -> bool:
    stem = name.removesuffix(".index.json")
    return stem.endswith(OTHER_WEIGHTS) and name not in NO_WEIGHTS


def _check_layers(folder: Path) -> None:
    """Refuse numbers of layers that would take for ever to build, configurations included."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"cannot read {folder / 'config.json'}: {first_line(error)}; a JSON object is expected."
        ) from error
    if not isinstance(config, dict):
        raise InputError(f"{folder / 'config.json'} is a JSON {type(config).__name__}, an object is expected.")
    for key, value in _numbers(config):
        if "layer" in key and value > MOST_LAYERS:
            raise InputError(f"{folder / 'config.json'}: {key} is {value}; at most {MOST_LAYERS} are built.")


def _numbers(config: dict[str, Any]) -> Iterator[tuple[str, int]]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _numbers(value)
        elif isinstance(value, int):
            yield key, value


def _dtype(config: Any) -> torch.dtype:
    """The type that the configuration names; float32 where it names none."""
    own = getattr(config, "dtype", None)
    return own if isinstance(own, torch.dtype) else torch.float32


def _memory_bytes() -> int | None:
    """Free memory, in bytes: what Linux says is available, or else what is installed; None where nobody says."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None
