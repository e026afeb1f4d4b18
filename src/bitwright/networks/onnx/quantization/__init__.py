"""Quantized files: their grids (scales, zero points, widths) are kept beside a network that computes in float."""
