"""From a picture to what an image network reads: resized, centre crop, (pixel - mean) / deviation.

A picture that already has the network's size is neither resized nor cropped. Any other is resized (bicubic) so that
its shorter side is 32 pixels longer than the crop, as EfficientNet's own evaluation does: the usual 256 for 224 px.
A user says otherwise for a network of one's own (`preprocess_of`).
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from bitwright.errors import InputError, unknown_name

CROP_MARGIN = 32
PIXELS = 255.0  # the largest value of a pixel
IMAGENET_MEAN = (123.675, 116.28, 103.53)  # 255 * (0.485, 0.456, 0.406), torchvision's and the papers' of its networks
IMAGENET_DEVIATION = (58.395, 57.12, 57.375)  # 255 * (0.229, 0.224, 0.225)
MODES = {3: "RGB", 1: "L"}  # of PIL, by channels
FILTERS = {each.name.lower(): each for each in Image.Resampling}
NEEDED = ("size", "mean", "std")
KEYS = (*NEEDED, "scale", "resize", "crop", "interpolation", "channels")
EXAMPLE = "size=224,mean=0.485/0.456/0.406,std=0.229/0.224/0.225,scale=1"

PictureReader = Callable[[Image.Image], torch.Tensor]
"""A PIL image -> one sample of a network's input, without a batch axis."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preprocess:
    """Turns a PIL image into a float32 tensor [channels, image_size, image_size].

    Attributes
    ----------
    image_size : int
        Height and width, in pixels.
    mean, deviation : tuples of float
        Per channel (red, green, blue; or grey alone), in units of 8-bit pixel values.
    resize : int or None
        The shorter side before the crop, in pixels, for pictures of every size; None is 32 more than `image_size`, and
        nothing for a picture that has the network's size.
    crop : bool
        Whether the centre is cut out; else the whole picture is resized to a square, whatever its proportions.
    interpolation : PIL.Image.Resampling
        Of resizing.
    """

    image_size: int
    mean: tuple[float, ...] = IMAGENET_MEAN
    deviation: tuple[float, ...] = IMAGENET_DEVIATION
    resize: int | None = None
    crop: bool = True
    interpolation: Image.Resampling = Image.Resampling.BICUBIC

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """The tensor of one picture of any size and mode."""
        converted = image.convert(MODES[len(self.mean)])
        pixels = torch.from_numpy(np.array(self._cropped(converted), dtype=np.float32))
        pixels = pixels.reshape(*pixels.shape[:2], len(self.mean))
        return ((pixels - torch.tensor(self.mean)) / torch.tensor(self.deviation)).permute(2, 0, 1).contiguous()

    def _cropped(self, image: Image.Image) -> Image.Image:
        size = self.image_size
        if not self.crop:
            return image.resize((size, size), self.interpolation)
        if image.size == (size, size) and self.resize is None:
            return image
        scale = (self.resize or size + CROP_MARGIN) / min(image.size)
        width, height = (max(size, round(side * scale)) for side in image.size)
        left, top = (width - size) // 2, (height - size) // 2
        resized = image.resize((width, height), self.interpolation)
        return resized.crop((left, top, left + size, top + size))


def preprocess_of(given: Any) -> PictureReader:
    """What turns pictures into samples: a callable as it is, or a `Preprocess` from a specification.

    Parameters
    ----------
    given : callable, mapping or str
        A specification has `size`, `mean` and `std` (a number, or one per channel: a sequence, or `a/b/c`), and may
        have `scale` (255: they are of pixels from 0 to 255; 1: of pixels from 0 to 1), `resize` (the shorter side
        before the crop, in pixels), `crop` (`center` or `none`), `interpolation` (`bicubic`, `bilinear`, ...) and
        `channels` (3 or 1). As text it is `key=value,key=value`.

    Raises
    ------
    InputError
        Anything else, an unknown key, a key that is missing, or a value that makes no sense.

    Examples
    --------
    >>> preprocess_of("size=240,mean=127,std=128").deviation
    (128.0, 128.0, 128.0)
    >>> preprocess_of({"size": 224, "mean": (0.5, 0.5, 0.5), "std": 0.5, "scale": 1}).mean
    (127.5, 127.5, 127.5)
    """
    if isinstance(given, str):
        given = _pairs(given)
    if isinstance(given, Mapping):
        return _specified(given)
    if not callable(given):
        raise InputError(
            f"preprocess is a {type(given).__name__}; a callable (PIL image -> tensor) or a specification such as "
            f"{EXAMPLE} is expected"
        )
    return given


