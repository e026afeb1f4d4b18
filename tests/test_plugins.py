"""Plug-ins of other people: whatever is wrong with one costs itself only, and is named with the reason."""

import importlib
import json
import sys
import textwrap

import pytest
import torch
from tests.test_cli import refused, run

import bitwright
from bitwright import registry
from bitwright.methods.plan import Plan
from bitwright.methods.protocol import compose, method_names

METHODS, ACCELERATORS = "bitwright.methods", "bitwright.accelerators"
FORMATS, RULES = "bitwright.formats", "bitwright.rules"

GOOD = """
    import dataclasses
    from bitwright.methods.integer.method import METHOD as INTEGER

    class Good(type(INTEGER)):
        summary = "somebody's method"
        recipes = {"good4": {"w_bits": 4}}

    METHOD = Good()

    class Stealing(Good):
        recipes = {"int8": {"w_bits": 2}, "aqs": {}, "stolen8": {}, "a+b": {}}

    STEALING = Stealing()

    class Hollow:
        summary = "nothing else"

    class Summary(Good):
        summary = 7

    SUMMARY = Summary()

    class Recipe(Good):
        recipes = {"seven": {"no_such_option": 7}}

    RECIPE = Recipe()

    class Raising(Good):
        @property
        def summary(self):
            raise RuntimeError("no summary today")

    RAISING = Raising()
"""
AT_IMPORT = {
    "raises": ("raise ValueError('not here')", "cannot be imported: ValueError: not here"),
    "lacks": ("import a_package_nobody_has", "cannot be imported: ModuleNotFoundError"),
    "exits": ("import sys; sys.exit(3)", "cannot be imported: it ends the program"),
    "quits": ("raise SystemExit", "cannot be imported: it ends the program"),
    "generator": ("raise GeneratorExit('odd')", "cannot be imported: GeneratorExit: odd"),
    "own": ("class E(BaseException):\n    def __str__(self): raise E\nraise E", "cannot be imported: E"),
    "syntax": ("this is no Python", "cannot be imported: SyntaxError"),
    "deep": ("def f(): f()\nf()", "cannot be imported: RecursionError"),
}
OBJECTS = {
    "klass": ("good:Good", "registers the class Good; a method is an instance of one"),
    "hollow": ("good:Hollow", "registers the class Hollow"),
    "number": ("sys:maxsize", "registers a int without summary, fills, options"),
    "nothing": ("good:NOTHING", "cannot be imported: AttributeError"),
    "summary": ("good:SUMMARY", "registers a method whose summary is not a text"),
    "recipe": ("good:RECIPE", "registers a method whose recipe 'seven' has options that it refuses"),
    "raising": ("good:RAISING", "cannot be looked at: RuntimeError: no summary today"),
}
NAMES = {
    "int": "that of another one",  # a built-in one's
    "a+b": "its name is none",
    "mine.yaml": "its name is none",
    "../up": "its name is none",
    "\x1b[31mred": "its name is none",
    "[bold]loud[/]": None,  # its line would be read as a section of the file
    "x" * 64: "its name is none",
    "of one, two": "its name is none",
}


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Modules and a distribution's entry points, as pip would install them."""
    modules = []

    def installed(points, sources=(), package="somebody", text=None):
        for name, source in dict(sources).items():
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
            modules.append(name)
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in each.items()) for group, each in points.items()]
        (info / "entry_points.txt").write_text("".join(lines) if text is None else text)
        importlib.invalidate_caches()
        registry.refresh()

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield installed
    monkeypatch.undo()
    registry.refresh()
    for name in modules:
        sys.modules.pop(name, None)


def reasons(group):
    return {each.name: each.reason for each in registry.refused(group)}


def toy():
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3))
    module.example_inputs = torch.randn(2, 8)
    return bitwright.load(module)


class TestAtImport:
    @pytest.fixture
    def broken(self, install):
        sources = {f"broken_{name}": source for name, (source, _) in AT_IMPORT.items()}
        points = {name: f"broken_{name}:METHOD" for name in AT_IMPORT}
        install(dict.fromkeys((METHODS, ACCELERATORS, FORMATS, RULES), points), sources)

    def test_each_is_named_with_the_reason(self, broken):
        for group in (METHODS, ACCELERATORS, FORMATS, RULES):
            found = reasons(group)
            assert set(found) == set(AT_IMPORT)
            for name, (_, said) in AT_IMPORT.items():
                assert found[name].startswith(said)

    def test_the_lists_go_on(self, broken):
        for verb, known in (("methods", "int8"), ("accelerators", "lpa")):
            shown = run(verb)
            assert shown.exit_code == 0, shown.stderr
            assert known in shown.stdout
            assert "Cannot be used: exits of somebody: cannot be imported: it ends the program" in " ".join(
                shown.stdout.split()
            )
            record = json.loads(run(verb, "--json").stdout)
            assert {each["name"] for each in record["refused"]} == set(AT_IMPORT)
            assert {entry["name"] for entry in record[verb]} >= {known}
            assert not {entry["name"] for entry in record[verb]} & set(AT_IMPORT)

    def test_who_asks_for_one_is_told(self, broken):
        for name, (_, said) in AT_IMPORT.items():
            assert said in refused("simulate", "gemm:8x8x8", "--method", name)
            assert said in refused("methods", name)
            assert said in refused("simulate", "gemm:8x8x8", "--accelerator", name)

    def test_everything_else_works(self, broken, tmp_path):
        """A plan is saved after a whole run, and read; the default machines of compare are those that there are."""
        result = bitwright.evaluate(toy(), "lp8", limit=4, calibration_count=4)
        result.plan.save(tmp_path / "plan")
        assert Plan.load(tmp_path / "plan").method == "lp8"
        shown = run("compare", "gemm:64x64x64", "--methods", "int8", "--json")
        assert shown.exit_code == 0, shown.stderr


