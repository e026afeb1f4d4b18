"""What every test shares: one thread, a page of 100 columns, and property tests that try the same examples."""

import functools
import importlib.util
import json
import os

import pytest
import torch
from hypothesis import settings

from bitwright.reports import files, verbs

torch.set_num_threads(1)
os.environ["COLUMNS"] = "100"
settings.register_profile("bitwright", derandomize=True, deadline=None, print_blob=False)
settings.load_profile("bitwright")


@functools.cache
def validator(verb):
    import jsonschema

    return jsonschema.Draft202012Validator(verbs.verb_schema(verb))


def held_against_its_schema(to_json):
    """Every record that any test of this process makes."""

    @functools.wraps(to_json)
    def checked(verb, record):
        text = to_json(verb, record)
        validator(verb).validate(json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON")))
        return text

    return checked


if importlib.util.find_spec("jsonschema") is not None:
    files.to_json = held_against_its_schema(files.to_json)


@pytest.fixture(autouse=True, scope="session")
def _cache_of_their_own(tmp_path_factory):
    """What comparisons keep while they run lies in no user's folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield
