"""Images that are always there: seeded square crops, at several scales, of photographs inside the scikit-image wheel.

Which photographs serve for calibration and which for tests is our choice. No scene is in both (the two motorcycle
pictures are one scene, seen by two cameras), and both have natural scenes in colour, greys and textures.
"""

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bitwright.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

CALIBRATION_PHOTOGRAPHS = (
    "astronaut.png",
    "coffee.png",
    "motorcycle_left.png",
    "camera.png",
    "ihc.png",
    "motorcycle_right.png",
    "grass.png",
    "coins.png",
    "retina.jpg",
)
TEST_PHOTOGRAPHS = (
    "chelsea.png",
    "rocket.jpg",
    "gravel.png",
    "hubble_deep_field.jpg",
    "clock_motion.png",
    "brick.png",
    "moon.png",
)
LARGE = 1024  # pixels of a side: a larger JPEG is decoded at a half, a quarter or an eighth, no smaller than that
SMALLEST_CROP = 0.4  # of the photograph's shorter side: at least 120 pixels


def photographs(names: tuple[str, ...]) -> list[Path]:
    """The files of `names` inside the installed scikit-image, in that order; it is not imported."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            "images to calibrate on come from the scikit-image package, which is not installed; "
            "install it with: pip install 'bitwright[zoo]'"
        )
    folder = Path(next(iter(spec.submodule_search_locations))) / "data"
    found = [folder / name for name in names if (folder / name).is_file()]
    if not found:
        raise InputError(
            f"the installed scikit-image has none of the photographs {', '.join(names)}; reinstall it: "
            "pip install --force-reinstall scikit-image"
        )
    return found


def crops(files: Sequence[Path], *, count: int, seed: int) -> Iterator["Image"]:
    """`count` square RGB crops, the photographs in `files` taking turns; each half of the time mirrored.

    A crop's side is uniform between `SMALLEST_CROP` and the whole of the photograph's shorter side.
    Crop i depends on `seed` and i only.
    """
    from PIL import Image, ImageOps

    for i in range(count):
        generator = np.random.default_rng([seed, i])
        with Image.open(files[i % len(files)]) as photograph:
            photograph.draft("RGB", (LARGE, LARGE))
            image = photograph.convert("RGB")
        shorter = min(image.size)
        side = round(shorter * generator.uniform(SMALLEST_CROP, 1))
        left, top = (int(generator.integers(extent - side + 1)) for extent in image.size)
        crop = image.crop((left, top, left + side, top + side))
        yield ImageOps.mirror(crop) if generator.random() < 0.5 else crop
