"""Distillation: the student learns from translation pairs and query-passage pairs.

The run can be killed at any time: its state is written whole or not at all, batches follow from
the seed and the step, and the next start goes on from there.
"""

import json
import random
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import nn

from embedge.models.bundle import fsync_path, write_atomically
from embedge.models.recipes.curriculum import (
    Weights,
    is_held_back,
    pair_batches,
    passage_batches,
)
from embedge.models.recipes.losses import retrieval_loss, translation_loss, unit
from embedge.models.recipes.network import Encoder, padded
from embedge.models.recipes.prepare import TEACHER_PREFIX, TrainingText
from embedge.models.recipes.settings import Recipe, TextSettings, TrainingSettings
from embedge.models.recipes.tokens import TextEncoder
from embedge.models.recipes.training_text import Pair, Passage
from embedge.models.recipes.validation import Validation

QUERY, DOCUMENT = "search_query: ", "search_document: "
PAIR_PREFIXES = (QUERY, DOCUMENT, "classification: ", "clustering: ")
PAIR_PREFIX_WEIGHTS = (5, 3, 1, 1)
PAIR_LIMIT, QUERY_LIMIT = 80, 48
"""Tokens."""
CLIP = 1.0


@dataclass
class Progress:
    """Where the run stands; tokens are the student's."""

    step: int = 0
    seconds: float = 0.0
    tokens: int = 0


class Teacher:
    """Unit target vectors, with the common part of their prefix taken out."""

    def __init__(self, encoder: Encoder, tokens: TextEncoder, means: Path) -> None:
        self._encoder = encoder
        self._tokens = tokens
        self._means = {k: torch.tensor(v) for k, v in json.loads(means.read_text()).items()}

    def targets(self, texts: Sequence[str], prefix: str, limit: int) -> torch.Tensor:
        """(texts, 384) for a prefix of the student."""
        own = TEACHER_PREFIX[prefix]
        with torch.inference_mode():
            pooled = self._encoder(*padded(self._tokens.ids(texts, own, limit)))
            vectors = unit(unit(pooled) - self._means[own])
        return vectors.clone()


