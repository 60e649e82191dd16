"""First step: text, vocabulary and the untrained student, written to the working folder.

All that training needs lies there afterwards: the corpus, the tokenizers, the teachers' weights.
"""

import json
import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from embedge.models.durable import write_atomically
from embedge.models.recipes.corpus import Corpus, build_corpus, write_corpus
from embedge.models.recipes.curriculum import is_held_back
from embedge.models.recipes.leakage import EvaluationText, evaluation_texts
from embedge.models.recipes.network import Encoder, batch_of, load_teacher
from embedge.models.recipes.settings import Recipe, StudentSettings, VocabularySettings
from embedge.models.recipes.teacher_file import LAYERS, TeacherFile
from embedge.models.recipes.tokens import TextEncoder, like_length
from embedge.models.recipes.training_text import (
    Pair,
    Passage,
    read_catalogues,
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
    """Paths: XLM-R tokenizer, training pack, wheels with catalogues, evaluation text.

    `start` is an earlier checkpoint to go on from; None up-cycles the teacher.
    """

    tokenizer: Path
    pack: Path
    catalogues: Sequence[Path]
    evaluation: Path
    start: Path | None = None


@dataclass(frozen=True)
class TrainingText:
    """Everything that is read."""

    pairs: list[Pair]
    passages: list[Passage]


def read_text(recipe: Recipe, inputs: Inputs) -> TrainingText:
    """Read the pack and the catalogues.

    The pack is clean of evaluation text as it is; catalogue strings that share some are dropped.
    """
    pairs = read_pairs(inputs.pack, recipe.text.left_out)
    evaluation = EvaluationText(evaluation_texts(inputs.evaluation))
    for pair in read_catalogues(inputs.catalogues):
        if pair.language in XLMR_LANGUAGES and not (
            evaluation.shares(pair.text) or evaluation.shares(pair.english)
        ):
            pairs.append(pair)
    return TrainingText(pairs, read_passages(inputs.pack))


def keep_text(recipe: Recipe, text: TrainingText, inputs: Inputs, folder: Path) -> None:
    """Write both corpora and the teacher's tokenizer."""
    share = recipe.text.held_back
    for name, held in ((TRAIN, False), (HELD, True)):
        (folder / name).mkdir(exist_ok=True)
        pairs = [p for p in text.pairs if is_held_back(p.english, share) == held]
        passages = [p for p in text.passages if is_held_back(p.key, share) == held]
        write_corpus(build_corpus(pairs, passages), folder / name)
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
