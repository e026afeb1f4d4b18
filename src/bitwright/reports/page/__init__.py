"""A comparison as one HTML file that opens from disk without a network connection."""

from bitwright.reports.page.page import page_of

__all__ = ["page_of"]
