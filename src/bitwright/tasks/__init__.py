"""What a network is judged by: top-1 accuracy, perplexity, sentence similarity, and fidelity to its float self."""

from typing import TYPE_CHECKING

from bitwright.later import handing_on

if TYPE_CHECKING:
    from bitwright.tasks.catalogue import TASKS, TaskInfo, get_task, task_names
    from bitwright.tasks.labelled import Labelled
    from bitwright.tasks.samples import Samples, default_samples
    from bitwright.tasks.statistics import Interval, bootstrap, paired_bootstrap
    from bitwright.tasks.task import Measure, Score, Task, TaskBatch, summarise

__all__ = [
    "TASKS",
    "Interval",
    "Labelled",
    "Measure",
    "Samples",
    "Score",
    "Task",
    "TaskBatch",
    "TaskInfo",
    "bootstrap",
    "default_samples",
    "get_task",
    "paired_bootstrap",
    "summarise",
    "task_names",
]

__getattr__, __dir__ = handing_on(
    __name__,
    {
        "bitwright.tasks.catalogue": (
            "TASKS",
            "TaskInfo",
            "get_task",
            "task_names",
        ),
        "bitwright.tasks.labelled": ("Labelled",),
        "bitwright.tasks.samples": (
            "Samples",
            "default_samples",
        ),
        "bitwright.tasks.statistics": (
            "Interval",
            "bootstrap",
            "paired_bootstrap",
        ),
        "bitwright.tasks.task": (
            "Measure",
            "Score",
            "Task",
            "TaskBatch",
            "summarise",
        ),
    },
)
