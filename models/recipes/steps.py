"""The recipe's steps, each a function of the command line."""

import argparse
import json
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from embedge.models.durable import write_atomically
from embedge.models.errors import CheckpointError
from embedge.models.recipes.batches import BatchMaker
from embedge.models.recipes.card import model_card, texts_read
from embedge.models.recipes.checkpoint_folder import write_checkpoint
from embedge.models.recipes.corpus import Corpus, read_corpus
from embedge.models.recipes.curriculum import Streams
from embedge.models.recipes.curves import draw_curves, draw_expert_use
from embedge.models.recipes.distil import Distillation
from embedge.models.recipes.leakage import check_no_leakage
from embedge.models.recipes.network import Encoder, go_towards, load_teacher
from embedge.models.recipes.prepare import (
    HELD,
    TEACHER_TOKENIZER,
    TRAIN,
    Inputs,
    cut_vocabulary,
    keep_text,
    make_student,
    moe_layers,
    read_text,
    student_rows,
)
from embedge.models.recipes.provenance import side_file
from embedge.models.recipes.settings import Recipe, read_recipe
from embedge.models.recipes.teacher_file import TeacherFile, extract_teacher, read_teacher
from embedge.models.recipes.teachers import (
    EnglishSimilarity,
    Teacher,
    extract_similarity_teacher,
    load_similarity_teacher,
    read_means,
)
from embedge.models.recipes.tokenized import Tokenized, tokenize
from embedge.models.recipes.validation import Validation, measure_health


def run_step(arguments: argparse.Namespace) -> None:
    """Run `arguments.step`.

    Raises:
        EmbedgeError: as the step's functions say.
    """
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    recipe = read_recipe(arguments.recipe)
    work: Path = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.training.seed)
    if arguments.step == "prepare":
        _prepare(recipe, _inputs(arguments), work, arguments.teacher, arguments.second_teacher)
    elif arguments.step == "check":
        _check(recipe, _inputs(arguments))
    elif arguments.step == "train":
        device = torch.device(arguments.device)
        _train(recipe, work, device, arguments.minutes, fuse=arguments.fuse)
    elif arguments.step == "card":
        _card(recipe, work, arguments.start, arguments.out or work / "checkpoint")
    else:
        _write(recipe, work, arguments.start, arguments.out or work / "checkpoint")


def _inputs(arguments: argparse.Namespace) -> Inputs:
    names = ("teacher", "second_teacher", "tokenizer", "pack", "evaluation")
    missing = [n for n in names if getattr(arguments, n) is None]
    if missing:
        flags = ", ".join("--" + n.replace("_", "-") for n in missing)
        raise CheckpointError(f"the step {arguments.step} needs {flags}")
    return Inputs(
        arguments.tokenizer,
        arguments.pack,
        sorted(arguments.packages),
        arguments.evaluation,
        arguments.start,
    )


def _prepare(recipe: Recipe, inputs: Inputs, work: Path, teacher: Path, second: Path) -> None:
    file = read_teacher(extract_teacher(teacher, work))
    extract_similarity_teacher(second, work)
    text = read_text(recipe, inputs)
    cut_vocabulary(recipe.vocabulary, text, file, inputs, work)
    keep_text(recipe, text, file, inputs, work)
    make_student(recipe, read_corpus(work / TRAIN), file, inputs.start, work)


def _check(recipe: Recipe, inputs: Inputs) -> None:
    text = read_text(recipe, inputs)
    texts = chain(
        chain.from_iterable((p.text, p.english) for p in text.pairs),
        chain.from_iterable((p.query, p.text) for p in text.passages),
    )
    count = check_no_leakage(inputs.evaluation, texts)
    print(f"{count} training texts share nothing with {inputs.evaluation}")


