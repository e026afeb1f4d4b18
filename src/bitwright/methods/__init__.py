"""Quantization methods: how a network is calibrated to a plan, and executed by it, exactly or fast."""
