"""The ONNX graph in the middle, and its passes."""
