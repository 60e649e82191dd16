"""First step: text, vocabulary and the untrained student, written to the working folder.

All that training needs lies there afterwards: the corpus, the tokenizers, the teachers' weights.
"""

import json
import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from embedge.models.durable import write_atomically
from embedge.models.recipes.corpus import Corpus, build_corpus, write_corpus
from embedge.models.recipes.curriculum import is_held_back
from embedge.models.recipes.leakage import EvaluationText, evaluation_texts
from embedge.models.recipes.network import Encoder, batch_of, load_teacher
from embedge.models.recipes.package_text import (
    MANY,
    read_documentation,
    read_glosses,
    read_place_names,
)
from embedge.models.recipes.settings import Recipe, StudentSettings, VocabularySettings
from embedge.models.recipes.teacher_file import LAYERS, TeacherFile
from embedge.models.recipes.tokens import TextEncoder, like_length
from embedge.models.recipes.training_text import (
    Pair,
    Passage,
    read_catalogues,
    read_graded,
    read_pairs,
    read_passages,
    sample,
)
from embedge.models.recipes.transplant import read_student
from embedge.models.recipes.upcycle import Routing, centre, moe_inputs, routing_for, up_cycle
from embedge.models.recipes.vocabulary import (
    PREFIX_PIECES,
    choose_pieces,
    count_shares,
    missing_words,
    row_sources,
    write_tokenizer,
)

ROW_MULTIPLE = 64
TEACHER_TOKENIZER = "teacher-tokenizer.json"
TRAIN, HELD = "train", "held"
"""Folders of the corpus that is trained on and of the one that is held back."""
CPU = torch.device("cpu")
XLMR_LANGUAGES = frozenset(
    "af am ar as az be bg bn br bs ca cs cy da de el en eo es et eu fa fi fr fy ga gd gl gu ha he "
    "hi hr hu hy id is it ja jv ka kk km kn ko ku ky la lo lt lv mg mk ml mn mr ms my nb ne nl nn "
    "no om or pa pl ps pt ro ru sa sd si sk sl so sq sr su sv sw ta te th tl tr ug uk ur uz vi xh "
    "yi zh".split()
)
"""Languages of XLM-R; a catalogue in another one says nothing about useful pieces."""


@dataclass(frozen=True)
class Inputs:
    """Paths: XLM-R tokenizer, training pack, packages with text, evaluation text.

    `start` is an earlier checkpoint to go on from; None up-cycles the teacher.
    """

    tokenizer: Path
    pack: Path
    packages: Sequence[Path]
    evaluation: Path
    start: Path | None = None


@dataclass(frozen=True)
class TrainingText:
    """Everything that is read."""

    pairs: list[Pair]
    passages: list[Passage]


def read_text(recipe: Recipe, inputs: Inputs) -> TrainingText:
    """Read the pack and the packages.

    The pack is clean of evaluation text as it is; text of packages that shares some is dropped.
    """
    pairs, passages = read_pairs(inputs.pack, recipe.text.left_out), read_passages(inputs.pack)
    evaluation = EvaluationText(evaluation_texts(inputs.evaluation))
    for pair in chain(read_catalogues(inputs.packages), read_place_names(inputs.packages)):
        if pair.language in XLMR_LANGUAGES | {MANY} and not (
            evaluation.shares(pair.text) or evaluation.shares(pair.english)
        ):
            pairs.append(pair)
    for passage in chain(read_glosses(inputs.packages), read_documentation(inputs.packages)):
        if not (evaluation.shares(passage.text) or evaluation.shares(passage.query)):
            passages.append(passage)
    return TrainingText(pairs, passages)


def keep_text(
    recipe: Recipe, text: TrainingText, file: TeacherFile, inputs: Inputs, folder: Path
) -> None:
    """Write both corpora and the teacher's tokenizer; the vocabulary must have been cut."""
    kept = np.load(folder / "rows.npy")
    words = missing_words(file.pieces, kept, recipe.vocabulary.scripts)
    settings = recipe.text
    for name, held in ((TRAIN, False), (HELD, True)):
        (folder / name).mkdir(exist_ok=True)
        for stale in (folder / name).glob("*_tokens.npz"):
            stale.unlink()
        pairs = [p for p in text.pairs if is_held_back(p.english, settings.held_back) == held]
        passages = [
            p for p in text.passages if is_held_back(p.key, settings.held_back_passages) == held
        ]
        more = ((), read_graded(inputs.pack)) if held else (words, ())
        write_corpus(build_corpus(pairs, passages, *more), folder / name)
    shutil.copyfile(inputs.tokenizer, folder / TEACHER_TOKENIZER)


