"""Compares an exported graph of the published model with what others printed from its weights.

Gates of the published revision (values and sources: `embedge.models.golden`): G2, hidden states;
G3, experts and their weights at the first mixture layer, which also localises a difference to
everything before it. They run on a debug graph: the same graph over the same weight file, with
extra outputs, removed afterwards.
"""

from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from embedge.export.ranges import MAPPED_WEIGHTS
from embedge.models.errors import ModelIntegrityError
from embedge.models.golden import Golden, PublishedHiddenStates, PublishedRouting, read_golden
from embedge.models.graph_file import read_graph, write_proto
from embedge.models.manifest import Json
from embedge.runtime.cpu import plan_threads
from embedge.runtime.engine import open_session

HIDDEN_STATES = "last_hidden_state"

# The values are printed with four decimals, the gate weights with two.
_HIDDEN_TOLERANCE = 1e-4
_WEIGHT_TOLERANCE = 0.006


def check_published(folder: Path) -> dict[str, Json]:
    """Run gates G2 and G3 on `folder/model.onnx`.

    Returns:
        The largest difference of each gate, for the manifest.

    Raises:
        ModelIntegrityError: a gate fails; names the gate, the difference and what it localises.
    """
    golden = read_golden()
    path = f"encoder.layers.{golden.routing.layer}.mlp.router"
    names = (HIDDEN_STATES, f"{path}.expert", f"{path}.gate_weight")
    debug = folder / "debug.onnx"
    write_debug_graph(folder / "model.onnx", debug, names)
    try:
        hidden, expert, weight = _run(debug, golden, names)
    finally:
        debug.unlink()
    states = golden.hidden_states
    shape = (*states.input_ids.shape, -1)
    routing = routing_difference(
        expert.astype(np.int64).reshape(shape),
        weight.reshape(shape),
        golden.routing,
        states.attention_mask,
    )
    return {"G3 routing": routing, "G2 hidden states": hidden_difference(hidden, states)}


def write_debug_graph(graph: Path, out: Path, outputs: tuple[str, ...]) -> None:
    """Write a copy of `graph`, in the same folder, that also gives the named values."""
    model = read_graph(graph)
    values = {
        value.name: value for node in model.graph for value in node.outputs if value is not None
    }
    model.graph.outputs.extend(values[name] for name in outputs)
    stored = {
        name: value.const_value
        for name, value in model.graph.initializers.items()
        if isinstance(value.const_value, ir.ExternalTensor)
    }
    write_proto(model, stored, out)


def hidden_difference(hidden: NDArray[np.float32], published: PublishedHiddenStates) -> float:
    """Compare hidden states (texts, tokens, hidden) at the printed places of real tokens (G2).

    Raises:
        ModelIntegrityError: a value is further away than the printed decimals allow.
    """
    picked = hidden[:, published.rows][:, :, published.columns]
    real = published.attention_mask[:, published.rows].astype(bool)
    difference = float(np.abs(picked - published.values)[real].max())
    if not difference <= _HIDDEN_TOLERANCE:
        raise ModelIntegrityError(
            f"gate G2: hidden states differ by {difference:.1e} from the published ones, allowed "
            f"is {_HIDDEN_TOLERANCE:.0e}; something after the first router is wrong. "
            f"Download the checkpoint again."
        )
    return difference


def routing_difference(
    expert: NDArray[np.int64],
    weight: NDArray[np.float32],
    published: PublishedRouting,
    attention_mask: NDArray[np.int64],
) -> float:
    """Compare experts exactly and gate weights closely, (texts, tokens, 2), real tokens (G3).

    Raises:
        ModelIntegrityError: an expert or a weight differs.
    """
    real = attention_mask.astype(bool)
    others = int((expert != published.expert)[real].any(axis=-1).sum())
    difference = float(np.abs(weight - published.gate_weight)[real].max())
    if others or not difference <= _WEIGHT_TOLERANCE:
        raise ModelIntegrityError(
            f"gate G3: {others} of {int(real.sum())} tokens go to other experts than published "
            f"and gate weights differ by {difference:.1e}, allowed is {_WEIGHT_TOLERANCE}; "
            f"something before the first mixture block is wrong. Download the checkpoint again."
        )
    return difference


def _run(graph: Path, golden: Golden, names: tuple[str, ...]) -> list[NDArray[np.float32]]:
    session = open_session(graph, threads=plan_threads().threads, config=MAPPED_WEIGHTS)
    ids = golden.hidden_states.input_ids
    mask = golden.hidden_states.attention_mask
    return session.run(list(names), {"input_ids": ids, "attention_mask": mask})
