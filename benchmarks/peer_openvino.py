"""Peers in OpenVINO, all on our graph in standard operators: fp32, bf16, and its own int8.

    pip install openvino nncf

int8 is NNCF's `compress_weights`: 8-bit weights with a scale per output, which OpenVINO multiplies
with activations that it rounds to 8 bits at run time, in groups, where the processor can.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from peer_contract import Peer, Run, Setup, padded
from peer_graphs import _exported


def make_standard(setup: Setup) -> Path:
    return _exported(setup, "standard", flavor="standard") / "model.onnx"


def make_int8(setup: Setup) -> Path:
    """Write the compressed model."""
    import nncf
    import openvino as ov

    out = setup.work / "openvino-int8" / "model.xml"
    if not out.exists():
        model = ov.Core().read_model(make_standard(setup))
        compressed = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)
        out.parent.mkdir(parents=True, exist_ok=True)
        ov.save_model(compressed, out, compress_to_fp16=False)
    return out


def open_openvino(make: Any, precision: str, setup: Setup) -> Run:
    import openvino as ov

    settings = {
        "INFERENCE_NUM_THREADS": setup.threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision,
    }
    compiled = ov.Core().compile_model(make(setup), "CPU", settings)

    def run_batch(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return np.array(compiled({"input_ids": ids, "attention_mask": mask})["embedding"])

    return padded(run_batch)


def _peer(make: Any, precision: str, package: str = "openvino") -> Peer:
    return Peer(partial(open_openvino, make, precision), make, package, "pip install openvino nncf")


PEERS = {
    "OpenVINO fp32": _peer(make_standard, "f32"),
    "OpenVINO bf16": _peer(make_standard, "bf16"),
    "OpenVINO int8": _peer(make_int8, "f32", package="nncf"),
}
