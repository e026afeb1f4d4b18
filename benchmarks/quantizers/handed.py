"""What a peer is handed, and how it hands back: files in one folder, read and written in the peer's own environment.

`module.pt` is a pickled module of torch's own layers, or `model/` a folder of transformers; `calibration.safetensors`
and `test.safetensors` have tensors named `BATCH.INPUT`. Handed back are `rows.jsonl`, a line for each set of options,
and the outputs of all test batches, raw: logits, or hidden states. Nothing is judged here.
"""

import json
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

Batch = dict[str, torch.Tensor]
Runs = Callable[[Batch], torch.Tensor]


class Handed:
    """A network with its samples, and the rows of one peer."""

    def __init__(self) -> None:
        self.folder, peer = Path(sys.argv[1]), Path(sys.argv[0]).stem
        about = json.loads((self.folder / "about.json").read_text())
        self.kind = about["kind"]
        self.calibration, self.tests = (self._batches(name) for name in ("calibration", "test"))
        self.back = self.folder / peer
        self.back.mkdir()
        self.count = 0
        torch.manual_seed(0)

    def _batches(self, name: str) -> list[Batch]:
        found: dict[int, Batch] = {}
        for key, tensor in load_file(self.folder / f"{name}.safetensors").items():
            index, _, given = key.partition(".")
            found.setdefault(int(index), {})[given] = tensor
        return [found[index] for index in sorted(found)]

    def together(self) -> Batch:
        """All calibration samples in one batch, padded to the longest, for what asks for one length."""
        padded: dict[str, list[torch.Tensor]] = {}
        longest = max(next(iter(batch.values())).shape[1] for batch in self.calibration)
        for batch in self.calibration:
            for name, tensor in batch.items():
                lacking = 0 if self.kind == "image" else longest - tensor.shape[1]
                padded.setdefault(name, []).append(torch.nn.functional.pad(tensor, (0, lacking)) if lacking else tensor)
        return {name: torch.cat(tensors) for name, tensors in padded.items()}

    def module(self) -> torch.nn.Module:
        """Anew, in float and evaluation mode."""
        if self.kind == "image":
            return torch.load(self.folder / "module.pt", weights_only=False).eval()
        from transformers import AutoModel, AutoModelForCausalLM

        of = AutoModelForCausalLM if self.kind == "language" else AutoModel
        more = {} if self.kind == "language" else {"add_pooling_layer": False}
        return of.from_pretrained(self.folder / "model", dtype=torch.float32, attn_implementation="sdpa", **more).eval()

    def feed(self, module: torch.nn.Module, batch: Batch) -> Any:
        """Whatever the module returns."""
        if self.kind == "image":
            return module(batch["pixel_values"])
        return module(**batch, **({"use_cache": False} if self.kind == "language" else {}))

    def output(self, module: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Logits of images or tokens, hidden states of sentences."""
        given = self.feed(module, batch)
        if self.kind == "image":
            return given
        return given.logits if self.kind == "language" else given.last_hidden_state

    def runs(self, module: torch.nn.Module) -> Runs:
        """What runs a batch by a module."""
        return lambda batch: self.output(module, batch)

    def attempt(self, options: str, quantized: str, make: Callable[[], Runs]) -> None:
        """A row: quantize by `make`, run the tests, hand back the outputs or the reason why there are none."""
        row = {"options": options, "quantized": quantized}
        start = time.perf_counter()
        try:
            with torch.no_grad():
                run = make()
                row["seconds"] = time.perf_counter() - start
                outputs = {str(i): run(batch).float().contiguous() for i, batch in enumerate(self.tests)}
            row["file"] = str(self.back / f"{self.count}.safetensors")
            save_file(outputs, row["file"])
        except Exception as error:  # whatever a peer raises is its row
            traceback.print_exc()
            row["failed"] = f"{type(error).__name__}: {str(error).strip()[:200] or 'no message'}"
        self.count += 1
        with (self.back / "rows.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