class TestObjects:
    def test_each_is_named_with_the_reason(self, install):
        install(
            {METHODS: {name: path for name, (path, _) in OBJECTS.items()} | {"good": "good:METHOD"}}, {"good": GOOD}
        )
        found = reasons(METHODS)
        assert set(found) == set(OBJECTS)
        for name, (_, said) in OBJECTS.items():
            assert found[name].startswith(said), name
        assert {"good", "good4"} <= set(method_names())
        assert {"good", "good4"} <= {entry.name for entry in bitwright.methods()}

    @pytest.mark.parametrize(
        ("source", "said"),
        [
            ("Made = 7", "registers an object of type int; an accelerator is a class"),
            ("class Made: pass", "registers the class Made, which is none of pydantic's models"),
            (
                "import pydantic\nclass Made(pydantic.BaseModel):\n    summary: str = 'x'",
                "registers a model without needs_codes, clock_mhz",
            ),
            (
                "from bitwright.accelerators.systolic import WeightStationary\nclass Made(WeightStationary):\n"
                "    def model_post_init(self, _):\n        raise RuntimeError('no')",
                "cannot be looked at: RuntimeError: no",
            ),
        ],
    )
    def test_machines(self, install, source, said):
        install({ACCELERATORS: {"made": "made_machine:Made"}}, {"made_machine": source})
        assert reasons(ACCELERATORS)["made"].startswith(said)
        assert "made" not in {entry.name for entry in bitwright.accelerators()}
        assert run("compare", "gemm:64x64x64", "--methods", "int8", "--json").exit_code == 0

    def test_a_machine_that_must_be_told_something_is_none_of_the_defaults(self, install):
        source = (
            "from bitwright.accelerators.systolic import WeightStationary\nclass Made(WeightStationary):\n    told: int"
        )
        install({ACCELERATORS: {"made": "made_machine:Made"}}, {"made_machine": source})
        assert not reasons(ACCELERATORS)
        shown = json.loads(run("compare", "gemm:64x64x64", "--methods", "int8", "--json").stdout)
        assert "made" not in {row["accelerator"] for row in shown["rows"]}

    @pytest.mark.parametrize("group", [FORMATS, RULES])
    @pytest.mark.parametrize("path", ["sys:maxsize", "collections:OrderedDict", "types:SimpleNamespace"])
    def test_formats_and_rules(self, install, group, path):
        install({group: {"odd": path}})
        assert reasons(group)["odd"].startswith("registers ")


class TestNames:
    def test_hostile_ones(self, install):
        install({METHODS: dict.fromkeys(NAMES, "good:METHOD")}, {"good": GOOD})
        found = reasons(METHODS)
        for name, said in NAMES.items():
            if said is not None:
                assert said in found[name]
        assert compose("int").methods[0][1].summary != "somebody's method"
        assert "\x1b" not in run("methods").stdout

    def test_recipes_take_nobodys_name(self, install):
        """Also where the plug-in's own name comes first in the alphabet."""
        install({METHODS: {"aaa": "good:STEALING"}}, {"good": GOOD})
        assert compose("int8").methods[0][2].w_bits == 8
        assert compose("stolen8").methods[0][1].summary == "somebody's method"
        shown = " ".join(run("methods").stdout.split())
        for name in ("int8", "aqs"):
            assert f"Cannot be used: {name} of recipe of aaa: its name is that of another one" in shown
        assert "Cannot be used: a+b of recipe of aaa: its name is none" in shown

    def test_two_packages_with_one_name(self, install):
        """Neither is used, whichever comes first on the path."""
        install({METHODS: {"twice": "good:METHOD"}}, {"good": GOOD}, package="first")
        install({METHODS: {"twice": "good:METHOD"}}, package="second")
        assert reasons(METHODS) == {"twice": "several register that name (first, second); keep one of them"}
        assert "keep one of them" in refused("methods", "twice")

    @pytest.mark.parametrize("text", ["[bitwright.methods]\nno equals sign\n", "[bitwright.methods]\nx = \n"])
    def test_entry_points_that_nobody_can_read(self, install, text):
        install({}, text=text)
        assert [each.package for each in registry.refused(METHODS)] == ["somebody"]
        assert "int8" in method_names()

    def test_bytes_that_are_no_text(self, install, tmp_path):
        install({})
        (tmp_path / "somebody-1.0.dist-info" / "entry_points.txt").write_bytes(b"[bitwright.methods]\n\xff = good:M\n")
        registry.refresh()
        assert "int8" in method_names()
