"""Machine models: what the work that a network hands over costs in cycles, traffic, energy and area."""
