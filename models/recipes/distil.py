"""Distillation: the student learns from translation pairs and query-passage pairs.

The run can be killed at any time: its state is written whole or not at all, batches follow from
the seed and the step, and the next start goes on from there. SIGTERM saves first.
"""

import json
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from embedge.models.durable import fsync_path, write_atomically
from embedge.models.recipes.batches import (
    PASSAGE_WORD_LAYERS,
    WORD_LAYERS,
    BatchMaker,
    PairBatch,
    PassageBatch,
)
from embedge.models.recipes.losses import (
    Weights,
    final_word_error,
    retrieval_loss,
    translation_loss,
    word_error,
)
from embedge.models.recipes.network import Batch, Encoder
from embedge.models.recipes.settings import TrainingSettings
from embedge.models.recipes.teacher_file import HIDDEN
from embedge.models.recipes.teachers import half_precision
from embedge.models.recipes.validation import Validation

CLIP = 1.0
LOG_EVERY = 20


@dataclass
class Progress:
    """Where the run stands; tokens are the student's."""

    step: int = 0
    seconds: float = 0.0
    tokens: int = 0


class Distillation:
    """One run in one folder."""

    def __init__(
        self,
        settings: TrainingSettings,
        student: Encoder,
        batches: BatchMaker,
        validation: Validation,
        folder: Path,
    ) -> None:
        self._settings = settings
        self._student = student
        self._batches = batches
        self._validation = validation
        self._folder = folder
        self._progress = Progress()
        self._stopped = False
        self._device = student.rows.device
        self._network = [p for n, p in student.named_parameters() if n != "rows"]
        self._turn = Turn().to(self._device)
        self._average = {k: v.clone() for k, v in student.state_dict().items()}
        self._optimizers = _optimizers(student, self._turn, settings)
        self._losses = Weights(
            settings.vectors,
            settings.similarities,
            settings.level,
            settings.contrast,
            settings.passage_contrast,
        )

    def run(self, minutes: float | None) -> None:
        """Train until `steps` or, if given, until `minutes` of training time; then save."""
        self._resume()
        settings, student = self._settings, self._student
        student.train()
        signal.signal(signal.SIGTERM, self._stop)
        seconds_before, start = self._progress.seconds, time.monotonic()
        for batch in self._prefetched():
            self._progress.seconds = seconds_before + time.monotonic() - start
            done = self._progress.step / settings.steps
            if minutes is not None:
                done = max(done, self._progress.seconds / 60 / minutes)
            if self._progress.step % settings.validate_every == 0 or done >= 1:
                self._validate()
            if done >= 1 or self._stopped:
                break
            self._step(batch, done)
            if self._progress.step % settings.save_every == 0:
                self.save()
        self.save()

    def _stop(self, *_: object) -> None:
        self._stopped = True

    def save(self) -> None:
        """Write `run.pt` (everything) and `average.pt` (averaged weights), each at once."""
        state = {
            "student": self._student.state_dict(),
            "turn": self._turn.state_dict(),
            "average": self._average,
            "optimizers": [o.state_dict() for o in self._optimizers],
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
        state = torch.load(path, weights_only=True, map_location=self._device)
        self._student.load_state_dict(state["student"])
        self._turn.load_state_dict(state["turn"])
        self._average = state["average"]
        for optimizer, saved in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self._progress = Progress(**state["progress"])
        self._forget_log_after(self._progress.step)
        print(f"resumed at step {self._progress.step}", flush=True)

    def _forget_log_after(self, step: int) -> None:
        """Drop what a killed run logged behind its last save; those steps are made again."""
        path = self._folder / "log.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        write_atomically(path, "".join(kept).encode())

    def _prefetched(self) -> Iterator[PairBatch | PassageBatch]:
        """Batches of the coming steps; the next ones are packed while a step runs."""
        ahead = 3
        with ThreadPoolExecutor(2) as pool:
            step = self._progress.step
            waiting = [pool.submit(self._batches.at, step + i) for i in range(ahead)]
            while True:
                batch = waiting.pop(0).result()
                waiting.append(pool.submit(self._batches.at, step + ahead))
                step += 1
                yield batch

    def _step(self, batch: PairBatch | PassageBatch, done: float) -> None:
        settings, step = self._settings, self._progress.step
        pace = min(1.0, (step + 1) / settings.warmup) * (1 - done)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * pace
            optimizer.zero_grad(set_to_none=True)
        with half_precision(self._device):
            if isinstance(batch, PairBatch):
                loss, balance = self._pair_loss(batch)
            else:
                loss, balance = self._passage_loss(batch)
        (loss + settings.balance * balance).backward()
        # Adagrad's steps do not depend on the size of the rows' gradients.
        norm = nn.utils.clip_grad_norm_(self._network, CLIP)
        for optimizer in self._optimizers:
            optimizer.step()
        self._update_average()
        self._progress.step += 1
        self._progress.tokens += batch.tokens
        if step % LOG_EVERY < settings.passages_every:  # both kinds of steps are logged
            kind = "pairs" if isinstance(batch, PairBatch) else "passages"
            rate = settings.learning_rate * pace
            row = {"kind": kind, "loss": loss.item(), "norm": float(norm), "rate": rate}
            self._log({**asdict(self._progress), **row, "balance": balance.item()})

    def _pair_loss(self, batch: PairBatch) -> tuple[torch.Tensor, torch.Tensor]:
        target, wanted, taught = self._batches.pair_targets(batch)
        pooled, states, balance = self._encode(batch.both, WORD_LAYERS)
        words = [batch.words[0].means(s) for s in states]
        n = len(target)
        with torch.autocast(self._device.type, enabled=False):
            loss = translation_loss(
                pooled[:n], pooled[n:], target, wanted, self._turn(), self._losses
            )
            loss = loss + self._settings.words * word_error(words, taught)
        return loss, balance

    def _passage_loss(self, batch: PassageBatch) -> tuple[torch.Tensor, torch.Tensor]:
        *targets, taught = self._batches.passage_targets(batch)
        query, _, balance_q = self._encode(batch.queries, ())
        passage, states, balance_p = self._encode(batch.passages, PASSAGE_WORD_LAYERS)
        words = [batch.words[0].means(s) for s in states]
        with torch.autocast(self._device.type, enabled=False):
            turn = self._turn()
            loss = retrieval_loss(query, passage, (targets[0], targets[1]), turn, self._losses)
            loss = loss + self._settings.words * word_error(words[:-1], taught[:-1])
            last = final_word_error(words[-1], taught[-1], turn)
            loss = loss + self._settings.last_words * last
        return loss, 0.2 * balance_q + 0.8 * balance_p

    def _encode(
        self, batch: Batch, depths: Sequence[int]
    ) -> tuple[torch.Tensor, list[torch.Tensor], torch.Tensor]:
        """Vectors, states after some layers, and the balance of the experts."""
        pooled, states = self._student.pooled_and_states(batch, depths)
        zero = torch.zeros((), device=self._device)
        return pooled, states, sum((e.balance for e in self._student.experts()), zero)

    def _update_average(self) -> None:
        # Few steps so far: average over what there is, not over the untrained weights.
        keep = min(self._settings.average, (self._progress.step + 1) / (self._progress.step + 10))
        own = self._student.state_dict()
        with torch.no_grad():
            torch._foreach_lerp_([self._average[k] for k in own], list(own.values()), 1 - keep)

    def _validate(self) -> None:
        own = {k: v.clone() for k, v in self._student.state_dict().items()}
        self._student.load_state_dict(self._average)
        self._student.eval()
        scores = self._validation.scores(self._student)
        self._student.load_state_dict(own)
        self._student.train()
        self._log({"kind": "validation", **asdict(self._progress), **scores})

    def _log(self, row: dict[str, float | str]) -> None:
        line = json.dumps({k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()})
        with (self._folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        print(line, flush=True)


class Turn(nn.Module):
    """A rotation of the teacher's vectors (384, 384), the identity at first."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Parameter(torch.zeros(HIDDEN, HIDDEN))

    def forward(self) -> torch.Tensor:
        return torch.matrix_exp(self.generator - self.generator.t())


def _optimizers(
    student: Encoder, turn: Turn, settings: TrainingSettings
) -> list[torch.optim.Optimizer]:
    """AdamW for the network, Adagrad for the word rows, most of which few batches touch."""
    network = [(n, p) for n, p in student.named_parameters() if n != "rows"]
    groups = [
        {
            "params": [p for _, p in network if p.ndim > 1],
            "weight_decay": settings.weight_decay,
            "peak": settings.learning_rate,
        },
        {
            "params": [p for _, p in network if p.ndim <= 1],
            "weight_decay": 0.0,
            "peak": settings.learning_rate,
        },
        {"params": list(turn.parameters()), "weight_decay": 0.0, "peak": settings.turn_rate},
    ]
    # The rows' gradient is sparse on a CPU; without a choice, torch warns once.
    torch.sparse.check_sparse_tensor_invariants.disable()
    rows = [{"params": [student.rows], "peak": settings.row_rate}]
    return [
        torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98), fused=True),
        torch.optim.Adagrad(rows, lr=settings.row_rate),
    ]
