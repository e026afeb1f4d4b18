"""Where calibration images come from: photographs in packages that a user can install by name, and images made.

The default is scikit-image alone, which the zoo's extra installs, so that plans of two computers agree; every other
source is used where it is named, never because it happens to be installed. What is not installed is refused, never
downloaded. Which photographs of a package serve is our choice: scenes, animals and things; no drawings and no patterns,
and no scene of the test part (`photographs.TEST_PHOTOGRAPHS`), which is scikit-image's on every computer.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bitwright.errors import InputError, unknown_name
from bitwright.later import later
from bitwright.networks.network import Batch, Network
from bitwright.tasks.inputs import image_inputs
from bitwright.tasks.photographs import CALIBRATION_PHOTOGRAPHS, crops
from bitwright.words import counted

if TYPE_CHECKING:
    from bitwright.tasks import distilled_images
else:
    distilled_images = later("bitwright.tasks.distilled_images")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """Photographs of one package.

    Attributes
    ----------
    install : str
        The command that installs it.
    licence : str
        Of the photographs.
    folder : str
        Of the files: inside `module`, or of the system.
    module : str
        A Python package that holds the folder, which is looked up and not imported; empty: none.
    files : tuple of str
        The photographs.
    """

    install: str
    licence: str
    folder: str
    files: tuple[str, ...]
    module: str = ""

    def found(self) -> list[Path]:
        """The files that are there."""
        folder = Path(self.folder)
        if self.module:
            spec = importlib.util.find_spec(self.module)
            if spec is None or not spec.submodule_search_locations:
                return []
            folder = Path(next(iter(spec.submodule_search_locations))) / folder
        return [folder / name for name in self.files if (folder / name).is_file()]


PHOTOGRAPHS = "scikit-image"
BATCH_NORM = "batch-norm"
DEFAULT = (PHOTOGRAPHS,)
SOURCES = {
    PHOTOGRAPHS: Source(
        install="pip install 'bitwright[zoo]'",
        licence="public domain, CC0 or BSD, as skimage/data/README.txt says",
        module="skimage",
        folder="data",
        files=CALIBRATION_PHOTOGRAPHS,
    ),
    "scikit-learn": Source(
        install="pip install scikit-learn",
        licence="CC BY",
        module="sklearn",
        folder="datasets/images",
        files=("china.jpg", "flower.jpg"),
    ),
    "lomiri-wallpapers-16.04": Source(
        install="apt-get install lomiri-wallpapers-16.04",
        licence="CC BY 4.0, CC BY-SA 4.0, CC0",
        folder="/usr/share/backgrounds",
        files=(
            "Bridge_by_Sander_Klootwijk.jpg",
            "Dragonfly_by_Bolly.jpg",
            "Picture_0B_by_freespace.jpg",
            "Picture_1A_by_freespace.jpg",
            "Wine_by_Jakkub_Mede.jpg",
            "aitzgorri_by_Aitzol_Berasategi.jpg",
            "free_by_Peter_Nerlich.jpg",
            "friends_by_Aitzol_Berasategi.jpg",
            "greentock_by_Peter_Nerlich.jpg",
            "life_by_Aitzol_Berasategi.jpg",
            "picosdeeuropa_by_Aitzol_Berasategi.jpg",
            "seeding_by_Clements_Engelhardt.jpg",
            "sunset_by_Aitzol_Berasategi.jpg",
        ),
    ),
    "mate-backgrounds": Source(
        install="apt-get install mate-backgrounds",
        licence="GPL-2+",
        folder="/usr/share/backgrounds/mate/nature",
        files=(
            "Aqua.jpg",
            "Blinds.jpg",
            "Dune.jpg",
            "FreshFlower.jpg",
            "Garden.jpg",
            "GreenMeadow.jpg",
            "LadyBird.jpg",
            "RainDrops.jpg",
            "Storm.jpg",
            "TwoWings.jpg",
            "Wood.jpg",
            "YellowFlower.jpg",
        ),
    ),
    "opencv-doc": Source(
        install="apt-get install opencv-doc",  # slim images of Debian leave /usr/share/doc out
        licence="Apache-2.0, BSD-3-Clause",
        folder="/usr/share/doc/opencv-doc/examples/data",
        files=(
            "fruits.jpg",
            "home.jpg",
            "butterfly.jpg",
            "building.jpg",
            "baboon.jpg",
            "board.jpg",
            "squirrel_cls.jpg",
            "leuvenA.jpg",
            "aloeL.jpg",
            "apple.jpg",
            "rubberwhale1.png",
            "licenseplate_motion.jpg",
            "aero1.jpg",
            "ela_original.jpg",
            "orange.jpg",
            "stuff.jpg",
            "chicky_512.png",
            "smarties.png",
        ),
    ),
}
NAMES = (*SOURCES, BATCH_NORM)


def parse_sources(text: str) -> tuple[str, ...]:
    """The sources named in `a,b`, each of which is there.

    Raises
    ------
    InputError
        An unknown name, and a package that is not installed.

    Examples
    --------
    >>> parse_sources("batch-norm")
    ('batch-norm',)
    """
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in names:
        if name not in NAMES:
            raise unknown_name("source of calibration images", name, NAMES)
        if name != BATCH_NORM:
            _there(name)
    return names


def are_sources(text: str) -> bool:
    """Whether `text` names sources, and no file: one is enough, so that a misspelt other is told of."""
    return any(part.strip() in NAMES for part in text.split(","))


def _there(name: str) -> list[Path]:
    found = SOURCES[name].found()
    if not found:
        raise InputError(f"the photographs of {name} are not installed; install them with: {SOURCES[name].install}")
    return found


def files_of(names: tuple[str, ...]) -> list[Path]:
    """The photographs of the sources, which take turns."""
    each = [_there(name) for name in names if name != BATCH_NORM]
    return [file for turn in itertools.zip_longest(*each) for file in turn if file is not None]


def parts(names: tuple[str, ...], count: int) -> tuple[int, int]:
    """How many of `count` images are photographs, and how many are made: halves, where both are asked for."""
    made = 0 if BATCH_NORM not in names else count if len(names) == 1 else count // 2
    return count - made, made


def image_batches(network: Network, names: tuple[str, ...], *, count: int, seed: int, size: int) -> Iterator[Batch]:
    """`count` images of the sources, `size` at once: crops of photographs, then those that are made."""
    taken, made = parts(names, count)
    if made:  # the last batches judge what others chose: photographs, where there are any
        yield from distilled_images.distilled_images(network, count=made, seed=seed, batch_size=size)
    if taken:
        yield from crop_batches(network, files_of(names), count=taken, seed=seed, size=size)


def crop_batches(network: Network, files: Sequence[Path], *, count: int, seed: int, size: int) -> Iterator[Batch]:
    """`count` random crops of photographs, `size` at once."""
    images = crops(files, count=count, seed=seed)
    for start in range(0, count, size):
        yield image_inputs(network, [next(images) for _ in range(min(size, count - start))])


def described(names: tuple[str, ...], *, count: int, seed: int) -> str:
    """Which images `image_batches` makes, in one phrase."""
    taken, made = parts(names, count)
    said = []
    if taken and names == DEFAULT:
        stems = [path.stem for path in files_of(names)][:taken]
        said.append(
            f"{counted(taken, 'random crop')} (seed {seed}) of photographs in {PHOTOGRAPHS}: {', '.join(stems)}"
        )
    elif taken:
        packages = ", ".join(f"{name} ({len(_there(name))})" for name in names if name != BATCH_NORM)
        said.append(f"{counted(taken, 'random crop')} (seed {seed}) of the photographs in {packages}")
    if made:
        said.append(f"{counted(made, 'image')} (seed {seed}) made from batch-norm statistics")
    return " and ".join(said)
