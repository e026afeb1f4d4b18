"""Studies: many runs put side by side. `simulate`, `compare` and `explain` are in the modules of those names."""
