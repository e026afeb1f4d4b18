"""Machine models: what the work that a network hands over costs in cycles, traffic, energy and area.

Called, it lists what is registered, each with its options or parameters, their defaults and what they are.

Examples
--------
>>> import bitwright
>>> {"panacea", "systolic-ws"} <= {entry.name for entry in bitwright.accelerators()}
True
"""
