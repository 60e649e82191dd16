"""From a bundle to vectors, on ONNX Runtime and the CPU."""
