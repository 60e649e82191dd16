"""The recipe's network and training loop on a random teacher of the real size."""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tokenizers import Tokenizer, models, pre_tokenizers, processors  # noqa: E402

from embedge.models.checkpoint import open_checkpoint  # noqa: E402
from embedge.models.recipes import steps  # noqa: E402
from embedge.models.recipes.__main__ import RECIPE  # noqa: E402
from embedge.models.recipes.checkpoint_folder import write_checkpoint  # noqa: E402
from embedge.models.recipes.corpus import Corpus, build_corpus, write_corpus  # noqa: E402
from embedge.models.recipes.losses import final_word_error, word_error  # noqa: E402
from embedge.models.recipes.network import (  # noqa: E402
    Encoder,
    batch_of,
    load_teacher,
    to_bags,
)
from embedge.models.recipes.prepare import CPU, HELD, TEACHER_TOKENIZER, TRAIN  # noqa: E402
from embedge.models.recipes.settings import Recipe, read_recipe  # noqa: E402
from embedge.models.recipes.teacher_file import HIDDEN, INNER, LAYERS, TeacherFile  # noqa: E402
from embedge.models.recipes.tokenized import tokenize  # noqa: E402
from embedge.models.recipes.training_text import Graded, Pair, Passage  # noqa: E402
from embedge.models.recipes.upcycle import moe_inputs, routing_for, up_cycle  # noqa: E402
from embedge.models.recipes.validation import GLOSS_SOURCE, Validation  # noqa: E402
from embedge.models.recipes.word_rows import fake_quantized, quantized  # noqa: E402
from embedge.models.recipes.words import Words  # noqa: E402

PIECES = ["<s>", "<pad>", "</s>", "<unk>", "\u2581", *"abcdefghijklmnopqrstuvwxyz:_0123456789"]


def random_teacher() -> TeacherFile:
    random = np.random.default_rng(1)

    def some(*shape: int) -> np.ndarray:
        return 0.05 * random.standard_normal(shape, dtype=np.float32)

    tensors = {"emb.word": quantized(torch.from_numpy(some(len(PIECES), HIDDEN))).numpy()}
    tensors |= {"emb.pos": some(512, HIDDEN), "emb.type": some(2, HIDDEN)}
    for name in ("emb.ln", *(f"l{i}.{n}" for i in range(LAYERS) for n in ("aln", "oln"))):
        tensors |= {name + ".w": 1 + some(HIDDEN), name + ".b": some(HIDDEN)}
    for i in range(LAYERS):
        for part in ("q", "k", "v", "ao"):
            tensors |= {f"l{i}.{part}.w": some(HIDDEN, HIDDEN), f"l{i}.{part}.b": some(HIDDEN)}
        tensors |= {f"l{i}.fi.w": some(INNER, HIDDEN), f"l{i}.fi.b": some(INNER)}
        tensors |= {f"l{i}.fo.w": some(HIDDEN, INNER), f"l{i}.fo.b": some(HIDDEN)}
    return TeacherFile(tuple(PIECES), np.zeros(len(PIECES), np.float32), tensors)


TEACHER = random_teacher()


def up_cycled() -> Encoder:
    generator = torch.Generator().manual_seed(1)
    random = np.random.default_rng(2)
    ids = [random.integers(4, len(PIECES), 60).tolist() for _ in range(40)]
    seen = moe_inputs(load_teacher(TEACHER), batch_of(ids, CPU), 1)
    rows = torch.from_numpy(TEACHER.tensors["emb.word"])
    routings = {1: routing_for(seen, generator)}
    return up_cycle(TEACHER, rows, routings, noise=0.02, generator=generator)


