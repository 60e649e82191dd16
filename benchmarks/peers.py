"""Our graphs beside what one would run instead, same texts, in turns: full-size weights.

    python benchmarks/full_size.py CHECKPOINT
    embed export CHECKPOINT FP32 && embed quantize FP32 INT8 --no-measure
    python benchmarks/peers.py --int8 INT8 --fp32 FP32 --checkpoint CHECKPOINT --work FOLDER

Peers, each made once in FOLDER and left out with a line where its package is missing:

* all experts: the fp32 graph that computes all 8 experts (benchmarks/all_experts.py)
* dynamic int8: ONNX Runtime's `quantize_dynamic` on our fp32 graph, per tensor
* OpenVINO: `pip install openvino`; our graph in standard operators, fp32
* torch fp32: `pip install torch==2.13.0`; benchmarks/torch_encoder.py

Ratios are per round, against the first column; the median and its range are printed. `--only`
chooses, since all of them together need about 16 GB.
"""

import argparse
import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from all_experts import export_all_experts
from machine import describe
from speed import SHAPES, Runner, bundle_runner, time_shapes, torch_runner


def ours(options: argparse.Namespace) -> Runner:
    return bundle_runner(options.int8, "int8", options.threads)


def our_fp32(options: argparse.Namespace) -> Runner:
    return bundle_runner(options.fp32, "fp32", options.threads)


def all_experts(options: argparse.Namespace) -> Runner:
    out = options.work / "all-experts"
    if not out.exists():
        export_all_experts(options.checkpoint, out)
    return bundle_runner(out, "fp32", options.threads)


def dynamic(options: argparse.Namespace) -> Runner:
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = options.work / "dynamic" / "model.onnx"
    if not model.exists():
        model.parent.mkdir(parents=True, exist_ok=True)
        quantize_dynamic(
            options.fp32 / "model.onnx", model,
            weight_type=QuantType.QInt8, use_external_data_format=True,
        )  # fmt: skip
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    session = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])

    def run(ids: np.ndarray, mask: np.ndarray) -> object:
        return session.run(["embedding"], {"input_ids": ids, "attention_mask": mask})

    return run


def openvino(options: argparse.Namespace) -> Runner:
    import openvino as ov

    from embedge.export import export_checkpoint

    out = options.work / "standard"
    if not out.exists():
        export_checkpoint(options.checkpoint, out, flavor="standard", checks=False, measure=False)
    settings = {"INFERENCE_NUM_THREADS": options.threads, "PERFORMANCE_HINT": "LATENCY"}
    compiled = ov.Core().compile_model(out / "model.onnx", "CPU", settings)

    def run(ids: np.ndarray, mask: np.ndarray) -> object:
        return compiled({"input_ids": ids, "attention_mask": mask})["embedding"]

    return run


def torch(options: argparse.Namespace) -> Runner:
    return torch_runner(options.checkpoint, "float32", options.threads)


CONTESTANTS: dict[str, tuple[str | None, Callable[[argparse.Namespace], Runner]]] = {
    "int8": (None, ours),
    "fp32": (None, our_fp32),
    "all experts": (None, all_experts),
    "dynamic int8": (None, dynamic),
    "OpenVINO fp32": ("openvino", openvino),
    "torch fp32": ("torch", torch),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--int8", type=Path, required=True)
    parser.add_argument("--fp32", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", action="append", choices=list(CONTESTANTS), default=[])
    parser.add_argument("--shapes", nargs="+", default=[f"{n}x{s}" for n, s in SHAPES])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--vocabulary", type=int, default=250000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    print(json.dumps(describe()))
    runners: dict[str, Runner] = {}
    for name in options.only or CONTESTANTS:
        package, make = CONTESTANTS[name]
        if package is not None and find_spec(package) is None:
            print(f"{name}: the package {package} is not installed, left out", flush=True)
            continue
        runners[name] = make(options)
    shapes = (shape.split("x") for shape in options.shapes)
    time_shapes(runners, [(int(texts), int(tokens)) for texts, tokens in shapes], options)


if __name__ == "__main__":
    main()
