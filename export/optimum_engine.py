"""Tracing a Hugging Face model with optimum: the only file that needs torch and transformers.

optimum-onnx pins transformers below 4.58, so it lives in an environment of its own
(docs/dense-models.md). Nothing is downloaded and no code of the checkpoint runs.
"""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedge.models.checkpoint import weight_files
from embedge.models.errors import BackendError, CheckpointError, MissingExtra

DEFAULT_OPSET = 18
OPSETS = (18, 19, 20)
TOOLS = ("optimum", "optimum-onnx", "torch", "transformers")

Int64 = NDArray[np.int64]
Float32 = NDArray[np.float32]

# transformers runs nothing newer than this with optimum-onnx 0.1.
_TRANSFORMERS_BELOW = (4, 58)

# Weights of heads for other tasks, which hidden states do not need.
_HEADS = (
    "cls.", "lm_head.", "classifier.", "pooler.", "vocab_", "head.", "decoder.", "predictions.",
    "discriminator_predictions.", "generator_", "qa_outputs.", "pre_classifier.", "score.",
    "sop_classifier.",
)  # fmt: skip
_UNUSED_LAYERS = ("pooler.",)

_SEPARATE = (
    "It pins transformers below 4.58 and huggingface_hub below 1, so give it an environment of its "
    "own: python -m venv optimum-env && optimum-env/bin/pip install 'embedge[optimum]' && "
    "optimum-env/bin/embed export SRC OUT --engine optimum. The bundle runs in any environment."
)


@dataclass(frozen=True)
class Traced:
    """A traced graph, and the model that it was traced from.

    Attributes:
        path: `model.onnx`.
        hidden_states: what transformers computes from ids and mask, both (texts, tokens):
            (texts, tokens, hidden).
        token_ids: what transformers makes of a text, special tokens included.
    """

    path: Path
    hidden_states: Callable[[Int64, Int64], Float32]
    token_ids: Callable[[str], Sequence[int]]


def trace_with_optimum(folder: Path, scratch: Path, opset: int = DEFAULT_OPSET) -> Traced:
    """Load the model in `folder` in float32 and trace its hidden states to `scratch`.

    Raises:
        MissingExtra: optimum is not installed here, or not with packages that it works with;
            gives the commands that make an environment for it.
        CheckpointError: weights are missing, pickled, or do not fit the config.
        BackendError: optimum cannot trace the model.
    """
    require_optimum()
    weight_files(folder)  # refuses pickles
    with _quiet_and_offline():
        from transformers import AutoTokenizer

        model = _load(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, use_fast=True)
        _export(model, scratch, opset)
    return Traced(
        path=scratch / "model.onnx",
        hidden_states=lambda ids, mask: _forward(model, ids, mask),
        token_ids=lambda text: list(tokenizer(text)["input_ids"]),
    )


def require_optimum() -> None:
    """Check that optimum and the versions that it works with are here.

    Raises:
        MissingExtra: gives the commands that make an environment for it.
    """
    found: dict[str, str] = {}
    for name in TOOLS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            raise MissingExtra(
                f"--engine optimum needs {name}, which is not installed. {_SEPARATE}"
            ) from None
    major, minor = (int(part) for part in found["transformers"].split(".")[:2])
    if (major, minor) >= _TRANSFORMERS_BELOW:
        raise MissingExtra(
            f"--engine optimum cannot work with transformers {found['transformers']}. {_SEPARATE}"
        )


@contextmanager
def _quiet_and_offline() -> Iterator[None]:
    """Keep the libraries off the network and their tracing remarks off the terminal."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"):
        os.environ[name] = "1"
    with warnings.catch_warnings():
        # Remarks of the tracer, checked by comparing its graph with the model afterwards.
        warnings.simplefilter("ignore")
        from optimum.utils import logging as optimum_logging
        from transformers.utils import logging

        logging.set_verbosity_error()
        optimum_logging.set_verbosity_error()
        yield


def _load(folder: Path) -> Any:
    import torch
    from transformers import AutoModel

    try:
        model, told = AutoModel.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except Exception as error:  # transformers raises bare kinds; chained
        raise CheckpointError(f"transformers cannot load {folder}: {error}") from error
    missing = [name for name in told["missing_keys"] if not name.startswith(_UNUSED_LAYERS)]
    unknown = [
        name
        for name in told["unexpected_keys"]
        if not name.startswith(_HEADS) and not name.endswith(("position_ids", "lm_head.bias"))
    ]
    wrong = [str(entry) for entry in told["mismatched_keys"]]
    problems = [
        f"{len(names)} {what} ({', '.join(sorted(names)[:5])})"
        for what, names in (
            ("tensors missing, which transformers filled with random numbers", missing),
            ("tensors that the model does not use", unknown),
            ("misshapen tensors", wrong),
        )
        if names
    ]
    if problems:
        raise CheckpointError(
            f"{folder} does not match its config.json: {'; '.join(problems)}. Take config and "
            f"weights of the same revision."
        )
    return model.eval()


def _export(model: Any, scratch: Path, opset: int) -> None:
    from optimum.exporters.onnx import onnx_export_from_model

    try:
        onnx_export_from_model(
            model,
            scratch,
            opset=opset,
            task="feature-extraction",
            library_name="transformers",
            do_validation=False,
        )
    except Exception as error:  # optimum and torch raise many kinds; chained
        raise BackendError(
            f"optimum cannot trace {type(model).__name__} with opset {opset}: {error}"
        ) from error


def _forward(model: Any, ids: Int64, mask: Int64) -> Float32:
    import torch

    with torch.inference_mode():
        output = model(input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask))
    states: Float32 = output.last_hidden_state.numpy()
    return states
