"""Lists of what there is: every setting says what it takes and where it comes from, examples run, names complete."""

import enum
import json
import os
import re
import shlex
import subprocess
import sys
import typing

import pydantic
import pytest
from typer.testing import CliRunner

from bitwright import registry
from bitwright.accelerators.substrate import Substrate
from bitwright.cli import names
from bitwright.cli.main import app
from bitwright.methods.protocol import compose, method_names
from bitwright.networks.catalogue import models
from bitwright.settings import plain, setting
from bitwright.studies import catalogue
from bitwright.tasks.catalogue import TASKS
from bitwright.tasks.sources import NAMES as SOURCES

RUNNER = CliRunner()
MODELS = {
    **{name: registry.lookup("bitwright.methods", name).options for name in registry.names("bitwright.methods")},
    **{
        f"{name}'s": registry.lookup("bitwright.accelerators", name)
        for name in registry.names("bitwright.accelerators")
    },
}
FIELDS = [(owner, name) for owner, model in MODELS.items() for name in model.model_fields]


def of(owner, name):
    field = MODELS[owner].model_fields[name]
    return setting(name, field, field.get_default(call_default_factory=True))


@pytest.mark.parametrize(("owner", "name"), FIELDS)
class TestEverySetting:
    def test_says_what_it_is_what_it_takes_and_its_source(self, owner, name):
        found = of(owner, name)
        assert found.description
        assert found.source
        assert found.takes != "anything"
        said = re.compile(r"our choice|recollected|; ours|our default", re.IGNORECASE)
        assert not said.search(found.description), "the source has a place of its own"

    def test_its_choices_are_those_of_its_type(self, owner, name):
        found, annotation = of(owner, name), MODELS[owner].model_fields[name].annotation
        if typing.get_origin(annotation) is typing.Literal:
            assert found.choices == tuple(plain(each) for each in typing.get_args(annotation))
        if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
            assert found.choices == tuple(each.value for each in annotation)
        if found.choices and not isinstance(found.default, int | float):
            assert plain(found.default) in found.choices
        for choice in found.choices:
            if not choice.endswith(".yaml"):
                value = {"null": None, "true": True, "false": False}.get(choice, choice)
                value = int(choice) if choice.isdigit() else value
                MODELS[owner].__pydantic_validator__.validate_assignment(MODELS[owner].model_construct(), name, value)

    def test_its_range_ends_where_values_are_refused(self, owner, name):
        found, model = of(owner, name), MODELS[owner]
        for end, step in (("minimum", -1), ("maximum", 1)):
            limit = getattr(found, end)
            if limit is None:
                continue
            inside, outside = (limit - step, limit) if end in found.exclusive else (limit, limit + step)
            with pytest.raises(pydantic.ValidationError):
                model(**{name: outside})
            if end not in found.exclusive and "steps" not in found.takes:
                assert getattr(model(**{name: inside}), name) == inside


def lines_of(*arguments, columns="80"):
    result = RUNNER.invoke(app, list(arguments), env={"COLUMNS": columns})
    assert result.exit_code == 0, result.output
    return [line for line in result.stdout.splitlines() if line.strip()]


class TestLists:
    @pytest.mark.parametrize("verb", ["models", "methods", "accelerators", "technology"])
    def test_they_fit_80_columns_and_say_what_to_type_next(self, verb):
        *shown, last = lines_of(verb)
        assert max(map(len, shown)) <= 80
        assert last.startswith("Next: bitwright ")

    def test_one_of_them(self):
        shown = lines_of("methods", "int8")
        assert max(map(len, shown)) <= 80
        assert "ends = head8" in shown
        assert "    takes head8, both8, float or same; source: our choice" in shown
        assert "x_bits = 8 bits" in shown
        assert "    takes an integer from 2 to 16; source: the usual INT8" in shown
        assert shown[-1].strip() == "bitwright simulate resnet18 --method int8 --accelerator systolic-ws"

    def test_as_json(self):
        shown = json.loads(RUNNER.invoke(app, ["accelerators", "drift", "--json"]).stdout)["accelerator"]
        share = {each["name"]: each for each in shown["parameters"]}["overhead_percent"]
        assert (share["minimum"], share["maximum"], share["exclusive"], share["unit"]) == (0, None, [], "%")
        clock = {each["name"]: each for each in shown["parameters"]}["clock_mhz"]
        assert (clock["minimum"], clock["exclusive"], clock["unit"]) == (0, ["minimum"], "MHz")

    def test_the_published_machine(self):
        shown = json.loads(RUNNER.invoke(app, ["accelerators", "lpa", "--substrate", "native", "--json"]).stdout)
        assert {each["name"]: each["default"] for each in shown["accelerator"]["parameters"]}["rows"] == 8

    def test_a_substrate_is_what_all_machines_share(self):
        shown = json.loads(RUNNER.invoke(app, ["substrate", "--json"]).stdout)["substrate"]
        assert [each["name"] for each in shown["parameters"]] == list(Substrate.model_fields)


class TestExamples:
    @pytest.mark.parametrize("entry", catalogue.methods(), ids=lambda entry: entry.name)
    def test_methods(self, entry):
        _, _, _, *words = shlex.split(entry.example)
        given = dict(zip(words[::2], words[1::2], strict=True))
        assert entry.name in given["--method"].split("+")
        compose(given["--method"])

    @pytest.mark.parametrize("name", registry.names("bitwright.accelerators"))
    def test_machines_run_theirs(self, name):
        _, verb, network, *words = shlex.split(catalogue.accelerator(name).example)
        assert network in {entry.name for entry in models()}
        result = RUNNER.invoke(app, [verb, "gemm:64x64x64", *words, "--json"])
        assert result.exit_code == 0, result.output
        assert not json.loads(result.stdout)["unsupported"]


def completed(line):
    """What the shell is offered, and whether torch was imported for it."""
    words = shlex.split(line)
    run = "import sys; from bitwright.cli.main import main\ntry: main()\nfinally: assert 'torch' not in sys.modules"
    env = {
        **os.environ,
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) if line.endswith(" ") else len(words) - 1),
        "_BITWRIGHT_COMPLETE": "complete_bash",
    }
    command = [sys.executable, "-c", run]
    found = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert "AssertionError" not in found.stderr
    return found.stdout.split()


class TestCompletion:
    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("bitwright simulate resnet", ["resnet18", "resnet50"]),
            ("bitwright compare resnet18,ber", ["resnet18,bert-base"]),
            ("bitwright simulate resnet18 --accelerator lpa,sys", ["lpa,systolic-os", "lpa,systolic-ws"]),
            ("bitwright simulate resnet18 --method int8+psum1", ["int8+psum16"]),
            ("bitwright evaluate minilm-l6 --task per", ["perplexity"]),
            ("bitwright simulate resnet18 --accelerator min", ["mine.yaml"]),
            ("bitwright accelerators eye", ["eyeriss"]),
        ],
    )
    def test_names(self, line, expected, tmp_path, monkeypatch):
        (tmp_path / "mine.yaml").touch()
        monkeypatch.chdir(tmp_path)
        assert completed(line) == expected

    def test_names_that_are_written_twice_are_equal(self):
        built_in = {*registry.names("bitwright.methods"), *names.RECIPES}
        assert built_in == set(method_names())
        assert set(names.TASKS) == set(TASKS)
        assert names.SOURCES == SOURCES

    def test_the_shell_is_taught(self):
        assert "--install-completion" in RUNNER.invoke(app, ["--help"]).stdout
