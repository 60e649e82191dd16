"""Peers in llama.cpp, through its Python package: F32, BF16, Q8_0, Q4_K_M of the same weights.

    CMAKE_ARGS="-DGGML_NATIVE=ON" pip install llama-cpp-python gguf

The F32 file is written here, the others by the package's own quantize call. There is no tokenizer
in the files, since ids are what every peer gets. llama.cpp's graph of this architecture has no
place for the experts' shared bias (its converter drops it, and so does this writer) and computes
the tanh form of GELU, so its vectors agree closely, not exactly.
"""

import ctypes
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from peer_contract import Peer, Rows, Run, Setup, Unavailable

from embedge.models.checkpoint import Checkpoint, open_checkpoint, tensor_shapes

ARCHITECTURE = "nomic-bert-moe"
# Tokens that one call computes; text is never cut, so no less than the longest one. Attention is
# computed over the whole of it, masked, so that more costs more: 512 was the fastest of 512, 1024
# and 2048.
BATCH_TOKENS = 512
_LINEAR = {"attn.Wqkv": "attn_qkv", "attn.out_proj": "attn_output",
           "mlp.fc1": "ffn_up", "mlp.fc2": "ffn_down"}  # fmt: skip
_NORM = {"norm1": "attn_output_norm", "norm2": "layer_output_norm"}


def gguf_tensors(source: Checkpoint) -> Iterator[tuple[str, np.ndarray]]:
    """Yield names and values as llama.cpp wants them; experts are (experts, outputs, inputs)."""
    config = source.config
    shapes = tensor_shapes(config)

    def read(name: str) -> np.ndarray:
        return np.asarray(source.tensor(name), np.float32)

    yield "token_embd.weight", read("embeddings.word_embeddings.weight")
    yield "token_types.weight", read("embeddings.token_type_embeddings.weight")
    for part in ("weight", "bias"):
        yield f"token_embd_norm.{part}", read(f"emb_ln.{part}")
    for layer in range(config.layers):
        old, new = f"encoder.layers.{layer}.", f"blk.{layer}."
        for name, ggml in (_LINEAR | _NORM).items():
            for part in ("weight", "bias"):
                if f"{old}{name}.{part}" in shapes:
                    yield f"{new}{ggml}.{part}", read(f"{old}{name}.{part}")
        if config.is_moe(layer):
            by_expert = (config.experts, config.inner, config.hidden)
            w1, w2 = (read(f"{old}mlp.experts.mlp.{w}").reshape(by_expert) for w in ("w1", "w2"))
            yield f"{new}ffn_gate_inp.weight", read(f"{old}mlp.router.layer.weight")
            yield f"{new}ffn_up_exps.weight", w1
            yield f"{new}ffn_down_exps.weight", np.ascontiguousarray(w2.transpose(0, 2, 1))


def write_gguf(checkpoint: Path, out: Path) -> None:
    """Write the float32 file; `out` appears only when it is complete.

    Raises:
        Unavailable: the model has learned positions, which this architecture has not.
    """
    import gguf

    source = open_checkpoint(checkpoint)
    config = source.config
    if config.rotary_base is None:
        raise Unavailable("llama.cpp's nomic-bert-moe has rotary positions only")
    partial_file = out.with_suffix(".partial")
    writer = gguf.GGUFWriter(partial_file, ARCHITECTURE)
    writer.add_context_length(config.positions)
    writer.add_embedding_length(config.hidden)
    writer.add_block_count(config.layers)
    writer.add_feed_forward_length(config.inner)
    writer.add_head_count(config.heads)
    writer.add_layer_norm_eps(config.epsilon)
    writer.add_rope_freq_base(config.rotary_base)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_moe_every_n_layers(2)
    writer.add_expert_count(config.experts)
    writer.add_expert_used_count(config.experts_per_token)
    writer.add_token_type_count(1)
    writer.add_tokenizer_model("no_vocab")
    writer.add_vocab_size(config.vocabulary)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    for name, values in gguf_tensors(source):
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial_file.rename(out)


def _silence() -> None:
    """Keep the library's log off the results; the callback has to stay alive."""
    import llama_cpp

    global _quiet
    _quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(_quiet, ctypes.c_void_p(0))


