"""Which form of shapes a file has, by what is in it: its name says nothing."""

from pathlib import Path
from typing import Any

from bitwright import strict_yaml
from bitwright.errors import InputError
from bitwright.networks import workload
from bitwright.networks.network import Network
from bitwright.networks.shape_files import tables, timeloop, zigzag
from bitwright.networks.shape_files.layers import brief

FORMS = (
    "a list of layers with loop_dims (a ZigZag workload), a mapping with the key 'problem' (a Timeloop problem), a "
    "SCALE-Sim topology, or a table of GEMMs (name,M,K,N)"
)
WHAT = "workload"
MOST_PROBLEMS = 10_000


def build(path: str) -> Network:
    """The network of a file of shapes.

    Raises
    ------
    InputError
        It cannot be read, is of no form that is known, or has a mistake, which is told with its line.
    """
    text = strict_yaml.read_text(path, what=WHAT)
    network = tables.build(text, path)
    if network is None:
        document = _document(text, path)
        network = _of_document(document, path)
        if network is None:
            raise InputError(
                f"{path} is not a workload: a mapping with the key 'layers' is expected, or {FORMS}; "
                f"it is {_kind(document.data, text)}."
            )
    return network


def is_problem_folder(folder: Path) -> bool:
    """Whether a folder has YAML files, and nothing that transformers saved."""
    return not (folder / "config.json").exists() and any(_files(folder))


def build_folder(folder: str) -> Network:
    """The network of a folder of Timeloop problems, one layer in each YAML file, in the order of their names.

    Raises
    ------
    InputError
        As `build`; a file is something else.
    """
    files = _files(Path(folder))
    if len(files) > MOST_PROBLEMS:
        raise InputError(
            f"folder {folder!r} has {len(files):,} files; at most {MOST_PROBLEMS:,} problems are a network."
        )
    problems = []
    for file in files:
        document = _document(strict_yaml.read_text(file, what="problem"), str(file))
        if not timeloop.is_problem(document.data):
            raise InputError(
                f"{file} is no Timeloop problem (a mapping with the key 'problem'); take it out of {folder}."
            )
        problems.append((file, document))
    return timeloop.build_folder(problems, folder)


def _files(folder: Path) -> list[Path]:
    return sorted(each for each in folder.iterdir() if each.suffix in workload.SUFFIXES and each.is_file())


def _document(text: str, path: str) -> strict_yaml.Document:
    if timeloop.is_templated(text):
        return timeloop.parse_templated(text, path)
    return strict_yaml.parse(text, file=path)


def _of_document(document: strict_yaml.Document, path: str) -> Network | None:
    data = document.data
    if timeloop.is_problem(data):
        return timeloop.build(document, path)
    if zigzag.is_workload(data):
        return zigzag.build(document, path)
    if isinstance(data, dict):
        return workload.build(document, path)
    return None


def _kind(data: Any, text: str) -> str:
    if isinstance(data, list):
        return "a list of something else"
    return brief(text.strip()) if text.strip() else "an empty file"
