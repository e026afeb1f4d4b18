"""Networks from ONNX files: a file becomes a torch module whose products are sites as in any other (`build`)."""
