"""What repeats its submodules within one run, so that their products are steps of one scan and no new ones."""

import torch


class Scan(torch.nn.Module):
    """A module that runs its submodules again and again: a product in one of them is one site, however often."""
