"""From folders to tasks: each layout is recognised by its files, never by its name."""

import fnmatch
import itertools
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from embedge.models.errors import InputError, InvalidOption
from embedge.runtime.quality.beir import beir_task, is_beir
from embedge.runtime.quality.miracl import is_miracl, is_miracl_corpus, miracl_task
from embedge.runtime.quality.pairs import StsTask
from embedge.runtime.quality.retrieval import RetrievalTask
from embedge.runtime.quality.task import KINDS, Task
from embedge.runtime.quality.tsv import tsv_task

ALL = "all"
_LANGUAGE = re.compile(r"[a-z]{2,3}(?:[-_][A-Za-z]{2,4})?")


@dataclass(frozen=True)
class Found:
    """Tasks by kind and name, and TSV files that are no task, for a word to the user."""

    tasks: list[Task]
    ignored: list[Path]


def find_tasks(
    places: Sequence[Path], *, only: Sequence[str] = (), cross_lingual: str | None = None
) -> Found:
    """Find every task in folders and below, and in single files.

    Args:
        places: task folders, trees of them, or TSV files.
        only: patterns such as `*/xquad/*`; a task is kept if its name matches one.
        cross_lingual: add tasks between languages of parallel data: all pairs with this language
            on one side, or `all` pairs.

    Raises:
        InputError: a place does not exist, or a task's files do not belong together.
        InvalidOption: nothing was found, or `only` leaves nothing, or no pair of languages is
            parallel.
    """
    ignored: list[Path] = []
    tasks: dict[Path, Task] = {}
    for place in places:
        if not place.exists():
            raise InputError(f"{place} does not exist", "not_found")
        for path, task in _below(place, ignored):
            tasks.setdefault(path.resolve(), task)
    found = list(tasks.values())
    if cross_lingual is not None:
        found += _cross_lingual(found, cross_lingual)
    kept = [t for t in found if not only or any(fnmatch.fnmatchcase(t.name, p) for p in only)]
    if not kept:
        where = ", ".join(str(place) for place in places)
        names = ", ".join(task.name for task in found[:5])
        raise InvalidOption(
            f"no task in {where} matches {', '.join(only)}; there are {names}, ..."
            if found
            else f"{where}: no task in BEIR, MIRACL, bitext or STS layout (docs/evaluation.md)"
        )
    return Found(sorted(kept, key=lambda task: (KINDS.index(task.kind), task.name)), ignored)


def _below(place: Path, ignored: list[Path]) -> Iterator[tuple[Path, Task]]:
    if place.is_file():
        task = tsv_task(place, _name(place, place), _parent(place, place))
        if task is None:
            raise InputError(f"{place} is neither bitext (two columns) nor STS (named columns)")
        yield place, task
        return
    for folder, folders, files in os.walk(place):
        folders.sort()
        here = Path(folder)
        found = _folder_task(here, place)
        if found is not None:
            folders.clear()
            yield here, found
            continue
        folders[:] = [name for name in folders if not is_miracl_corpus(here / name)]
        for name in sorted(files):
            path = here / name
            if path.suffix != ".tsv":
                continue
            task = tsv_task(path, _name(path, place), _parent(path, place))
            if task is None:
                ignored.append(path)
            else:
                yield path, task


def _folder_task(folder: Path, place: Path) -> Task | None:
    name = _name(folder, place)
    if is_beir(folder):
        is_language = _LANGUAGE.fullmatch(folder.name) is not None
        languages = (folder.name,) if is_language else ()
        return beir_task(folder, name, _parent(folder, place) if is_language else name, languages)
    if is_miracl(folder):
        return miracl_task(folder, name, _parent(folder, place))
    return None


def _name(path: Path, place: Path) -> str:
    """Name a task by its path from `place` on; a place that is a task itself adds its parent."""
    root, path = place.resolve(), path.resolve()
    relative = path.relative_to(root.parent.parent if path == root else root.parent)
    stem = relative.with_suffix("") if relative.suffix == ".tsv" else relative
    return stem.as_posix()


def _parent(path: Path, place: Path) -> str:
    return _name(path, place).rpartition("/")[0]


def _cross_lingual(tasks: Sequence[Task], language: str) -> list[Task]:
    pairs: list[Task] = []
    for first, second in itertools.permutations(tasks, 2):
        if first.group != second.group or not (first.languages and second.languages):
            continue
        if language != ALL and language not in (first.languages[0], second.languages[0]):
            continue
        if isinstance(first, StsTask) and isinstance(second, StsTask):
            pairs.append(first.crossed_with(second))
        elif isinstance(first, RetrievalTask) and isinstance(second, RetrievalTask):
            # Equal judgements mean equal ids on both sides, so the corpus of one answers the other.
            if first.qrels() == second.qrels():
                pairs.append(first.crossed_with(second))
    if not pairs:
        raise InvalidOption(
            f"no two tasks are parallel with {language!r} on one side; cross-lingual tasks need "
            f"folders or files named by language, with the same ids"
        )
    return pairs
