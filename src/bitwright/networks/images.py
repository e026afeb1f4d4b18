"""From a picture to what an image network reads: shorter side resized, centre crop, (pixel - mean) / deviation.

A picture that already has the network's size is neither resized nor cropped. Any other is resized (bicubic) so that
its shorter side is 32 pixels longer than the crop, as EfficientNet's own evaluation does: the usual 256 for 224 px.
"""

import dataclasses

import numpy as np
import torch
from PIL import Image

CROP_MARGIN = 32
IMAGENET_MEAN = (123.675, 116.28, 103.53)  # 255 * (0.485, 0.456, 0.406), torchvision's and the papers' of its networks
IMAGENET_DEVIATION = (58.395, 57.12, 57.375)  # 255 * (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preprocess:
    """Turns a PIL image into a float32 tensor [3, image_size, image_size].

    Attributes
    ----------
    image_size : int
        Height and width, in pixels.
    mean, deviation : triples of float
        Per colour (red, green, blue), in units of 8-bit pixel values.
    """

    image_size: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    deviation: tuple[float, float, float] = IMAGENET_DEVIATION

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """The tensor of one picture of any size and mode."""
        pixels = torch.from_numpy(np.array(self._cropped(image.convert("RGB")), dtype=np.float32))
        return ((pixels - torch.tensor(self.mean)) / torch.tensor(self.deviation)).permute(2, 0, 1).contiguous()

    def _cropped(self, image: Image.Image) -> Image.Image:
        size = self.image_size
        if image.size == (size, size):
            return image
        scale = (size + CROP_MARGIN) / min(image.size)
        width, height = (max(size, round(side * scale)) for side in image.size)
        left, top = (width - size) // 2, (height - size) // 2
        resized = image.resize((width, height), Image.Resampling.BICUBIC)
        return resized.crop((left, top, left + size, top + size))
