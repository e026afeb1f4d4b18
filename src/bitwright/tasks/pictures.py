"""Picture files of the user's: which of a folder's are meant, and their pixels, or a sentence that says what is wrong.

Files are strangers': only what is a regular file is opened, only formats of photographs are decoded, and one that would
unfold to more pixels than Pillow allows is refused, and one so narrow that it would once its short side is resized.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from bitwright.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
FORMATS = ("JPEG", "PNG")
NARROWEST = 32
"""Times that one side may be as long as the other: the short one becomes as long as a network's input (our choice)."""


def picture_files(folder: Path) -> list[Path]:
    """The .jpg and .png files in the folder itself, sorted by name; hidden ones are left out.

    Raises
    ------
    InputError
        Where it has none, or cannot be listed.
    """
    try:
        every = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder} cannot be listed ({error}); give a folder of .jpg or .png images") from error
    found = [path for path in every if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")]
    if not found:
        raise InputError(f"there are no .jpg or .png images in {folder}; give a folder that has them in itself")
    return found


def open_picture(path: Path) -> "Image":
    """The picture in a file, its header read and its pixels not yet."""
    from PIL import Image

    if not path.is_file():
        raise InputError(f"{path} is no regular file; replace or remove it")
    try:
        picture = Image.open(path, formats=FORMATS)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be read as a JPEG or PNG image ({error}); replace or remove it") from error
    if max(picture.size) > NARROWEST * min(picture.size):
        width, height = picture.size
        picture.close()
        raise InputError(
            f"{path} has {width:,} x {height:,} pixels, and one side may be {NARROWEST} times as long as the other at "
            "most; crop or remove it"
        )
    return picture


def pixels_of(path: Path) -> "Image":
    """The picture in a file, in red, green and blue."""
    with open_picture(path) as image:
        try:
            return image.convert("RGB")
        except (OSError, SyntaxError, ValueError) as error:
            raise InputError(f"{path} is damaged ({error}); replace or remove it") from error
