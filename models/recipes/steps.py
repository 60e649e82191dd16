"""The recipe's steps, each a function of the command line."""

import argparse
import json
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from embedge.models.bundle import write_atomically
from embedge.models.errors import CheckpointError
from embedge.models.recipes.card import model_card, texts_read
from embedge.models.recipes.checkpoint_folder import write_checkpoint
from embedge.models.recipes.curves import draw_curves, draw_expert_use
from embedge.models.recipes.distil import Distillation, Teacher, split
from embedge.models.recipes.leakage import check_no_leakage
from embedge.models.recipes.network import Encoder, load_teacher
from embedge.models.recipes.prepare import (
    Inputs,
    cut_vocabulary,
    make_student,
    moe_layers,
    read_text,
    student_rows,
)
from embedge.models.recipes.provenance import side_file
from embedge.models.recipes.settings import Recipe, read_recipe
from embedge.models.recipes.teacher_file import TeacherFile, extract_teacher, read_teacher
from embedge.models.recipes.tokens import TextEncoder
from embedge.models.recipes.validation import measure_health


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
    inputs = Inputs(
        arguments.tokenizer,
        arguments.pack,
        sorted(arguments.catalogues),
        arguments.evaluation,
        arguments.start,
    )
    file = read_teacher(extract_teacher(arguments.teacher, work))
    torch.manual_seed(recipe.training.seed)
    if arguments.step == "prepare":
        text = read_text(recipe, inputs)
        cut_vocabulary(recipe.vocabulary, text, file, inputs, work)
        make_student(recipe, text, file, inputs, work)
    elif arguments.step == "check":
        _check(recipe, inputs)
    elif arguments.step == "train":
        _train(recipe, inputs, file, work, arguments.minutes)
    elif arguments.step == "card":
        _card(recipe, inputs, file, work, arguments.out or work / "checkpoint")
    else:
        _write(recipe, inputs, file, work, arguments.out or work / "checkpoint")


def _check(recipe: Recipe, inputs: Inputs) -> None:
    text = read_text(recipe, inputs)
    texts = chain(
        chain.from_iterable((p.text, p.english) for p in text.pairs),
        chain.from_iterable((p.query, p.text) for p in text.passages),
    )
    count = check_no_leakage(inputs.evaluation, texts)
    print(f"{count} training texts share nothing with {inputs.evaluation}")


def _train(
    recipe: Recipe, inputs: Inputs, file: TeacherFile, work: Path, minutes: float | None
) -> None:
    student = _student(recipe, file, work, "student.pt")
    teacher = Teacher(load_teacher(file), TextEncoder(inputs.tokenizer), work / "means.json")
    text = read_text(recipe, inputs)
    Distillation(recipe, text, student, teacher, work).run(minutes)


def _write(recipe: Recipe, inputs: Inputs, file: TeacherFile, work: Path, out: Path) -> None:
    weights = "average.pt" if (work / "average.pt").exists() else "student.pt"
    student = _student(recipe, file, work, weights)
    side = side_file(recipe, len(np.load(work / "rows.npy")), inputs.start)
    write_checkpoint(student, recipe.student.moe_every, work / "tokenizer.json", side, out)
    print(f"wrote {out} from {weights}")


def _card(recipe: Recipe, inputs: Inputs, file: TeacherFile, work: Path, out: Path) -> None:
    text = read_text(recipe, inputs)
    pairs, passages, held = split(text, recipe.text)
    lines = (work / "log.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    steps = max(int(row["step"]) for row in rows)
    student = _student(recipe, file, work, "average.pt").eval()
    tokens, layers = TextEncoder(work / "tokenizer.json"), moe_layers(recipe.student)
    health = measure_health(student, tokens, held.pairs, layers)
    draw_curves(rows, out / "curves.png")
    draw_expert_use(health.use, layers, out / "experts.png")
    card = model_card(
        recipe, rows, texts_read(recipe, pairs, passages, steps), health, inputs.start
    )
    write_atomically(out / "README.md", card.encode())
    print(f"wrote {out / 'README.md'}")


def _student(recipe: Recipe, file: TeacherFile, work: Path, weights: str) -> Encoder:
    path = work / weights
    if not path.exists():
        raise CheckpointError(f"{path} does not exist; run the step `prepare` first")
    student = Encoder(student_rows(file, work), moe_layers(recipe.student))
    student.load_state_dict(torch.load(path, weights_only=True))
    return student
