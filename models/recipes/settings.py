"""The recipe's one configuration file, `recipe.toml`."""

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

from embedge.models.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True)
class TextSettings:
    """Which text is read and how much of each."""

    left_out: list[str]
    held_back: float
    held_back_passages: float
    language_weights: dict[str, float]
    other_languages: float
    source_weights: dict[str, float]
    passage_language_weights: dict[str, float]


@dataclass(frozen=True)
class VocabularySettings:
    """Pieces kept, weight of their own probability, scripts, weights of languages."""

    size: int
    unigram: float
    scripts: list[str]
    english_weight: float
    catalogue_weight: float
    texts_per_language: int


@dataclass(frozen=True)
class StudentSettings:
    """MoE layers are those with i % every == 1; noise in deviations of the copied weights."""

    moe_every: int
    noise: float


@dataclass(frozen=True)
class TrainingSettings:
    """Optimiser, batch sizes in texts, loss weights; `steps` ends the learning-rate decay.

    `row_rate` is the word rows' own learning rate, `turn_rate` that of the rotation; `cut_pieces`
    the share of pieces that are cut into smaller ones in every other batch; `english_share` the
    English side's part in the target of a translation; `second_teacher` the similarity teacher's
    part in the wanted similarities, by prefix; `words` the weight of the states of words in some
    layers, `last_words` of the last layer's in passages; `trained_share` says how far what is
    written lies from the untrained student towards the trained one.
    """

    seed: int
    steps: int
    warmup: int
    learning_rate: float
    row_rate: float
    turn_rate: float
    weight_decay: float
    pairs: int
    passages: int
    passages_every: int
    cross_lingual: float
    cut_pieces: float
    english_share: float
    second_teacher: dict[str, float]
    vectors: float
    similarities: float
    level: float
    contrast: float
    passage_contrast: float
    words: float
    last_words: float
    balance: float
    average: float
    trained_share: float
    validate_every: int
    save_every: int


@dataclass(frozen=True)
class Recipe:
    """All settings."""

    text: TextSettings
    vocabulary: VocabularySettings
    student: StudentSettings
    training: TrainingSettings


def read_recipe(path: Path) -> Recipe:
    """Read the configuration.

    Raises:
        ConfigError: a section or key is missing or unknown.
    """
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    sections = {field.name for field in fields(Recipe)}
    if document.keys() != sections:
        raise ConfigError(f"{path}: sections {sorted(document)}, expected {sorted(sections)}")
    return Recipe(
        _section(path, document, "text", TextSettings),
        _section(path, document, "vocabulary", VocabularySettings),
        _section(path, document, "student", StudentSettings),
        _section(path, document, "training", TrainingSettings),
    )


def _section(path: Path, document: dict[str, dict[str, object]], name: str, kind: type[T]) -> T:
    expected = set(kind.__annotations__)
    given = document[name]
    wrong = expected ^ given.keys()
    if wrong:
        raise ConfigError(f"{path} [{name}]: missing or unknown keys {sorted(wrong)}")
    return kind(**given)
