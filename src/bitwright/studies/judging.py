"""A plan judged, where it was made, on samples that chose nothing: what searches and trainings end with."""

from bitwright.methods.plan import Plan
from bitwright.networks.network import Network
from bitwright.studies.row import said
from bitwright.tasks import get_task
from bitwright.tasks.evaluate import Evaluation, Progress, evaluate

LIMITS = {"image": 64, "sentence": 128, "language": 1024, "tensor": 64}
"""Images, sentences, tokens or inputs; our choice, for seconds rather than minutes."""


def judged(network: Network, plan: Plan, *, seed: int, progress: Progress) -> Evaluation | str:
    """The plan by fidelity to the float network, in float32 emulation of its codes, on the test part of the samples.

    What goes wrong, an interrupt too, is why it was not judged: the plan took long to make and is not lost for it.
    """
    try:
        task = get_task("fidelity", network=network, limit=LIMITS.get(network.kind), seed=seed)
        return evaluate(network, plan, task, exact=False, seed=seed, progress=progress)
    except KeyboardInterrupt:
        return "interrupted"
    except Exception as error:
        return said(error)
