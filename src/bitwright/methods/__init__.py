"""Quantization methods: how a network is calibrated to a plan, and executed by it, exactly or fast.

Called, it lists what is registered, each with its options or parameters, their defaults and what they are.

Examples
--------
>>> import bitwright
>>> {"int8", "aqs", "lpq"} <= {entry.name for entry in bitwright.methods()}
True
"""
