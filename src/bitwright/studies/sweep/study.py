"""A sweep's study: what is varied, how it is searched, and what counts, as read from YAML with every mistake's line.

The schema is in the README. Ranges and lists are axes (`bitwright.studies.sweep.axes`), `when` holds conditions
(`bitwright.studies.sweep.conditions`).
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bitwright import strict_yaml
from bitwright.errors import InputError
from bitwright.networks.catalogue import DISTRIBUTIONS
from bitwright.studies.reader import Reader
from bitwright.studies.setting_files import COMMON, Stated, find_machine, find_substrate, is_file
from bitwright.studies.sweep.axes import Axis, read_axes
from bitwright.studies.sweep.conditions import Condition, read_conditions
from bitwright.studies.sweep.metrics import read_objectives

GRID, RANDOM, NSGA2 = "grid", "random", "nsga2"
POPULATION = 20
MOST_TRIALS = 1_000_000
SUFFIXES = (".yaml", ".yml")  # of workload files


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
    """A network, method or accelerator of the study.

    Attributes
    ----------
    label : str
        What rows call it; the name itself if none is given.
    name : str
        What `load`, `compose` or `build_accelerators` take.
    fixed : mapping
        A network's shape (`batch`, `sequence_length`, ...), a method's options, an accelerator's parameters.
    stated : mapping
        The parameters that an accelerator's file states; `fixed` and what is varied go before them.
    """

    label: str
    name: str
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    stated: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def values(self) -> dict[str, Any]:
        """What it has where nothing is varied."""
        return {**self.stated, **self.fixed}

    def machine(self) -> Stated:
        """An accelerator as `build_accelerators` takes it."""
        return Stated(name=self.name, base=self.name, values=self.stated)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Search:
    """How points are chosen.

    Attributes
    ----------
    kind : str
        `grid`: all of them; `random`: distinct ones by chance; `nsga2`: Optuna's NSGA-II.
    trials : int or None
        How many; None for a grid.
    population : int
        Of NSGA-II: so many trials are evaluated before the next ones are chosen.
    """

    kind: str = GRID
    trials: int | None = None
    population: int = POPULATION


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """Everything that decides a sweep's results.

    Attributes
    ----------
    name : str
        In the store.
    networks, methods, accelerators : mapping
        Label -> variant.
    substrate : Stated
        `common`, `native`, or what its file says.
    options, parameters : tuple of Axis
        Of methods and of accelerators.
    when : tuple of Condition
        All must hold.
    search : Search
        How points are chosen.
    objectives : mapping
        Column -> `minimise` or `maximise`.
    judged : mapping
        `task`, `data`, `limit`, `exact`, `calibration`, `batch_size`: how networks with weights are judged.
    seed : int
        Of samples, of synthetic operands and of the search.
    folder : str
        What relative paths in it are relative to: the folder of its file.
    """

    name: str
    networks: Mapping[str, Variant]
    methods: Mapping[str, Variant]
    accelerators: Mapping[str, Variant]
    substrate: Stated = dataclasses.field(default_factory=lambda: find_substrate(COMMON))
    options: tuple[Axis, ...] = ()
    parameters: tuple[Axis, ...] = ()
    when: tuple[Condition, ...] = ()
    search: Search = Search()
    objectives: Mapping[str, str] = dataclasses.field(default_factory=dict)
    judged: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seed: int = 0
    folder: str = ""

    def located(self, path: str) -> str:
        """A path of the study as this computer finds it."""
        return str(Path(self.folder, path).absolute())

    def model(self, label: str) -> str:
        """What `load` takes for a network: files and folders are looked for beside the study."""
        name = self.networks[label].name
        there = Path(self.folder, name)
        return self.located(name) if name.endswith(SUFFIXES) or there.is_dir() else name

    def identity(self) -> dict[str, Any]:
        """What must be the same for a store to be continued, as JSON holds it; more trials may be asked for."""

        def variants(given: Mapping[str, Variant]) -> dict[str, Any]:
            return {label: {"name": each.name, **each.values} for label, each in given.items()}

        return {
            "networks": variants(self.networks),
            "methods": variants(self.methods),
            "accelerators": variants(self.accelerators),
            "substrate": self.substrate.record(),
            "options": {axis.key: axis.record() for axis in self.options},
            "parameters": {axis.key: axis.record() for axis in self.parameters},
            "when": [condition.text for condition in self.when],
            "search": {"kind": self.search.kind, "population": self.search.population},
            "objectives": dict(self.objectives),
            "judged": dict(self.judged),
            "seed": self.seed,
        }


NETWORK_KEYS = ("batch", "sequence_length", "image_size", "phase", "weights", "distribution")
JUDGED_KEYS = ("task", "data", "limit", "exact", "calibration", "batch_size")
KEYS = (
    "name",
    "networks",
    "methods",
    "accelerators",
    "substrate",
    "options",
    "parameters",
    "when",
    "search",
    "objectives",
    *JUDGED_KEYS,
    "seed",
)


def read_study(source: str | Path | Mapping[str, Any], *, seed: int | None = None) -> Study:
    """The study in a YAML file, or in a mapping of the same form; `seed` goes before the study's own.

    Raises
    ------
    InputError
        One sentence with file and line: a key that is unknown, missing or given twice, a value that is refused, or keys
        that contradict each other.
    """
    if isinstance(source, Mapping):
        document = strict_yaml.Document(data=dict(source), file="the study", lines={})
        default_name, folder = "sweep", Path()
    else:
        document = strict_yaml.read(source, what="study")
        default_name, folder = Path(source).stem, Path(source).parent
    reader = Reader(document)
    data = reader.mapping((), document.data, KEYS, what="a study")
    for key in ("networks", "methods", "accelerators"):
        if key not in data:
            raise reader.error((), f"key {key!r} is missing; a study names {key}")
    networks = _variants(reader, "networks", data["networks"], "model", NETWORK_KEYS)
    methods = _variants(reader, "methods", data["methods"], "method", None)
    accelerators = _machines(
        reader, _variants(reader, "accelerators", data["accelerators"], "accelerator", None), folder
    )
    search = _search(reader, data.get("search", GRID))
    options = read_axes(reader, "options", data.get("options", {}), methods, search.kind == GRID)
    parameters = read_axes(reader, "parameters", data.get("parameters", {}), accelerators, search.kind == GRID)
    study = Study(
        name=reader.text(("name",), data.get("name", default_name)),
        networks=networks,
        methods=methods,
        accelerators=accelerators,
        substrate=_substrate(reader, data.get("substrate", COMMON), folder),
        options=options,
        parameters=parameters,
        search=search,
        objectives=read_objectives(reader, data.get("objectives")),
        judged=_judged(reader, data, folder),
        seed=reader.integer(("seed",), data.get("seed", 0), 0) if seed is None else seed,
        folder=str(folder.absolute()),
    )
    return dataclasses.replace(study, when=read_conditions(reader, data.get("when", []), study))


def _variants(reader: Reader, key: str, given: Any, what: str, allowed: tuple[str, ...] | None) -> dict[str, Variant]:
    """The networks, methods or accelerators: names, or mappings with a name and what is fixed for it."""
    found: dict[str, Variant] = {}
    for i, entry in enumerate(reader.items((key,), given)):
        place = (key, i) if isinstance(given, list) else (key,)
        if isinstance(entry, Mapping):
            inner = (what, "label", *(allowed or ("set",)))
            data = reader.mapping(place, entry, inner, what=f"an entry of {key}")
            name = reader.text((*place, what), reader.required(place, data, what))
            label = reader.text((*place, "label"), data.get("label", name))
            if allowed is None:
                fixed = reader.scalars((*place, "set"), data.get("set", {}))
            else:
                fixed = _network(reader, place, {k: v for k, v in data.items() if k in allowed})
        else:
            name = label = reader.text(place, entry)
            fixed = {}
        if label in found:
            raise reader.error(place, f"{what} {label!r} is given twice; remove one, or give one a label of its own")
        found[label] = Variant(label=label, name=name, fixed=fixed)
    if not found:
        raise reader.error((key,), f"{key} is empty; name at least one {what}")
    return found


def _machines(reader: Reader, given: Mapping[str, Variant], folder: Path) -> dict[str, Variant]:
    """The accelerators, those that are files with what these state; the files lie beside the study."""
    found: dict[str, Variant] = {}
    for i, variant in enumerate(given.values()):
        if is_file(variant.name):
            machine = find_machine(str(Path(folder, variant.name).absolute()))
            label = machine.name if variant.label == variant.name else variant.label
            variant = dataclasses.replace(variant, label=label, name=machine.base, stated=machine.values)  # noqa: PLW2901
        if variant.label in found:
            raise reader.error(
                ("accelerators", i), f"two accelerators are called {variant.label!r}; give one a label of its own"
            )
        found[variant.label] = variant
    return found


def _substrate(reader: Reader, given: Any, folder: Path) -> Stated:
    name = reader.text(("substrate",), given)
    try:
        return find_substrate(str(Path(folder, name).absolute()) if is_file(name) else name)
    except InputError as error:
        raise error if is_file(name) else reader.error(("substrate",), str(error)) from None


def _network(reader: Reader, place: strict_yaml.Place, given: Mapping[str, Any]) -> dict[str, Any]:
    for key in ("batch", "sequence_length", "image_size"):
        if key in given:
            reader.integer((*place, key), given[key], 1)
    if "phase" in given:
        reader.choice((*place, "phase"), given["phase"], ("prefill", "decode"))
    if "distribution" in given:
        reader.choice((*place, "distribution"), given["distribution"], tuple(DISTRIBUTIONS))
    if "weights" in given:
        reader.text((*place, "weights"), given["weights"])
    return dict(given)


def _search(reader: Reader, given: Any) -> Search:
    if isinstance(given, str):
        given = {"kind": given}
    data = reader.mapping(("search",), given, ("kind", "trials", "population"), what="search")
    kind = reader.choice(("search", "kind"), data.get("kind", GRID), (GRID, RANDOM, NSGA2))
    if kind == GRID and "trials" in data:
        raise reader.error(("search", "trials"), "a grid has all its points; leave trials out, or search at random")
    if kind != NSGA2 and "population" in data:
        raise reader.error(("search", "population"), f"{kind} has no population; only {NSGA2} has")
    if kind == GRID:
        return Search()
    trials = reader.integer(("search", "trials"), reader.required(("search",), data, "trials"), 1, MOST_TRIALS)
    population = reader.integer(("search", "population"), data.get("population", POPULATION), 2, MOST_TRIALS)
    return Search(kind=kind, trials=trials, population=population)


def _judged(reader: Reader, data: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    judged: dict[str, Any] = {}
    for key in ("task", "data"):
        if data.get(key) is not None:
            judged[key] = reader.text((key,), data[key])
    for key in ("limit", "calibration", "batch_size"):
        if data.get(key) is not None:
            judged[key] = reader.integer((key,), data[key], 1)
    if "exact" in data:
        if not isinstance(data["exact"], bool):
            raise reader.error(("exact",), f"exact is {data['exact']!r}; it is true or false")
        judged["exact"] = data["exact"]
    if "data" in judged and not Path(folder, judged["data"]).exists():
        raise InputError(f"{reader.where(('data',))}: there is no {judged['data']}")
    return judged
