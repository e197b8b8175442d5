"""Write networks as ONNX."""