def cosines(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cosine_similarity(a, b, dim=1)


def texts(count: int) -> list[list[int]]:
    random = np.random.default_rng(3)
    return [random.integers(4, len(PIECES), random.integers(1, 40)).tolist() for _ in range(count)]


def test_a_packed_batch_gives_each_text_the_vector_that_it_has_alone() -> None:
    encoder, some = up_cycled(), texts(9)

    with torch.no_grad():
        together = encoder(batch_of(some, CPU))
        alone = torch.cat([encoder(batch_of([text], CPU)) for text in some])

    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_a_packed_batch_has_the_gradient_of_its_texts_one_by_one() -> None:
    encoder, some = up_cycled(), texts(9)
    aim = torch.randn(9, HIDDEN, generator=torch.Generator().manual_seed(1))

    def gradients(batches: list[list[list[int]]]) -> dict[str, torch.Tensor]:
        encoder.zero_grad(set_to_none=True)
        found = torch.cat([encoder(batch_of(batch, CPU)) for batch in batches])
        (found * aim).sum().backward()
        return {n: p.grad.to_dense() for n, p in encoder.named_parameters() if p.grad is not None}

    together, alone = gradients([some]), gradients([[text] for text in some])

    assert together.keys() == alone.keys()
    for name, gradient in together.items():
        torch.testing.assert_close(gradient, alone[name], atol=2e-4, rtol=1e-3)


def test_states_inside_are_those_of_the_layers_below() -> None:
    encoder, batch = up_cycled(), batch_of(texts(5), CPU)

    with torch.no_grad():
        pooled, kept = encoder.pooled_and_states(batch, (3, 9))

        assert pooled.equal(encoder(batch))
        assert kept[0].equal(encoder.states(batch, 3))
        assert kept[1].equal(encoder.states(batch, 9))


def test_words_are_the_means_of_their_tokens() -> None:
    states = torch.arange(12.0).reshape(6, 2)
    words = to_bags(Words(np.array([1, 2, 4]), np.array([0, 2])), CPU)

    assert words.means(states).tolist() == [[3.0, 4.0], [8.0, 9.0]]


def test_word_error_is_nothing_for_equal_states_and_one_for_their_mean() -> None:
    taught = torch.randn(500, HIDDEN, generator=torch.Generator().manual_seed(1))

    assert word_error([taught], [taught]) == 0
    assert word_error([taught[:0]], [taught[:0]]) == 0
    mean = taught.mean(0).expand_as(taught)
    assert word_error([taught, mean], [taught, taught]).item() == pytest.approx(0.5, rel=0.01)


def states_and_rotation() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(200, HIDDEN, generator=generator) + 5
    turn, _ = torch.linalg.qr(torch.randn(HIDDEN, HIDDEN, generator=generator))
    return states, turn


def test_final_word_error_is_nothing_for_states_that_are_shifted_and_turned() -> None:
    taught, turn = states_and_rotation()

    own = taught @ turn + torch.linspace(-3, 3, HIDDEN)

    # Single precision: sums of 384 products of size 5 are right to about 1e-5, squared.
    assert final_word_error(own, taught, turn).item() < 1e-9
    assert final_word_error(taught[:1], taught[1:2], turn) == 0


def test_final_word_error_sees_another_rotation_and_a_word_that_moved_alone() -> None:
    taught, turn = states_and_rotation()
    moved = taught @ turn
    moved[7] += 1
    constant = torch.zeros_like(taught)

    assert final_word_error(constant, taught, turn).item() == pytest.approx(1, rel=0.01)
    assert final_word_error(taught, taught, turn).item() == pytest.approx(2, rel=0.05)
    # One of 200 words is off by a standard deviation, and a 200th of that moves the mean.
    assert final_word_error(moved, taught, turn).item() == pytest.approx(1 / 200, rel=0.05)


def test_the_untrained_student_keeps_its_teachers_function() -> None:
    some = texts(30)

    with torch.no_grad():
        own = up_cycled()(batch_of(some, CPU))
        taught = load_teacher(TEACHER)(batch_of(some, CPU))

    assert cosines(own, taught).min() > 0.98


def test_rows_in_four_bit_form_stay_and_others_are_rounded_into_it() -> None:
    rows = torch.from_numpy(TEACHER.tensors["emb.word"])
    other = rows + 0.001 * torch.randn(rows.shape, generator=torch.Generator().manual_seed(1))

    assert quantized(rows).equal(rows)
    assert not quantized(other).equal(other)
    assert quantized(quantized(other)).equal(quantized(other))


def test_the_gradient_goes_straight_through_the_rounding() -> None:
    rows = torch.randn(4, 64, requires_grad=True)

    (fake_quantized(rows) * 3).sum().backward()

    assert rows.grad is not None
    assert rows.grad.equal(torch.full((4, 64), 3.0))


def write_tokenizer(path: Path) -> None:
    made = Tokenizer(models.Unigram([(p, -float(i > 3)) for i, p in enumerate(PIECES)], unk_id=3))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    made.save(str(path))


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A prepared working folder."""
    monkeypatch.setattr(steps, "_teacher_file", lambda _: TEACHER)
    for name in ("tokenizer.json", TEACHER_TOKENIZER):
        write_tokenizer(tmp_path / name)
    for name, count in ((TRAIN, 40), (HELD, 12)):
        pairs = [
            Pair("de", "tatoeba", f"satz {name} {i}", f"line {name} {i}") for i in range(count)
        ]
        found = [
            Passage(
                "en", "peps", f"{name} {i}", f"what is {i}", f"it is {name} {i}. and more of it"
            )
            for i in range(count)
        ]
        (tmp_path / name).mkdir()
        write_corpus(build_corpus(pairs, found), tmp_path / name)
    means = {prefix: [0.0] * HIDDEN for prefix in ("query: ", "passage: ")}
    (tmp_path / "means.json").write_text(json.dumps(means))
    np.save(tmp_path / "rows.npy", np.arange(len(PIECES), dtype=np.int32))
    student = Encoder(steps.student_rows(TEACHER, tmp_path), [1], four_bit=True)
    own = up_cycled().state_dict()
    own["rows"] = student.rows.detach()
    torch.save(own, tmp_path / "student.pt")
    return tmp_path


def small(recipe: Recipe, until: int) -> Recipe:
    training = dataclasses.replace(
        recipe.training, pairs=6, passages=6, steps=until, warmup=2, validate_every=2, save_every=2
    )
    return dataclasses.replace(recipe, training=training)


def train(work: Path, until: int, minutes: float | None = None) -> None:
    recipe = small(read_recipe(RECIPE), until)
    steps._train(recipe, work, CPU, minutes, fuse=False)


def log(work: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (work / "log.jsonl").read_text().splitlines()]


NOUNS = ["fox", "jazz", "wok", "vim", "quilt", "bay", "ply", "kudzu"]
LINES = [f"{NOUNS[i % 8]} {NOUNS[i // 3 % 8]} {i}" for i in range(16)]
GRADED = [Graded("de", LINES[i], LINES[-1 - i], i / 2) for i in range(8)]


def held_text(*, glosses: bool = False, graded: Sequence[Graded] = ()) -> Corpus:
    pairs = [Pair("de", "tatoeba", f"satz {line}", f"line {line}") for line in LINES]
    found = [Passage("en", "peps", line, f"what is {line}", f"{line} it is") for line in LINES]
    if glosses:
        found += [Passage("en", GLOSS_SOURCE, f"noun {n}", n, f"{n}: thing") for n in NOUNS]
    return build_corpus(pairs, found, (), graded)


def validated(
    corpus: Corpus, work: Path, vectors: Mapping[str, Sequence[float]] | None = None
) -> dict[str, float]:
    """Scores of a random student; the teacher's vectors begin as given, or are random, too."""
    write_tokenizer(work / "own.json")
    tokens = tokenize(corpus, work, work / "own.json", work / "own.json", None)
    torch.manual_seed(1)
    student = Encoder(torch.randn(len(PIECES), HIDDEN), [1], layers=2).eval()
    table = torch.randn(len(corpus.texts), HIDDEN)
    for text, start in (vectors or {}).items():
        table[corpus.texts.index(text)] = torch.tensor([*start, *[0.0] * (HIDDEN - len(start))])
    table /= table.norm(dim=1, keepdim=True)
    return Validation(corpus, tokens, lambda elements, *_: table[elements.texts]).scores(student)


@pytest.mark.parametrize(
    ("corpus", "kinds"),
    [(held_text(), set()), (held_text(glosses=True, graded=GRADED), {"gloss", "graded"})],
    ids=["without", "with"],
)
def test_validation_reports_glosses_and_graded_pairs_where_there_are_some(
    tmp_path: Path, corpus: Corpus, kinds: set[str]
) -> None:
    scores = validated(corpus, tmp_path)

    for of in ("384", "256", "128", "teacher"):
        reported = {name.partition("_")[0] for name in scores if name.endswith(f"_{of}")}
        assert reported == {"translation", "passage", "agreement"} | kinds
    assert np.isfinite(list(scores.values())).all()


def test_the_teacher_agrees_with_itself_and_a_random_student_by_chance(tmp_path: Path) -> None:
    scores = validated(held_text(), tmp_path)

    assert scores["agreement_teacher"] == 1
    assert scores["agreement_384"] == pytest.approx(10 / len(LINES), abs=0.15)


def test_validation_counts_the_glosses_that_are_nearest_to_their_words(tmp_path: Path) -> None:
    axes = torch.eye(len(NOUNS)).tolist()
    exchanged = [axes[1], axes[0], *axes[2:]]
    vectors = dict(zip([*NOUNS, *(f"{n}: thing" for n in NOUNS)], axes + exchanged, strict=True))

    scores = validated(held_text(glosses=True), tmp_path, vectors)

    assert scores["gloss_teacher"] == (len(NOUNS) - 2) / len(NOUNS)


def test_glosses_change_nothing_about_the_passages_of_the_validation(tmp_path: Path) -> None:
    without, also = tmp_path / "without", tmp_path / "with"
    without.mkdir(), also.mkdir()
    first, second = validated(held_text(), without), validated(held_text(glosses=True), also)

    for name in ("passage_384", "passage_128", "agreement_384", "agreement_128"):
        assert second[name] == first[name], name


@pytest.mark.parametrize(
    ("grades", "correlation"),
    [
        ({"de": [0, 1, 2, 5]}, 1),
        ({"de": [5, 2, 1, 0]}, -1),
        ({"de": [0, 1, 2, 3], "fr": [4, 5, 5, 4]}, 0.5),
        # Ranks 1, 2.5, 2.5, 4 beside 1, 2, 3, 4: sums of products 4.5, of squares 4.5 and 5.
        ({"de": [1, 2, 2, 4]}, 4.5 / (4.5 * 5) ** 0.5),
    ],
    ids=["same order", "opposite order", "mean of two languages", "equal grades"],
)
def test_graded_pairs_are_correlated_by_rank_in_each_language(
    tmp_path: Path, grades: dict[str, list[float]], correlation: float
) -> None:
    cosines = [-0.9, 0.2, 0.3, 0.8]
    graded = [
        Graded(k, "left", str(c), v[i]) for k, v in grades.items() for i, c in enumerate(cosines)
    ]
    vectors = {"left": [1.0]} | {str(c): [c, (1 - c * c) ** 0.5] for c in cosines}

    scores = validated(held_text(graded=graded), tmp_path, vectors)

    assert scores["graded_teacher"] == pytest.approx(correlation, abs=1e-6)


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(
    work: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(work, 4)
    whole = torch.load(work / "average.pt", weights_only=True)
    for name in ("run.pt", "average.pt", "log.jsonl"):
        (work / name).unlink()
    save = steps.Distillation.save

    def save_and_die(self: steps.Distillation) -> None:
        save(self)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(steps.Distillation, "save", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            train(work, 4)
    train(work, 4)

    again = torch.load(work / "average.pt", weights_only=True)
    assert {row["step"] for row in log(work) if row["kind"] == "validation"} == {0, 2, 4}
    for name, value in whole.items():
        torch.testing.assert_close(again[name], value, atol=1e-6, rtol=1e-5)


def test_a_student_that_was_left_behind_is_made_again(work: Path) -> None:
    (work / "student.pt").unlink()

    train(work, 2)

    assert (work / "average.pt").exists()


def test_a_terminated_run_saves_what_it_has(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = steps.Distillation._step

    def step_and_terminate(self: steps.Distillation, *given: object) -> None:
        step(self, *given)  # type: ignore[arg-type]
        os.kill(os.getpid(), 15)

    monkeypatch.setattr(steps.Distillation, "_step", step_and_terminate)

    train(work, 50)

    saved = torch.load(work / "run.pt", weights_only=True)
    assert saved["progress"]["step"] == 1


def test_a_trained_student_is_a_checkpoint_with_rows_in_four_bit_form(work: Path) -> None:
    train(work, 2)
    student = steps._student(read_recipe(RECIPE), work, "average.pt")
    before = torch.from_numpy(TEACHER.tensors["emb.word"])

    write_checkpoint(student, 12, work / "tokenizer.json", {}, work / "out")

    checkpoint = open_checkpoint(work / "out")
    rows = torch.from_numpy(checkpoint.tensor("embeddings.word_embeddings.weight"))
    assert not rows[: len(before)].equal(before)
    torch.testing.assert_close(rows, quantized(student.rows.detach()), atol=1e-3, rtol=2**-10)
