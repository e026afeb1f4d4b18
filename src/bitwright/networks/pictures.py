"""Hugging Face image classifiers, and how their pictures are made: by their own processor, or a stated default."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bitwright.errors import InputError
from bitwright.networks.folders import Pretrained
from bitwright.networks.heads import picture_size
from bitwright.networks.images import Preprocess
from bitwright.networks.inputs import ImageExample, output_tensor
from bitwright.networks.network import Batch, InputShape, Network
from bitwright.networks.packages import first_line

IMAGE_PIXELS = 224
WHOLE_RANGE = (127.5, 127.5, 127.5)  # pixels to [-1, 1]: our choice where no processor says otherwise


def image_classifier(found: Pretrained, shape: InputShape) -> Network:
    """The network of a folder or hub id; other sizes than its own are interpolated where the architecture can."""
    from transformers import AutoModelForImageClassification

    auto = AutoModelForImageClassification
    module = found.module(auto.from_pretrained, auto.from_config)
    own = picture_size(module.config)
    processor, notes = _processor(found)
    size = shape.image_size or own or _processed_size(processor) or IMAGE_PIXELS
    if processor is None:
        preprocess: Callable[[Any], torch.Tensor] = Preprocess(image_size=size, mean=WHOLE_RANGE, deviation=WHOLE_RANGE)
    elif size != (_processed_size(processor) or size):
        preprocess, notes = _resized(processor, size)
    else:

        def preprocess(image: Any) -> torch.Tensor:
            return processor(images=image.convert("RGB"), return_tensors="pt")["pixel_values"][0]

    def run(module: torch.nn.Module, batch: Batch) -> torch.Tensor:
        pixels = batch["pixel_values"]
        other_size = own is not None and pixels.shape[-1] != own
        known = inspect.signature(module.forward).parameters
        more = {"interpolate_pos_encoding": True} if other_size and "interpolate_pos_encoding" in known else {}
        return output_tensor(module(pixels, **more))

    example = ImageExample(name=found.name, module=module, image_size=size)
    if size != own:
        _check_size(found, module, run, example)
    return Network(
        name=found.name,
        kind="image",
        module=module,
        run=run,
        example=example,
        default_task="top1",
        tools={"preprocess": preprocess, "image_size": size},
        source=found.source(module),
        notes=(*found.notes, *notes),
    )


def _check_size(
    found: Pretrained, module: torch.nn.Module, run: Callable[[torch.nn.Module, Batch], torch.Tensor], example: Any
) -> None:
    """Refuse a size of pictures that the network was not made for and cannot take."""
    try:
        with torch.no_grad():
            run(module, example(InputShape()))
    except Exception as error:
        raise InputError(
            f"{found.name}: image_size is {example.image_size}, which {type(module).__name__} cannot take "
            f"({first_line(error)}); leave it out for the network's own."
        ) from error


def _processor(found: Pretrained) -> tuple[Any, tuple[str, ...]]:
    """The image processor, or None and a note that says what stands for it."""
    from transformers import AutoImageProcessor

    pretrained: Any = AutoImageProcessor.from_pretrained
    try:
        return pretrained(found.name, **found.options), ()
    except Exception as error:
        missing = Path(found.name).is_dir() and not (Path(found.name) / "preprocessor_config.json").is_file()
        reason = "there is no image processor in the folder" if missing else f"no processor: {first_line(error)}"
        return None, (f"{reason}; pictures are resized, their centre is cropped, and pixels are scaled to -1 ... 1",)


def _resized(processor: Any, size: int) -> tuple[Preprocess, tuple[str, ...]]:
    """The processor's normalisation of pictures of another size than its own."""
    mean, deviation = (getattr(processor, key, None) or [0.5] * 3 for key in ("image_mean", "image_std"))
    note = f"pictures are resized and cropped to {size} pixels, which its image processor is not made for"
    red, green, blue = (255 * value for value in mean)
    scales = [255 * value for value in deviation]
    return (
        Preprocess(image_size=size, mean=(red, green, blue), deviation=(scales[0], scales[1], scales[2])),
        (note,),
    )


def _processed_size(processor: Any) -> int | None:
    """Height and width of the pictures that a processor produces, if it says."""
    for size in (getattr(processor, "crop_size", None), getattr(processor, "size", None)):
        for key in ("height", "shortest_edge"):
            if size and key in size and size[key]:
                return int(size[key])
    return None
