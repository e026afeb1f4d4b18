"""bitwright."""
