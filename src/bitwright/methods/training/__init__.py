"""Training with quantization in the loop: weights and scales learn from the float network, on unlabelled samples."""

from bitwright.methods.training.settings import TrainingSettings
from bitwright.methods.training.train import Outcome, train

__all__ = ["Outcome", "TrainingSettings", "train"]
