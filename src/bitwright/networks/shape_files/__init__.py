"""Files of shapes that other tools read: SCALE-Sim topologies, ZigZag workloads, Timeloop problems, tables of GEMMs."""

from bitwright.networks.shape_files.forms import FORMS, build, build_folder, is_problem_folder

__all__ = ["FORMS", "build", "build_folder", "is_problem_folder"]
