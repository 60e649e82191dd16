"""A student that starts from an earlier checkpoint instead of the teacher.

The earlier student's layers are taken over; the word rows are the teacher's again, for the new
vocabulary. A MoE layer that the new student does not have becomes dense: its experts are averaged
and multiplied with the mean sum of the two gate weights, which is exact while the experts are
still near to each other.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file

from embedge.models.errors import CheckpointError
from embedge.models.recipes.checkpoint_folder import LAYER_NAMES
from embedge.models.recipes.network import EXPERTS, Encoder, Experts, Layer
from embedge.models.recipes.teacher_file import HIDDEN, INNER, LAYERS

GATE_SUM = 0.28
"""Mean sum of the top-2 gate weights where logits have deviation 0.1 (`upcycle.Routing`)."""


def read_student(folder: Path, rows: torch.Tensor, moe_layers: Sequence[int]) -> Encoder:
    """The layers of the checkpoint `folder` over other word rows.

    Args:
        folder: a checkpoint of this recipe or of the seed's.
        rows: (rows, hidden), the new vocabulary's.
        moe_layers: must be MoE layers of the checkpoint, too.

    Raises:
        CheckpointError: a wanted MoE layer is dense in the checkpoint.
    """
    t = {name: value.float() for name, value in load_file(folder / "model.safetensors").items()}
    missing = [i for i in moe_layers if _router(i) not in t]
    if missing:
        raise CheckpointError(f"{folder} has no experts in layers {missing}; up-cycle instead")
    student = Encoder(rows, moe_layers, four_bit=True)
    with torch.no_grad():
        student.positions.copy_(t["embeddings.position_embeddings.weight"])
        student.type_row.copy_(t["embeddings.token_type_embeddings.weight"][0])
        student.norm.weight.copy_(t["emb_ln.weight"])
        student.norm.bias.copy_(t["emb_ln.bias"])
        for i in range(LAYERS):
            _copy_layer(student.layers[i], t, i)
    return student


def _copy_layer(layer: Layer, t: dict[str, torch.Tensor], i: int) -> None:
    prefix = f"encoder.layers.{i}."
    for own, name in LAYER_NAMES:
        getattr(layer, own).weight.copy_(t[f"{prefix}{name}.weight"])
        getattr(layer, own).bias.copy_(t[f"{prefix}{name}.bias"])
    mlp = layer.mlp
    if _router(i) not in t:
        for name in ("fc1", "fc2"):
            getattr(mlp, name).weight.copy_(t[f"{prefix}mlp.{name}.weight"])
            getattr(mlp, name).bias.copy_(t[f"{prefix}mlp.{name}.bias"])
        return
    shape = (EXPERTS, INNER, HIDDEN)
    w1 = t[f"{prefix}mlp.experts.mlp.w1"].view(shape)
    w2 = t[f"{prefix}mlp.experts.mlp.w2"].view(shape)
    bias = t[f"{prefix}mlp.experts.bias"]
    if isinstance(mlp, Experts):
        mlp.router.copy_(t[_router(i)])
        mlp.w1.copy_(w1)
        mlp.w2.copy_(w2)
        mlp.bias.copy_(bias)
        return
    mlp.fc1.weight.copy_(w1.mean(0))
    mlp.fc1.bias.zero_()
    mlp.fc2.weight.copy_(GATE_SUM * w2.mean(0).t())
    mlp.fc2.bias.copy_(bias)


def _router(layer: int) -> str:
    return f"encoder.layers.{layer}.mlp.router.layer.weight"