def _train(
    recipe: Recipe, work: Path, device: torch.device, minutes: float | None, *, fuse: bool
) -> None:
    torch.set_float32_matmul_precision("high")
    corpus, tokens = _corpus(work, TRAIN)
    held, held_tokens = _corpus(work, HELD)
    print(f"{len(corpus.texts)} texts, {len(tokens.student.ids)} tokens", flush=True)
    file = _teacher_file(work)
    if not (work / "student.pt").exists():  # left behind, as the largest file
        make_student(recipe, corpus, file, None, work)
    encoder, means = load_teacher(file), read_means(work)
    teacher = Teacher(encoder, tokens.teacher, tokens.teacher_prefixes, means, device)
    held_teacher = Teacher(encoder, held_tokens.teacher, tokens.teacher_prefixes, means, device)
    english = None
    if tokens.english is not None and any(recipe.training.second_teacher.values()):
        second = load_similarity_teacher(work / "minilm")
        english = EnglishSimilarity(second, tokens.english, corpus.english(), device)
    student = _student(recipe, work, "student.pt").to(device)
    if fuse:
        student.compile_layers()
    training = recipe.training
    streams = Streams(corpus, tokens.student.lengths(), recipe.text, training)
    batches = BatchMaker(streams, tokens, teacher, english, training, device)
    validation = Validation(held, held_tokens, held_teacher.targets)
    Distillation(training, student, batches, validation, work).run(minutes)


def _corpus(work: Path, name: str) -> tuple[Corpus, Tokenized]:
    if not (work / name).is_dir():
        raise CheckpointError(f"{work / name} does not exist; run the step `prepare` first")
    corpus = read_corpus(work / name)
    second = work / "minilm" / "tokenizer.json"
    tokens = tokenize(
        corpus,
        work / name,
        work / "tokenizer.json",
        work / TEACHER_TOKENIZER,
        second if second.exists() else None,
    )
    return corpus, tokens


def _write(recipe: Recipe, work: Path, start: Path | None, out: Path) -> None:
    student, name = _trained(recipe, work)
    side = side_file(recipe, len(np.load(work / "rows.npy")), start)
    write_checkpoint(student, recipe.student.moe_every, work / "tokenizer.json", side, out)
    print(f"wrote {out} from {name}")


def _card(recipe: Recipe, work: Path, start: Path | None, out: Path) -> None:
    corpus, tokens = _corpus(work, TRAIN)
    held, held_tokens = _corpus(work, HELD)
    lines = (work / "log.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    steps = max(int(row["step"]) for row in rows)
    student = _trained(recipe, work)[0].eval()
    layers = moe_layers(recipe.student)
    health = measure_health(student, held, held_tokens, layers)
    draw_curves(rows, out / "curves.png")
    draw_expert_use(health.use, layers, out / "experts.png")
    streams = Streams(corpus, tokens.student.lengths(), recipe.text, recipe.training)
    card = model_card(recipe, rows, texts_read(corpus, streams, steps), health, start)
    write_atomically(out / "README.md", card.encode())
    print(f"wrote {out / 'README.md'}")


def _teacher_file(work: Path) -> TeacherFile:
    return read_teacher(extract_teacher(None, work))


def _trained(recipe: Recipe, work: Path) -> tuple[Encoder, str]:
    """What a run ends with, `trained_share` of the way from the untrained student; its name."""
    untrained = _student(recipe, work, "student.pt")
    if not (work / "average.pt").exists():
        return untrained, "student.pt"
    share = recipe.training.trained_share
    go_towards(untrained, _student(recipe, work, "average.pt"), share)
    return untrained, f"{share} of average.pt and {1 - share:.2g} of student.pt"


def _student(recipe: Recipe, work: Path, weights: str) -> Encoder:
    path = work / weights
    if not path.exists():
        raise CheckpointError(f"{path} does not exist; run the step `prepare` first")
    rows = student_rows(_teacher_file(work), work)
    student = Encoder(rows, moe_layers(recipe.student), four_bit=True)
    student.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    return student