class Distillation:
    """One run in one folder."""

    def __init__(
        self, recipe: Recipe, text: TrainingText, student: Encoder, teacher: Teacher, folder: Path
    ) -> None:
        self._settings = recipe.training
        self._student = student
        self._teacher = teacher
        self._folder = folder
        self._tokens = TextEncoder(folder / "tokenizer.json")
        self._progress = Progress()
        self._average = {k: v.clone() for k, v in student.state_dict().items()}
        self._optimizer = _optimizer(student, self._settings)
        pairs, passages, held = split(text, recipe.text)
        self._validation = Validation(held.pairs, held.passages, self._tokens)
        self._queries: dict[str, list[str]] = defaultdict(list)
        for passage in passages:
            self._queries[passage.key].append(passage.query)
        self._pair_batches, self._passage_batches = _streams(recipe, pairs, passages)

    def run(self, minutes: float | None) -> None:
        """Train until `steps` or, if given, until `minutes` of training time; then save."""
        self._resume()
        settings, student = self._settings, self._student
        student.train()
        seconds_before, start = self._progress.seconds, time.monotonic()
        while True:
            done = self._progress.step / settings.steps
            if minutes is not None:
                done = max(done, self._progress.seconds / 60 / minutes)
            if self._progress.step % settings.validate_every == 0 or done >= 1:
                self._validate()
            if done >= 1:
                break
            row = self._step(done)
            self._progress.seconds = seconds_before + time.monotonic() - start
            self._log({**asdict(self._progress), **row})
            if self._progress.step % settings.save_every == 0:
                self.save()
        self.save()

    def save(self) -> None:
        """Write `run.pt` (everything) and `average.pt` (averaged weights), each at once."""
        state = {
            "student": self._student.state_dict(),
            "average": self._average,
            "optimizer": self._optimizer.state_dict(),
            "progress": asdict(self._progress),
        }
        for name, value in (("run.pt", state), ("average.pt", self._average)):
            temporary = self._folder / f"{name}.part"
            torch.save(value, temporary)
            fsync_path(temporary)
            temporary.replace(self._folder / name)

    def _resume(self) -> None:
        path = self._folder / "run.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        self._student.load_state_dict(state["student"])
        self._average = state["average"]
        self._optimizer.load_state_dict(state["optimizer"])
        self._progress = Progress(**state["progress"])
        done = self._progress.step
        of_passages = done // self._settings.passages_every
        self._forget_log_after(done)
        _skip(self._passage_batches, of_passages)
        _skip(self._pair_batches, done - of_passages)
        print(f"resumed at step {done}", flush=True)

    def _forget_log_after(self, step: int) -> None:
        """Drop what a killed run logged behind its last save; those steps are made again."""
        path = self._folder / "log.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        write_atomically(path, "".join(kept).encode())

    def _step(self, done: float) -> dict[str, float | str]:
        settings, step = self._settings, self._progress.step
        rate = settings.learning_rate * min(1.0, (step + 1) / settings.warmup) * (1 - done)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        draw = random.Random(settings.seed * 1_000_003 + step)
        is_passages = step % settings.passages_every == settings.passages_every - 1
        if is_passages:
            loss = self._passage_loss(next(self._passage_batches), draw)
        else:
            loss = self._pair_loss(next(self._pair_batches), draw)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self._student.parameters(), CLIP)
        self._optimizer.step()
        self._update_average()
        self._progress.step += 1
        kind = "passages" if is_passages else "pairs"
        return {"kind": kind, "loss": loss.item(), "norm": float(norm), "rate": rate}

    def _pair_loss(self, batch: list[Pair], draw: random.Random) -> torch.Tensor:
        prefix = draw.choices(PAIR_PREFIXES, PAIR_PREFIX_WEIGHTS)[0]
        texts = [p.text for p in batch] + [p.english for p in batch]
        taught = self._teacher.targets(texts, prefix, PAIR_LIMIT)
        n = len(batch)
        target = unit(taught[:n] + taught[n:])
        pooled, balance = self._encode(texts, prefix, PAIR_LIMIT)
        loss = translation_loss(pooled[:n], pooled[n:], target, self._settings.contrast)
        return loss + self._settings.balance * balance

    def _passage_loss(self, batch: list[Passage], draw: random.Random) -> torch.Tensor:
        settings = self._settings
        queries = [p.query for p in batch]
        if draw.random() < settings.cross_lingual:
            queries = [draw.choice(self._queries[p.key]) for p in batch]
        texts = [p.text for p in batch]
        targets = (
            self._teacher.targets(queries, QUERY, QUERY_LIMIT),
            self._teacher.targets(texts, DOCUMENT, settings.passage_limit),
        )
        query, balance_q = self._encode(queries, QUERY, QUERY_LIMIT)
        passage, balance_p = self._encode(texts, DOCUMENT, settings.passage_limit)
        loss = retrieval_loss(query, passage, targets, settings.contrast)
        return loss + settings.balance * (0.2 * balance_q + 0.8 * balance_p)

    def _encode(
        self, texts: Sequence[str], prefix: str, limit: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        ids = self._tokens.ids(texts, prefix, limit)
        self._progress.tokens += sum(map(len, ids))
        pooled = self._student(*padded(ids))
        balance = sum((e.balance for e in self._student.experts()), torch.zeros(()))
        return pooled, balance

    def _update_average(self) -> None:
        # Few steps so far: average over what there is, not over the untrained weights.
        keep = min(self._settings.average, (self._progress.step + 1) / (self._progress.step + 10))
        with torch.no_grad():
            for name, value in self._student.state_dict().items():
                self._average[name].lerp_(value, 1 - keep)

    def _validate(self) -> None:
        own = {k: v.clone() for k, v in self._student.state_dict().items()}
        self._student.load_state_dict(self._average)
        self._student.eval()
        scores = self._validation.scores(self._student, self._teacher.targets)
        self._student.load_state_dict(own)
        self._student.train()
        self._log({"kind": "validation", **asdict(self._progress), **scores})

    def _log(self, row: dict[str, float | str]) -> None:
        line = json.dumps({k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()})
        with (self._folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        if row["kind"] == "validation" or row["step"] in (1, 2) or int(row["step"]) % 10 == 0:
            print(line, flush=True)


def split(
    text: TrainingText, settings: TextSettings
) -> tuple[list[Pair], list[Passage], TrainingText]:
    """Training pairs, training passages, and what is held back from both."""
    share = settings.held_back
    pairs = [p for p in text.pairs if not is_held_back(p.english, share)]
    held_pairs = [p for p in text.pairs if is_held_back(p.english, share)]
    passages = [p for p in text.passages if not is_held_back(p.key, share)]
    held_passages = [p for p in text.passages if is_held_back(p.key, share)]
    return pairs, passages, TrainingText(held_pairs, held_passages)


def _streams(
    recipe: Recipe, pairs: list[Pair], passages: list[Passage]
) -> tuple[Iterator[list[Pair]], Iterator[list[Passage]]]:
    text, training = recipe.text, recipe.training
    pair_weights = Weights(text.language_weights, text.source_weights, text.other_languages)
    passage_weights = Weights(text.passage_language_weights, text.source_weights, 1.0)
    return (
        pair_batches(pairs, pair_weights, tokens=training.pair_tokens, seed=training.seed),
        passage_batches(
            passages,
            passage_weights,
            tokens=training.passage_tokens,
            limit=training.passage_limit,
            seed=training.seed,
        ),
    )


def _optimizer(student: Encoder, settings: TrainingSettings) -> torch.optim.AdamW:
    matrices = [p for p in student.parameters() if p.ndim > 1]
    vectors = [p for p in student.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98), fused=True)


def _skip(batches: Iterator[object], count: int) -> None:
    next(islice(batches, count, count), None)
