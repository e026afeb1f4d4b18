"""What every test shares: one thread, and property tests that try the same examples every time."""

import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("bitwright", derandomize=True, deadline=None, print_blob=False)
settings.load_profile("bitwright")