def _pairs(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = (each.strip() for each in part.partition("="))
        if not (key and equals and value):
            raise InputError(f"preprocess {text!r} is not understood at {part!r}; write key=value, such as {EXAMPLE}")
        if key in found:
            raise InputError(f"preprocess {text!r} has {key} twice; give it once")
        found[key] = value
    return found


def _specified(given: Mapping[str, Any]) -> Preprocess:
    for key in given:
        if key not in KEYS:
            raise unknown_name("key of preprocess", str(key), KEYS)
    missing = [key for key in NEEDED if key not in given]
    if missing:
        raise InputError(f"preprocess lacks {' and '.join(missing)}; give size, mean and std, such as {EXAMPLE}")
    size, channels = _whole("size", given["size"]), _whole("channels", given.get("channels", 3))
    resize = _whole("resize", given["resize"]) if "resize" in given else None
    crop = str(given.get("crop", "center"))
    if channels not in MODES:
        raise InputError(f"preprocess: channels is {channels}; 3 (red, green, blue) or 1 (grey) is expected")
    if crop not in ("center", "none"):
        raise InputError(f"preprocess: crop is {crop!r}; center (cut out) or none (the whole picture) is expected")
    if resize is not None and (resize < size or crop == "none"):
        why = "without a crop pictures are resized to size" if crop == "none" else f"size is {size}"
        raise InputError(f"preprocess: resize is {resize}, but {why}; leave it out, or give one of at least the size")
    name = str(given.get("interpolation", "bicubic"))
    if name not in FILTERS:
        raise unknown_name("interpolation of preprocess", name, FILTERS)
    mean, deviation = _normalisation(given, channels)
    return Preprocess(
        image_size=size,
        mean=mean,
        deviation=deviation,
        resize=resize,
        crop=crop == "center",
        interpolation=FILTERS[name],
    )


def _normalisation(given: Mapping[str, Any], channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation per channel in units of 8-bit pixel values; those that were given are never guessed."""
    scale = _numbers("scale", given.get("scale", PIXELS), 1)[0]
    if scale not in (1.0, PIXELS):
        raise InputError(f"preprocess: scale is {scale:g}; 255 (pixels from 0 to 255) or 1 (from 0 to 1) is expected")
    mean, deviation = (_numbers(key, given[key], channels) for key in ("mean", "std"))
    if min(deviation) <= 0:
        raise InputError(
            f"preprocess: std is {min(deviation):g}; a number above 0 is expected, pixels are divided by it"
        )
    if min(deviation) < 1 and "scale" not in given:
        raise InputError(
            f"preprocess: std is {min(deviation):g} without a scale; add scale=1 if mean and std are of pixels from 0 "
            "to 1, or scale=255 if they are of pixels from 0 to 255"
        )
    return tuple(PIXELS / scale * each for each in mean), tuple(PIXELS / scale * each for each in deviation)


def _whole(key: str, value: Any) -> int:
    """A whole number above 0."""
    number = _numbers(key, value, 1)[0]
    if number != int(number) or number < 1:
        raise InputError(f"preprocess: {key} is {value!r}; a whole number above 0 is expected")
    return int(number)


def _numbers(key: str, value: Any, count: int) -> tuple[float, ...]:
    """`count` finite numbers; one alone stands for all."""
    parts = value.split("/") if isinstance(value, str) else value if isinstance(value, Sequence) else [value]
    try:
        found = tuple(float(part) for part in parts)
    except (TypeError, ValueError):
        found = ()
    if not all(map(math.isfinite, found)) or len(found) not in (1, count):
        wanted = "a number" if count == 1 else f"a number, or {count} of them (a/b/c)"
        raise InputError(f"preprocess: {key} is {value!r}; {wanted} is expected")
    return found * count if len(found) == 1 else found
