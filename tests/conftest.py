"""What every test shares: one thread, a page of 100 columns, and property tests that try the same examples."""

import os

import torch
from hypothesis import settings

torch.set_num_threads(1)
os.environ["COLUMNS"] = "100"
settings.register_profile("bitwright", derandomize=True, deadline=None, print_blob=False)
settings.load_profile("bitwright")
