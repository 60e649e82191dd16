"""From a checkpoint folder to a traced ONNX bundle."""
