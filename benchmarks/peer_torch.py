"""Peers in PyTorch: plain eager mode in float32 and bfloat16, and sentence-transformers.

    pip install torch==2.13.0 sentence-transformers

sentence-transformers reads this architecture only through code that a model folder brings along
(`trust_remote_code`), which is not run here; its own reader of the architecture takes the folder
without complaint and leaves the experts out, which the check of the vectors finds.
"""

from functools import partial

import numpy as np
from peer_contract import Peer, Run, Setup, Unavailable, padded

INSTALL = "pip install torch==2.13.0"


def open_torch(dtype: str, setup: Setup) -> Run:
    import torch
    from torch_encoder import TorchEncoder

    assert setup.checkpoint is not None
    torch.set_num_threads(setup.threads)
    torch.set_flush_denormal(True)
    return padded(TorchEncoder(setup.checkpoint, getattr(torch, dtype)).run)


def open_sentence_transformers(setup: Setup) -> Run:
    """Open the checkpoint without remote code, in float32.

    Raises:
        Unavailable: the library refuses the folder; the message is its own.
    """
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Normalize, Pooling, Transformer

    torch.set_num_threads(setup.threads)
    try:
        words = Transformer(str(setup.checkpoint), max_seq_length=512)
        model = SentenceTransformer(
            modules=[words, Pooling(words.get_word_embedding_dimension()), Normalize()],
            device="cpu",
        )
    except Exception as error:  # whatever it says; the peer is then left out with this line
        raise Unavailable(
            f"cannot load the model without remote code: {_first_line(error)}"
        ) from None

    def run_batch(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        fed = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
        with torch.inference_mode():
            return model(fed)["sentence_embedding"].float().numpy()

    return padded(run_batch)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _peer(dtype: str) -> Peer:
    return Peer(partial(open_torch, dtype), package="torch", install=INSTALL)


PEERS = {
    "torch fp32": _peer("float32"),
    "torch bf16": _peer("bfloat16"),
    "sentence-transformers": Peer(
        open_sentence_transformers,
        package="sentence_transformers",
        install=f"{INSTALL} sentence-transformers",
    ),
}
