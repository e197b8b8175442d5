"""Read ONNX models into a Network."""
