"""`--resume`: continue `FILE.partial` so that the result equals an undisturbed run byte for byte.

Beside `FILE.partial` lies `FILE.partial.json`, written before the first record: space and options
of the run. A later run may continue only with equal ones.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from embedge.cli.output.target import partial_path
from embedge.cli.records import LISTED_FAILURES, Blocks, Counts, Fields
from embedge.models.bundle import write_atomically
from embedge.models.errors import EmbedgeError, InvalidOption
from embedge.models.space import Identity, Space

# The vector is the last field of a record; everything before it is short.
_VECTOR_MARK = b',"embedding":['


@dataclass
class Finished:
    """What `FILE.partial` holds already.

    Attributes:
        inputs: number of inputs in finished blocks.
        last_id: id of the last of them.
        paths: their paths; a path is done when all its chunks are.
        counts: vectors, failures and tokens so far.
        end: where the next record goes, in bytes.
    """

    inputs: int = 0
    last_id: str | None = None
    paths: set[str] = field(default_factory=set)
    counts: Counts = field(default_factory=Counts)
    end: int = 0

    def add(self, more: "Finished") -> None:
        """Add a block that follows."""
        self.inputs += more.inputs
        self.last_id = more.last_id
        self.paths |= more.paths
        mine, theirs = self.counts, more.counts
        mine.vectors += theirs.vectors
        mine.failed += theirs.failed
        mine.tokens += theirs.tokens
        mine.truncated += theirs.truncated
        mine.failures = [*mine.failures, *theirs.failures][:LISTED_FAILURES]


def state_path(output: Path) -> Path:
    """Return `FILE.partial.json` of FILE."""
    partial = partial_path(output)
    return partial.with_name(f"{partial.name}.json")


def write_state(output: Path, space: Space | None, options: Fields) -> None:
    """Remember space and options of the run that writes `FILE.partial`."""
    state = {"format": 1, "space": _space_fields(space), "options": dict(options)}
    write_atomically(state_path(output), json.dumps(state, sort_keys=True).encode())


def read_finished(
    output: Path, space: Space | None, options: Fields, texts_per_block: int
) -> Finished:
    """Find the finished blocks of `FILE.partial`; nothing there is a fresh start.

    Raises:
        SpaceMismatch: its vectors are of another space.
        InvalidOption: it was written with other options.
        EmbedgeError: it holds a line that no run of ours wrote.
    """
    partial, state = partial_path(output), state_path(output)
    if not state.exists() or not partial.exists() or not partial.stat().st_size:
        return Finished()
    _require_same_run(json.loads(state.read_text(encoding="utf-8")), output, space, options)
    finished, pending, blocks = Finished(), Finished(), Blocks(texts_per_block)
    with partial.open("rb") as file:
        for end, fields in _whole_records(file, partial):
            last = _completes_its_input(fields)
            _count(pending, fields, last=last)
            if blocks.count(has_vector="error" not in fields, last=last):
                finished.add(pending)
                finished.end = end
                pending = Finished()
    return finished


def cut_partial(output: Path, end: int) -> None:
    """Drop everything behind `end`: a torn record, or a block that was not finished."""
    with partial_path(output).open("r+b") as file:
        file.truncate(end)


def _space_fields(space: Space | None) -> dict[str, object] | None:
    if space is None:
        return None
    return {
        "short_name": space.short_name,
        "fingerprint": space.fingerprint,
        "identity": dict(vars(space.identity)),
    }


def _require_same_run(
    state: dict[str, dict[str, object]], output: Path, space: Space | None, options: Fields
) -> None:
    way_out = f"Give the same options, or delete {partial_path(output)} to start again"
    theirs = state["space"]
    if space is not None and theirs is not None:
        identity = theirs["identity"]
        assert isinstance(identity, dict)
        there = Space(Identity(**identity), str(theirs["short_name"]))
        space.require_equal(there, f"{way_out}.")
    there_options = state["options"]
    here = json.loads(json.dumps(dict(options)))  # tuples and lists compare as JSON does
    for name in sorted(here.keys() | there_options.keys()):
        if here.get(name) != there_options.get(name):
            raise InvalidOption(
                f"{partial_path(output)} was written with {name} {there_options.get(name)!r}, "
                f"now it is {here.get(name)!r}. {way_out}"
            )


def _whole_records(file: BinaryIO, partial: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield each complete line's end and its fields without the vector."""
    end = 0
    for number, line in enumerate(file):
        if not line.endswith(b"\n"):
            return  # the record that was being written
        end += len(line)
        head, mark, _ = line.partition(_VECTOR_MARK)
        try:
            fields = json.loads(head + b"}" if mark else head)
        except ValueError:
            fields = None
        if not isinstance(fields, dict) or "id" not in fields:
            raise EmbedgeError(
                f"{partial} line {number + 1} is no record. Delete the file to start again"
            )
        yield end, fields


def _completes_its_input(fields: dict[str, object]) -> bool:
    chunk, n_chunks = fields.get("chunk"), fields.get("n_chunks")
    if isinstance(chunk, int) and isinstance(n_chunks, int):
        return chunk + 1 == n_chunks
    return True


def _count(block: Finished, fields: dict[str, object], *, last: bool) -> None:
    if last:
        block.inputs += 1
        block.last_id = str(fields["id"])
        block.paths.add(str(fields.get("path")))
    if "error" in fields:
        block.counts.add_failure(fields)
        return
    tokens = fields.get("n_tokens")
    block.counts.add_vector(tokens if isinstance(tokens, int) else 0, fields["truncated"] is True)
