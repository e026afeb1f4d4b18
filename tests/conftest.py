"""What every test shares: one thread, a page of 100 columns, and property tests that try the same examples."""

import os

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
os.environ["COLUMNS"] = "100"
settings.register_profile("bitwright", derandomize=True, deadline=None, print_blob=False)
settings.load_profile("bitwright")


@pytest.fixture(autouse=True, scope="session")
def _cache_of_their_own(tmp_path_factory):
    """What comparisons keep while they run lies in no user's folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield
