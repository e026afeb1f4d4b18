"""What ONNX operators do, as torch functions; `table.OPERATORS` has them all by domain and name."""