def cut_vocabulary(
    settings: VocabularySettings,
    text: TrainingText,
    file: TeacherFile,
    inputs: Inputs,
    folder: Path,
) -> None:
    """Write `tokenizer.json` and `rows.npy` (teacher row of each student row)."""
    by_language: dict[str, list[str]] = defaultdict(list)
    for pair in text.pairs:
        if pair.language == MANY:  # names, of which no language has more than a few
            continue
        by_language[pair.language].append(pair.text)
        by_language["en"].append(pair.english)
    long: dict[str, list[str]] = defaultdict(list)
    for passage in text.passages:
        long[passage.language].append(passage.text[:1200])
    weights, texts = {}, {}
    for language, some in by_language.items():
        chosen = sample(dict.fromkeys(some), settings.texts_per_language, seed=0)
        texts[language] = chosen + sample(long[language], settings.texts_per_language // 40, seed=0)
        weights[language] = 1.0
        if language not in long:
            # A catalogue of a few thousand characters is a noisy count: trust it less.
            enough = min(1.0, sum(map(len, chosen)) / 20_000) ** 0.5
            weights[language] = settings.catalogue_weight * enough
    weights["en"] = settings.english_weight
    shares = count_shares(inputs.tokenizer, texts, weights, len(file.pieces))
    kept = choose_pieces(
        shares,
        file.pieces,
        file.scores,
        size=settings.size,
        unigram=settings.unigram,
        scripts=settings.scripts,
    )
    added = PREFIX_PIECES if inputs.start is None else {}
    scored = (file.pieces, file.scores)
    write_tokenizer(inputs.tokenizer, kept, scored, added, folder / "tokenizer.json")
    np.save(folder / "rows.npy", row_sources(kept, file.pieces, added))


def moe_layers(settings: StudentSettings) -> list[int]:
    """Layers with experts (config `moe_every_n_layers`)."""
    return [i for i in range(LAYERS) if i % settings.moe_every == 1]


def student_rows(file: TeacherFile, folder: Path) -> torch.Tensor:
    """Word rows (rows, hidden), padded with zeros to a multiple of 64."""
    chosen = file.tensors["emb.word"][np.load(folder / "rows.npy")]
    padding = -len(chosen) % ROW_MULTIPLE
    return torch.from_numpy(np.pad(chosen, ((0, padding), (0, 0))))


def teacher_means(
    teacher: Encoder, encoder: TextEncoder, texts: list[str]
) -> dict[str, list[float]]:
    """Mean unit vector per prefix: e5's common part, norm about 0.89."""
    means = {}
    for prefix in ("query: ", "passage: "):
        vectors = torch.nn.functional.normalize(embed(teacher, encoder, texts, prefix), dim=-1)
        means[prefix] = vectors.mean(0).tolist()
    return means


def embed(
    encoder: Encoder, tokens: TextEncoder, texts: Sequence[str], prefix: str, limit: int = 128
) -> torch.Tensor:
    """Means (texts, hidden), not normalised."""
    ids = tokens.ids(texts, prefix, limit)
    out = torch.zeros(len(ids), encoder.positions.shape[1])
    with torch.no_grad():
        for rows in like_length([len(i) for i in ids], 4096):
            out[rows] = encoder(batch_of([ids[i] for i in rows], CPU))
    return out


def make_student(
    recipe: Recipe, corpus: Corpus, file: TeacherFile, start: Path | None, folder: Path
) -> None:
    """Write `student.pt` (untrained) and `means.json` (the teacher's mean vectors).

    The folder must hold both tokenizers.
    """
    generator = torch.Generator().manual_seed(recipe.training.seed)
    teacher, full = load_teacher(file), TextEncoder(folder / TEACHER_TOKENIZER)
    sentences = sample((corpus.texts[i] for i in corpus.pairs[:, 0]), 1200, 1)
    sentences += sample((corpus.texts[i] for i in corpus.passages[:, 0]), 100, 1)
    means = teacher_means(teacher, full, sentences)
    write_atomically(folder / "means.json", json.dumps(means).encode())
    if start is not None:
        rows = student_rows(file, folder)
        earlier = read_student(start, rows, moe_layers(recipe.student))
        torch.save(earlier.state_dict(), folder / "student.pt")
        return
    routings: dict[int, Routing] = {}
    for layer in moe_layers(recipe.student):
        inputs_seen = []
        for prefix in ("query: ", "passage: "):
            ids = full.ids(sentences[::2], prefix, 128)
            for some in like_length([len(i) for i in ids], 4096):
                batch = batch_of([ids[i] for i in some], CPU)
                inputs_seen.append(moe_inputs(teacher, batch, layer))
        routings[layer] = routing_for(torch.cat(inputs_seen), generator)
    student = up_cycle(
        file,
        student_rows(file, folder),
        routings,
        noise=recipe.student.noise,
        generator=generator,
    )
    own = TextEncoder(folder / "tokenizer.json")
    pooled = [embed(student, own, sentences, p) for p in ("search_query: ", "search_document: ")]
    centre(student, torch.cat(pooled).mean(0))
    torch.save(student.state_dict(), folder / "student.pt")
