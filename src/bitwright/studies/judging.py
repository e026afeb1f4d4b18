"""A plan judged, where it was made, on samples that chose nothing: what searches and trainings end with."""

from bitwright.methods.plan import Plan
from bitwright.networks.network import Network
from bitwright.tasks import get_task
from bitwright.tasks.evaluate import Evaluation, Progress, evaluate

LIMITS = {"image": 64, "sentence": 128, "language": 1024, "tensor": 64}
"""Images, sentences, tokens or inputs; our choice, for seconds rather than minutes."""


def judged(network: Network, plan: Plan, *, seed: int, progress: Progress) -> Evaluation:
    """The plan by fidelity to the float network, in float32 emulation of its codes, on the test part of the samples."""
    task = get_task("fidelity", network=network, limit=LIMITS.get(network.kind), seed=seed)
    return evaluate(network, plan, task, exact=False, seed=seed, progress=progress)
