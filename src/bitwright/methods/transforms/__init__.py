"""Transforms that any method of operands may stand on: rotations of what sites read, searched, stated in the plan."""

from bitwright.methods.transforms.search import calibrate_transformed

__all__ = ["calibrate_transformed"]
