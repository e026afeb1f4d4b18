"""Converted weights, kept in the user's cache so that a slow conversion happens once per machine.

A cached network is a folder with `config.json`, `model.safetensors` and the tokenizer's files. It is written beside its
place and moved there in one step (`os.replace`); whatever does not load is removed and built anew.
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from bitwright import scratch

if TYPE_CHECKING:
    import torch

Loaded = TypeVar("Loaded")
logger = logging.getLogger(__name__)
READ_BLOCK = 1 << 20


def cache_folder() -> Path:
    """Where bitwright keeps converted weights: BITWRIGHT_CACHE, or `bitwright` in the platform's cache folder."""
    if own := os.environ.get("BITWRIGHT_CACHE"):
        return Path(own).expanduser()
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base).expanduser() / "bitwright"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "bitwright"
    if sys.platform == "win32" and (base := os.environ.get("LOCALAPPDATA")):
        return Path(base) / "bitwright" / "Cache"
    return Path.home() / ".cache" / "bitwright"


def converted(source: Path, convert: Callable[[Path], None], load: Callable[[Path], Loaded]) -> Loaded:
    """What `load` makes of the converted form of file `source`.

    Parameters
    ----------
    source
        The file as its author publishes it; its SHA-256 is the cache's key.
    convert
        Writes the converted files into the folder given. Called if the cache has none that loads.
    load
        Reads such a folder; raises an exception for one that is incomplete or damaged.
    """
    folder = cache_folder() / f"{source.stem.lower()}-{_digest(source)[:16]}"
    if folder.is_dir():
        try:
            return load(folder)
        except Exception as error:  # damaged, or written by another version of a package
            logger.info("the converted %s cannot be read (%s) and is made anew", source.name, error)
            shutil.rmtree(folder, ignore_errors=True)
    logger.info("converting %s, which happens once; the result is kept in %s", source.name, folder.parent)
    with scratch.folder(folder.parent) as made:
        files = made / "converted"
        files.mkdir()
        convert(files)
        with contextlib.suppress(OSError):  # nowhere to keep it, or another process was faster: this run uses its own
            files = files.replace(folder)
        return load(files)


def write_network(folder: Path, config: dict[str, object], state: "dict[str, torch.Tensor]") -> None:
    """Write a transformers configuration and state as `config.json` and `model.safetensors`."""
    from safetensors.torch import save_file

    (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    save_file(
        {name: tensor.contiguous() for name, tensor in state.items()}, folder / "model.safetensors", {"format": "pt"}
    )


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(READ_BLOCK):
            digest.update(block)
    return digest.hexdigest()