_quiet: object = None


def make_gguf(kind: str, setup: Setup) -> Path:
    """Write the file of one format and return its path."""
    import llama_cpp

    _silence()
    setup.work.mkdir(parents=True, exist_ok=True)
    plain = setup.work / "model-F32.gguf"
    assert setup.checkpoint is not None
    if not plain.exists():
        write_gguf(setup.checkpoint, plain)
    out = setup.work / f"model-{kind}.gguf"
    if not out.exists():
        settings = llama_cpp.llama_model_quantize_default_params()
        settings.nthread = setup.threads
        settings.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind}")
        partial_file = out.with_suffix(".partial")
        code = llama_cpp.llama_model_quantize(
            str(plain).encode(), str(partial_file).encode(), ctypes.byref(settings)
        )
        if code:
            raise Unavailable(f"llama_model_quantize to {kind} ended with {code}")
        partial_file.rename(out)
    return out


class LlamaEncoder:
    """One model and one context; texts become sequences of one batch, without padding."""

    def __init__(self, path: Path, threads: int) -> None:
        import llama_cpp

        self._api = llama_cpp
        llama_cpp.llama_backend_init()
        settings = llama_cpp.llama_model_default_params()
        settings.n_gpu_layers = 0
        self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), settings)
        if not self._model:
            raise Unavailable(f"llama.cpp cannot load {path.name}")
        context = llama_cpp.llama_context_default_params()
        context.n_ctx = context.n_batch = context.n_ubatch = BATCH_TOKENS
        context.n_seq_max = BATCH_TOKENS // 8
        context.n_threads = context.n_threads_batch = threads
        context.embeddings = True
        context.pooling_type = llama_cpp.LLAMA_POOLING_TYPE_MEAN
        self._context = llama_cpp.llama_init_from_model(self._model, context)
        if not self._context:
            raise Unavailable(f"llama.cpp makes no context for {path.name}")
        self._limit = BATCH_TOKENS, int(context.n_seq_max)
        self._hidden = llama_cpp.llama_model_n_embd(self._model)
        self._batch = llama_cpp.llama_batch_init(BATCH_TOKENS, 0, 1)

    def run(self, rows: Rows) -> np.ndarray:
        """Embed (texts); vectors (texts, hidden)."""
        vectors = np.empty((len(rows), self._hidden), np.float32)
        for chosen in fill_batches([len(row) for row in rows], *self._limit):
            self._compute([rows[place] for place in chosen])
            for sequence, place in enumerate(chosen):
                pointer = self._api.llama_get_embeddings_seq(self._context, sequence)
                vectors[place] = np.ctypeslib.as_array(pointer, (self._hidden,))
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def _compute(self, rows: Rows) -> None:
        batch, at = self._batch, 0
        for sequence, row in enumerate(rows):
            for position, token in enumerate(row.tolist()):
                batch.token[at], batch.pos[at] = token, position
                batch.n_seq_id[at], batch.seq_id[at][0] = 1, sequence
                batch.logits[at] = True
                at += 1
        batch.n_tokens = at
        code = self._api.llama_encode(self._context, batch)
        if code:
            raise RuntimeError(f"llama_encode ended with {code} on {at} tokens")


def fill_batches(lengths: list[int], tokens: int, texts: int) -> Iterator[list[int]]:
    """Fill batches with whole texts of similar length: at most so many tokens and texts each."""
    chosen: list[int] = []
    room = tokens
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        if chosen and (lengths[place] > room or len(chosen) == texts):
            yield chosen
            chosen, room = [], tokens
        chosen.append(place)
        room -= lengths[place]
    if chosen:
        yield chosen


def open_llama(kind: str, setup: Setup) -> Run:
    return LlamaEncoder(make_gguf(kind, setup), setup.threads).run


def _peer(kind: str) -> Peer:
    return Peer(
        partial(open_llama, kind), partial(make_gguf, kind), "llama_cpp",
        'CMAKE_ARGS="-DGGML_NATIVE=ON" pip install llama-cpp-python gguf',
    )  # fmt: skip


PEERS = {f"llama.cpp {kind}": _peer(kind) for kind in ("F32", "BF16", "Q8_0", "Q4_K_M")}
