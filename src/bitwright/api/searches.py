"""What makes better plans than calibration: a search of formats, and training with quantization in the loop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bitwright.api.networks import kept, named
from bitwright.errors import InputError
from bitwright.files import check_file
from bitwright.later import torch
from bitwright.methods.lpq.search.settings import search_settings
from bitwright.methods.training.settings import training_settings
from bitwright.networks.network import Network
from bitwright.studies.search import SEARCHED, Search, search_network
from bitwright.studies.training import Training, train_network
from bitwright.tasks.evaluate import Progress, silent

TRAINED = "int8+apsq"
"""The method that is trained where none is named."""
MINUTES = 55.0
TRAINING_MINUTES = 28.0


def search(
    network: Network | str | torch.nn.Module,
    method: str = SEARCHED,
    *,
    objective: str = "global-local",
    widths: str = "free",
    mean_bits: float | None = None,
    settings: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    calibration_count: int | None = None,
    log: str | Path | None = None,
    resume: bool = False,
    workers: int = 1,
    minutes: float = MINUTES,
    seed: int = 0,
    progress: Progress = silent,
) -> Search:
    """Search each layer's format on unlabelled samples; `.plan` works wherever plans do.

    Workers are processes: in a script, call this under `if __name__ == "__main__":`.

    Parameters
    ----------
    network : Network, str or torch.nn.Module
        With numbers.
    method : str
        `lpq`, the one that has a search.
    objective : str
        global-local, global, mse or kl.
    widths : str
        `free`: 2 to 8 bits; `hardware`: 2, 4 and 8.
    mean_bits : float or None
        Largest mean width of the weights, in bits.
    settings : mapping or None
        population, passes, cycles, random_parents, temperature, compression, floor, sf_step, refit, profile.
    options : mapping or None
        Of the method.
    calibration_count : int or None
        Samples that candidates are judged on.
    log : path or None
        Every judged candidate is kept there.
    resume : bool
        Go on from the log, which has to be there; without it, the same search goes on from a log that is there.
    workers : int
        Processes of this computer.
    minutes : float
        Stop after so many.
    seed : int
        Of everything random.

    Raises
    ------
    InputError
        Anything given that cannot be used, before anything is judged.

    Examples
    --------
    >>> import torch
    >>> layer = torch.nn.Linear(8, 4)
    >>> layer.example_inputs = torch.rand(2, 8)
    >>> brief = {"population": 2, "passes": 1, "cycles": 1, "random_parents": 1, "profile": False}
    >>> found = search(layer, mean_bits=4, objective="mse", settings=brief, calibration_count=2)
    >>> found.mean_bits <= 4, found.plan.site("linear").quantized
    (True, True)
    """
    file = None if log is None else Path(log)
    check_kept(file, resume=resume, what="log")
    if resume and file is not None and not file.exists():
        raise InputError(f"there is no search log {file} to resume; leave --resume out")
    own: dict[str, Any] = {"objective": objective, "widths": widths, "mean_bits": mean_bits, "seed": seed}
    for key in settings or {}:
        if key in own:
            raise InputError(f"settings (--set) has {key}, which has an option of its own: --{key.replace('_', '-')}")
    chosen = search_settings(own | dict(settings or {}))
    return search_network(
        named(network),
        method,
        chosen,
        options=options,
        calibration_count=calibration_count,
        log=file,
        resume=resume,
        workers=workers,
        minutes=minutes,
        progress=progress,
    )


def train(
    network: Network | str | torch.nn.Module,
    method: str | None = None,
    *,
    steps: int = 1000,
    minutes: float = TRAINING_MINUTES,
    learning_rate: float | None = None,
    scale_rate: float | None = None,
    features: float | None = None,
    averaging: int | None = None,
    every: int = 50,
    patience: int = 8,
    options: Mapping[str, Any] | None = None,
    samples: Iterable[Any] | Path | None = None,
    calibration_count: int | None = None,
    batch_size: int | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    seed: int = 0,
    progress: Progress = silent,
) -> Training:
    """Train with quantization in the loop, on unlabelled samples, from the float network; `.plan` is the best one seen.

    Parameters
    ----------
    network : Network, str or torch.nn.Module
        With numbers; it stays as it is.
    method : str or None
        None is int8+apsq, and what the checkpoint has where training is resumed.
    steps : int
        Batches to learn from.
    minutes : float
        Stop after so many.
    learning_rate, scale_rate : float or None
        Of weights, in units of each row's root mean square, and of the logarithms of scales; None: the settings'.
    features : float or None
        Weight of the blocks' outputs in the loss; of the sites' where the network is no chain of blocks.
    averaging : int or None
        Steps that the moving average of weights and scales reaches back, which is judged too; 0: none.
    every, patience : int
        Steps between looks at held-out samples, and looks without improvement before an early stop.
    options, calibration_count
        Of the method, and how many samples it is calibrated on.
    samples : iterable of batches, path, str or None
        To calibrate on and learn from, as in `calibrate`; a fifth of the batches is held out. None is default samples.
    batch_size : int or None
        Samples in a batch.
    checkpoint : path or None
        Where all state is kept at every look.
    resume : bool
        Go on from the checkpoint, which has to be there; without it, the same training goes on from one that is there.
    seed : int
        Of the samples.

    Raises
    ------
    InputError
        Anything given that cannot be used, or a method whose scales cannot be learned.

    Examples
    --------
    >>> import torch
    >>> layer = torch.nn.Linear(8, 4)
    >>> layer.example_inputs = torch.rand(2, 8)
    >>> found = train(layer, "int8", steps=4, every=2, options={"smoothing": "none"})
    >>> found.frame()["step"].tolist()
    [0, 2, 4]
    """
    file = None if checkpoint is None else Path(checkpoint)
    check_kept(file, resume=resume, what="checkpoint")
    rates = {"learning_rate": learning_rate, "scale_rate": scale_rate, "features": features, "averaging": averaging}
    given: dict[str, Any] = {"steps": steps, "minutes": minutes, "every": every, "patience": patience, "seed": seed}
    settings = training_settings(given | {name: value for name, value in rates.items() if value is not None})
    samples = kept(samples)
    return train_network(
        named(network, samples),
        method if resume else method or TRAINED,
        settings,
        options=options,
        given=samples,
        calibration_count=calibration_count,
        batch_size=batch_size,
        checkpoint=file,
        resume=resume,
        progress=progress,
    )


def check_kept(file: Path | None, *, resume: bool, what: str) -> None:
    """Refuse a file that cannot be kept, and resuming from none, before anything runs."""
    if resume and file is None:
        raise InputError(f"--resume continues from a {what}; name it with --{what} FILE")
    check_file(file)
