"""LPQ's genetic search for the fields of every layer (arXiv 2403.05465; steps from the authors' posters)."""

from bitwright.methods.lpq.search.run import Found, search
from bitwright.methods.lpq.search.settings import SearchSettings

__all__ = ["Found", "SearchSettings", "search"]
