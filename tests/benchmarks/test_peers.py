"""The peers that `benchmarks/peers.py` times compute the model, and the arithmetic around them."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
ROWS = [np.array([0, *range(5, 5 + n), 2], np.int64) for n in (3, 9, 1, 20, 9)]


@pytest.fixture(scope="module")
def load() -> Iterator[Any]:
    """Import a module of `benchmarks/`, whose files import each other by bare name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield importlib.import_module


@pytest.fixture(scope="module")
def contract(load: Any) -> ModuleType:
    return load("peer_contract")


@pytest.fixture(scope="module")
def setup(
    contract: ModuleType, tiny_checkpoint: Path, tiny_bundle: Path, tmp_path_factory: Any
) -> Any:
    work = tmp_path_factory.mktemp("work")
    return contract.Setup(tiny_bundle, tiny_bundle, tiny_checkpoint, work, 1)


@pytest.mark.parametrize(
    ("name", "least"),
    # The tanh form of GELU is not the model's, and 4 bits are few; random weights, 32 features.
    [("MoE", 0.99999), ("QMoE 8-bit", 0.999), ("QMoE 8-bit, row", 0.999), ("QMoE 4-bit", 0.97)],
)
def test_moe_operators_agree_with_our_graph(load, contract, setup, name, least):
    peers = load("peer_graphs").PEERS
    reference = peers["fp32"].open(setup)(ROWS)
    peers[name].make(setup)
    vectors = peers[name].open(setup)(ROWS)
    assert contract.agreement(vectors, reference)["min_cosine"] >= least


def test_every_expert_computed_gives_the_vectors_of_the_sparse_graph(load, contract, setup):
    peers = load("peer_graphs").PEERS
    peers["all experts"].make(setup)
    found = contract.agreement(
        peers["all experts"].open(setup)(ROWS), peers["fp32"].open(setup)(ROWS)
    )
    assert found["min_cosine"] == 1.0


def test_codes_of_a_block_are_rounded_around_the_middle(load):
    weight = np.array([[[0.7, -0.7, 0.1, 0.0]]], np.float32)  # step 0.1 at 4 bits
    codes, scales = load("peer_graphs").quantize_blocks(weight, 4, 4)
    np.testing.assert_allclose(scales, [[[0.1]]], rtol=1e-6)
    # 15, 1, 9, 8; the first of two in the lower half of a byte
    np.testing.assert_array_equal(codes, [[[15 | 1 << 4, 9 | 8 << 4]]])


def test_padding_returns_every_vector_to_its_row(contract):
    seen = []

    def run_batch(ids, mask):
        seen.append(ids.shape)
        return np.stack([ids.sum(1) - (1 - mask).sum(1), mask.sum(1)], 1)  # pads are 1

    vectors = contract.padded(run_batch, budget_tokens=24)(ROWS)
    np.testing.assert_array_equal(vectors, [[row.sum(), len(row)] for row in ROWS])
    assert all(width % 4 == 0 for _, width in seen)


def test_llama_cpp_gets_whole_texts_within_its_batch(load):
    lengths = [30, 512, 8, 8, 8, 400, 100]
    batches = list(load("peer_llama").fill_batches(lengths, 512, 3))
    assert sorted(i for batch in batches for i in batch) == list(range(7))
    assert all(sum(lengths[i] for i in batch) <= 512 and len(batch) <= 3 for batch in batches)
    assert batches[0] == [1]


def test_llama_cpp_gets_every_tensor_but_the_bias_of_the_experts(load, tiny_checkpoint):
    from embedge.models.checkpoint import open_checkpoint, tensor_shapes

    source = open_checkpoint(tiny_checkpoint)
    tensors = dict(load("peer_llama").gguf_tensors(source))
    kept = [name for name in tensor_shapes(source.config) if not name.endswith("experts.bias")]
    assert len(tensors) == len(kept)
    config = source.config
    w2 = source.tensor("encoder.layers.1.mlp.experts.mlp.w2")
    expert_1 = w2[config.inner : 2 * config.inner]  # (inputs, outputs)
    np.testing.assert_array_equal(tensors["blk.1.ffn_down_exps.weight"][1], expert_1.T)


class FakeProcess:
    """Answers with a fixed number of seconds per text and remembers what it was asked."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.asked = seconds, 0

    def ask(self, do, rows, one_by_one):
        self.asked += 1
        return {"seconds": [self.seconds] * (len(rows) if one_by_one else 1)}


def test_a_slow_peer_sits_out_after_its_time_but_not_one_that_is_to_run_whole(load):
    turns = load("peer_turns")
    work = turns.Work("x", [ROWS] * 5, ROWS)
    fakes = {"ours": FakeProcess(1.0), "slow": FakeProcess(9.0), "whole": FakeProcess(9.0)}
    seconds = turns.take_turns(fakes, work, 5.0, ["whole"], lambda line: None)
    assert {name: len(times) for name, times in seconds.items()} == {
        "ours": 5, "slow": 2, "whole": 5
    }  # fmt: skip
    assert [fake.asked for fake in fakes.values()] == [6, 3, 6]  # and once to warm up


def test_ratios_are_formed_round_by_round(load):
    turns = load("peer_turns")
    work = turns.Work("3 mixed", [ROWS[:1], ROWS[1:2]], ())
    ours, peer = turns.table_rows(work, {"ours": [1.0, 2.0], "peer": [3.0, 4.0]}, "ours")
    assert (ours["times_slower"], peer["min"], peer["max"]) == (1.0, 2.0, 3.0)
    assert ours["tokens_per_s"] == round((5 / 1 + 11 / 2) / 2, 1)


def test_a_peer_that_is_not_installed_says_how_it_would_be(contract):
    peer = contract.Peer(lambda setup: None, package="no_such_package", install="pip install it")
    assert "pip install it" in peer.missing()


def test_a_peer_lives_in_a_process_of_its_own_and_its_failure_stays_there(load, setup):
    turns, graphs = load("peer_turns"), load("peer_graphs")
    process = turns.PeerProcess("fp32", graphs.PEERS["fp32"], setup)
    try:
        assert process.refusal is None
        vectors = process.ask("vectors", rows=ROWS)["vectors"]
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
        assert process.ask("memory")["peak_rss"] > 10e6
        with pytest.raises(RuntimeError, match="vocabulary"):
            process.ask("vectors", rows=[np.array([10**6])])
    finally:
        process.close()


def test_word_rows_of_the_bundled_model_are_decoded_as_its_graph_does(load):
    import onnx_ir as ir

    rows = load("dense_engines").word_rows(load("bundled_peers").BUNDLED / "model.onnx")
    table = "embeddings.word_embeddings.weight"
    constants = ir.load(load("bundled_peers").BUNDLED / "model.onnx").graph.initializers
    codes = constants[f"{table}.int4"].const_value.numpy()
    scales = constants[f"{table}.int4_scale"].const_value.numpy().astype(np.float32)
    half = codes.shape[1]
    word, column = 1000, half + 40  # the upper half of byte 40, block column // 32
    expected = (int(codes[word, 40] >> 4) - 8) * scales[word, column // 32]
    assert rows.shape == (len(codes), 2 * half)
    assert rows[word, column] == expected
