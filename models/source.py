"""What a checkpoint's tensors do not say: name, licence, trained sizes, prompts, limits.

The published model's values are built in. For any other checkpoint they come, first found first,
from flags, from the side file `embedge-source.json`, and from the files of Sentence Transformers.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from embedge.models.checkpoint import weight_files
from embedge.models.config import EncoderConfig
from embedge.models.errors import ConfigError
from embedge.models.pooling import Pooling, read_pooling
from embedge.models.side_file import read_object
from embedge.models.source_check import ModelSizes, source_problems
from embedge.models.space import PROMPT_TASKS
from embedge.models.tensor_file import TensorFile

SIDE_FILE = "embedge-source.json"
PUBLISHED_REPOSITORY = "nomic-ai/nomic-embed-text-v2-moe"
PUBLISHED_REVISION = "1066b6599d099fbb93dfcb64f9c37a7c9e503e85"

# The trained <pad> row of the published weights; no other checkpoint of this shape has it.
_PUBLISHED_PAD_ABSMAX = 1.499232e-02


@dataclass(frozen=True, kw_only=True)
class SourceOverrides:
    """Values given by flags or by a side file; None means not given."""

    name: str | None = None
    short_name: str | None = None
    revision: str | None = None
    license: str | None = None
    matryoshka: tuple[int, ...] | None = None
    prompts: Mapping[str, str] | None = None
    prompt_aliases: Mapping[str, str] | None = None
    max_tokens: int | None = None
    pooling: Pooling | None = None
    floors: Mapping[str, Mapping[str, float]] | None = None
    sources: tuple[Mapping[str, str], ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Source:
    """Everything about a checkpoint that its bundle repeats.

    Attributes:
        revision: as its publisher counts; None if nobody said.
        matryoshka: trained sizes, largest first; the first is the hidden size.
        prompts: the prefix of each of the four tasks; empty where the model has none.
        prompt_aliases: other spellings of the tasks.
        max_tokens: longest input, special tokens included.
        pooling: what makes one vector of the hidden states: their mean, or the first (`cls`).
        floors: binding quality floors per variant; empty unless the source declares them.
        sources: what the model was made from, with licences.
        is_published: these are the published weights of nomic-embed-text-v2-moe.
    """

    name: str
    short_name: str
    revision: str | None
    license: str
    matryoshka: tuple[int, ...]
    prompts: Mapping[str, str]
    prompt_aliases: Mapping[str, str] = field(default_factory=dict)
    max_tokens: int = 512
    pooling: Pooling = "mean"
    floors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    sources: tuple[Mapping[str, str], ...] = ()
    is_published: bool = False


PUBLISHED_CONFIG = EncoderConfig(
    vocabulary=250048, hidden=768, layers=12, heads=12, inner=3072, experts=8,
    experts_per_token=2, moe_every=2, epsilon=1e-05, positions=2048, rotary_base=10000.0,
)  # fmt: skip

# Names, prompts and licence: model card, config_sentence_transformers.json; sizes: the paper,
# section 4.5; floors: what INT8 must keep against the fp32 graph, our choice.
_PUBLISHED = Source(
    name="nomic-embed-text-v2-moe",
    short_name="nv2m",
    revision=PUBLISHED_REVISION,
    license="Apache-2.0",
    matryoshka=(768, 256),
    prompts={
        "classification": "classification: ",
        "clustering": "clustering: ",
        "document": "search_document: ",
        "query": "search_query: ",
    },
    prompt_aliases={
        "passage": "document",
        "Speed": "document",
        "Classification": "classification",
        "MultilabelClassification": "classification",
        "PairClassification": "classification",
        "STS": "classification",
        "Summarization": "classification",
        "Clustering": "clustering",
    },
    max_tokens=512,
    floors={
        "int8": {"mean": 0.998, "language": 0.997, "p1": 0.994},
        "int8-avx2": {"mean": 0.996, "language": 0.994, "p1": 0.985},
    },
    sources=(
        {
            "what": "weights and tokenizer",
            "from": f"https://huggingface.co/{PUBLISHED_REPOSITORY}",
            "license": "Apache-2.0",
        },
        {
            "what": "vocabulary, through XLM-RoBERTa base",
            "from": "https://huggingface.co/FacebookAI/xlm-roberta-base",
            "license": "MIT",
        },
    ),
    is_published=True,
)


def read_source(
    folder: Path,
    config: ModelSizes,
    overrides: SourceOverrides | None = None,
    *,
    poolings: Sequence[Pooling] = ("mean",),
) -> Source:
    """Collect what is known about the checkpoint in `folder`.

    Args:
        folder: the checkpoint.
        config: its sizes.
        overrides: values of flags, which win.
        poolings: the kinds of pooling that the exporter can write.

    Raises:
        ConfigError: a value is impossible or contradicts the model; names every problem.
    """
    flags = overrides or SourceOverrides()
    if is_published(folder, config):
        source = _merge(_PUBLISHED, flags)
    else:
        known = _from_folder(folder, config, poolings)
        source = _merge(_merge(known, _read_side_file(folder)), flags)
    problems = source_problems(source, config, poolings)
    if problems:
        raise ConfigError(
            f"{folder}: {'; '.join(problems)}. Correct the flag, or {SIDE_FILE} in that folder."
        )
    return source


def is_published(folder: Path, config: ModelSizes) -> bool:
    """Say whether the folder holds the published weights: config, shape and the <pad> row."""
    if config != PUBLISHED_CONFIG:
        return False
    name = "embeddings.word_embeddings.weight"
    rows = [
        file.rows(name, 1, 2)
        for file in map(TensorFile, weight_files(folder))
        if name in file.entries and file.entries[name].shape[0] > 1
    ]
    return any(
        np.isclose(np.abs(row).max(), _PUBLISHED_PAD_ABSMAX, rtol=0, atol=5e-9) for row in rows
    )


def _merge(source: Source, given: SourceOverrides) -> Source:
    values = {f.name: getattr(source, f.name) for f in fields(Source)}
    for item in fields(SourceOverrides):
        value = getattr(given, item.name)
        if value is not None:
            values[item.name] = value
    if given.name is not None and given.short_name is None:
        values["short_name"] = _short(given.name)
    if given.prompts is not None:
        # Aliases of an older table would point at other prefixes.
        values["prompt_aliases"] = given.prompt_aliases or _aliases(source, given.prompts)
    return Source(**values)


def _aliases(source: Source, prompts: Mapping[str, str]) -> Mapping[str, str]:
    return {
        alias: task
        for alias, task in source.prompt_aliases.items()
        if prompts.get(task) == source.prompts.get(task)
    }


def _short(name: str) -> str:
    letters = "".join(letter for letter in name.lower() if letter.isalnum() and letter.isascii())
    return letters[:8] or "model"


def _from_folder(folder: Path, config: ModelSizes, poolings: Sequence[Pooling]) -> Source:
    # A folder may be called anything; a model's name becomes part of paths.
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).strip("-._") or "model"
    prompts, aliases = _prompts(read_object(folder / "config_sentence_transformers.json"))
    # Which vector this is decides before anything else.
    pooling = read_pooling(folder, poolings)
    return Source(
        name=name,
        short_name=_short(name),
        revision=None,
        license="unknown",
        matryoshka=(config.hidden,),
        prompts=prompts,
        prompt_aliases=aliases,
        max_tokens=_longest_input(folder, config.positions),
        pooling=pooling,
    )


def _longest_input(folder: Path, positions: int) -> int:
    """Return the limit of Sentence Transformers, else that of the tokenizer, else of the model."""
    limit = read_object(folder / "sentence_bert_config.json").get("max_seq_length")
    if type(limit) is int:
        return limit
    # Tokenizers without a limit write 10^30.
    limit = read_object(folder / "tokenizer_config.json").get("model_max_length")
    return limit if type(limit) is int and 0 < limit <= positions else positions


def _prompts(raw: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """Split the table of Sentence Transformers into our four tasks and other spellings of them."""
    table = {str(key): str(value) for key, value in (raw.get("prompts") or {}).items()}
    spellings = {"document": ("document", "passage")}
    prompts: dict[str, str] = dict.fromkeys(PROMPT_TASKS, "")
    for task in PROMPT_TASKS:
        for spelling in spellings.get(task, (task, task.capitalize())):
            if not prompts[task]:
                prompts[task] = table.get(spelling, "")
    aliases: dict[str, str] = {}
    for key, prefix in table.items():
        tasks = [task for task in PROMPT_TASKS if prompts[task] == prefix != ""]
        if key not in PROMPT_TASKS and tasks:
            aliases[key] = tasks[0]
    return prompts, aliases


def _read_side_file(folder: Path) -> SourceOverrides:
    raw = dict(read_object(folder / SIDE_FILE))
    unknown = sorted(raw.keys() - {f.name for f in fields(SourceOverrides)})
    if unknown:
        raise ConfigError(
            f"{folder / SIDE_FILE}: unknown keys {', '.join(unknown)}; known are "
            f"{', '.join(f.name for f in fields(SourceOverrides))}"
        )
    for key in ("matryoshka", "sources"):
        if isinstance(raw.get(key), list):
            raw[key] = tuple(raw[key])
    return SourceOverrides(**raw)
