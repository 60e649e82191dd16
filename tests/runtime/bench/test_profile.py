"""Traces of ONNX Runtime, summed."""

import pytest

from embedge import Embedder
from embedge.runtime.bench.profile import layer_of, profile_graph, sum_events


def node(name: str, operator: str, begin: int, duration: int) -> dict[str, object]:
    return {
        "cat": "Node", "name": f"{name}_kernel_time", "ts": begin, "dur": duration,
        "args": {"op_name": operator},
    }  # fmt: skip


def run(begin: int) -> list[dict[str, object]]:
    return [
        node("encoder/layers.0/attn/MatMul_3", "MatMul", begin + 1, 10),
        node("encoder.layers.11.mlp.fc1.weight.product", "MatMul", begin + 12, 20),
        node("encoder/layers.0/norm1/LayerNormalization", "LayerNormalization", begin + 33, 4),
        {"cat": "Session", "name": "model_run", "ts": begin, "dur": 40},
    ]


def test_the_first_run_warms_up_and_the_others_are_averaged():
    slow_first = [
        {**event, "dur": 5} if event["cat"] == "Node" else event for event in run(begin=0)
    ]
    operators, layers = sum_events([*slow_first, *run(100), *run(200)], rounds=2)
    assert operators == {"MatMul": 30, "LayerNormalization": 4}
    assert layers == {"layer 11 mlp": 20, "layer 0 attn": 10, "layer 0 norm": 4}
    assert list(operators) == ["MatMul", "LayerNormalization"]


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("encoder/layers.3/mlp/Gelu_node_25", "layer 3 mlp"),
        ("encoder.layers.3.attn.Wqkv.weight.q.product", "layer 3 attn"),
        ("v_encoder.layers.10.norm2.LayerNormalization_28.smoothed", "layer 10 norm"),
        ("encoder/layers.0/Add_node_22", "layer 0 residual"),
        ("embeddings.word_embeddings.weight.codes", "embeddings"),
        ("emb_ln/LayerNormalization_node_12", "embeddings"),
        ("Shape_node_0", "other"),
    ],
)
def test_nodes_are_placed_by_their_names(name, place):
    assert layer_of(name) == place


def test_a_profile_of_a_real_graph_names_its_layers_and_leaves_no_file(
    tiny_bundle, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with Embedder(tiny_bundle, threads=1) as embedder:
        profile = profile_graph(embedder.loaded, ["the river", "a house in the night"], 2)
    assert {"layer 0 attn", "layer 0 mlp", "layer 1 attn", "layer 1 mlp"} <= set(
        profile["by_layer"]
    )
    assert {"LayerNormalization", "MultiHeadAttention"} <= set(profile["by_operator"])
    assert sum(profile["by_operator"].values()) == pytest.approx(sum(profile["by_layer"].values()))
    assert profile["batch"]["texts"] == 2
    assert list(tmp_path.iterdir()) == []
