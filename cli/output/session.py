"""One output from the check of its flags to the renamed file and its manifest."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from embedge.cli.options import OutputFlags
from embedge.cli.output import BINARY_FORMATS, FORMATS, Writer, open_writer
from embedge.cli.output.resume import (
    Finished,
    cut_partial,
    read_finished,
    state_path,
    write_state,
)
from embedge.cli.output.sidecar import InputLog, RunDescription, write_sidecar
from embedge.cli.output.target import PartialFile, Target, alone_with, open_target
from embedge.cli.records import Counts, Fields, Record
from embedge.cli.values import one_of
from embedge.models.errors import InvalidOption


@dataclass(frozen=True)
class OutputChoice:
    """Checked output flags."""

    format: str
    path: Path | None
    resume: bool
    single: bool


def choose_output(flags: OutputFlags, *, default_format: str, single: bool = False) -> OutputChoice:
    """Check the flags, before any model is loaded.

    Raises:
        InvalidOption: unknown format, binary output to a terminal, or `--resume` that cannot be.
    """
    format = one_of(flags.format or default_format, FORMATS, "--format")
    path = None if flags.output is None or str(flags.output) == "-" else flags.output
    if path is not None and path.is_symlink():
        path = path.resolve()  # the rename must not replace the link
    if format in BINARY_FORMATS and path is None and sys.stdout.isatty():
        raise InvalidOption(
            f"--format {format} writes bytes, and stdout is a terminal; "
            f"give a file with -o FILE, or send it through a pipe"
        )
    if flags.resume and path is None:
        raise InvalidOption("--resume continues a file; name it with -o FILE")
    if flags.resume and format != "jsonl":
        raise InvalidOption(f"--resume works with --format jsonl only, not {format}")
    return OutputChoice(format, path, flags.resume, single)


@dataclass
class OutputSession:
    """An open output: takes records, counts them, and knows what an earlier run has done."""

    writer: Writer
    finished: Finished
    inputs: InputLog = field(default_factory=InputLog)

    @property
    def counts(self) -> Counts:
        """What this run and the one it continues did."""
        return self.finished.counts

    def write(self, record: Record) -> None:
        """Write and count one record."""
        if record.vector is None:
            self.counts.add_failure(record.fields)
        else:
            tokens = record.fields["n_tokens"]
            assert isinstance(tokens, int)
            self.counts.add_vector(tokens, record.fields["truncated"] is True)
        self.writer.write(record)


@contextmanager
def open_output(
    choice: OutputChoice, description: RunDescription, facts: Fields, *, texts_per_block: int
) -> Iterator[OutputSession]:
    """Open an output; at the end of the block it is complete, after an error it is abandoned.

    Args:
        choice: checked flags.
        description: for the sidecar and for `--resume`.
        facts: dim, precision, task, model of the vectors.
        texts_per_block: for `--resume`, which goes on at a block's end.

    Raises:
        SpaceMismatch, InvalidOption: `--resume` does not fit what is there.
        OSError: the file cannot be written.
        ClosedPipe: the reader of stdout has gone.
    """
    with alone_with(choice.path):
        finished = Finished()
        if choice.resume and choice.path is not None:
            finished = read_finished(
                choice.path, description.space, description.options, texts_per_block
            )
            if finished.end:
                cut_partial(choice.path, finished.end)
        target = open_target(choice.path, append=finished.end > 0)
        try:
            keeps = _prepare_resume(choice, target, description, finished)
            writer = open_writer(choice.format, target, _facts(choice, description, facts))
            session = OutputSession(writer, finished)
            yield session
            writer.finish()
            target.commit()
        except BaseException as error:
            target.abandon(keep=choice.format == "jsonl")
            if isinstance(error, OSError) and error.filename is None and choice.path is not None:
                error.filename = str(choice.path)
            raise
        if isinstance(target, PartialFile):
            write_sidecar(target.path, description, session.inputs, session.counts)
            if keeps:
                state_path(target.path).unlink()


def _prepare_resume(
    choice: OutputChoice, target: Target, description: RunDescription, finished: Finished
) -> bool:
    """Write the state that a later `--resume` compares; say whether there is one."""
    if choice.format != "jsonl" or not isinstance(target, PartialFile):
        return False
    if not finished.end:
        write_state(target.path, description.space, description.options)
    return True


def _facts(choice: OutputChoice, description: RunDescription, facts: Fields) -> Fields:
    return {
        **facts,
        "single": choice.single,
        "space": description.space.fingerprint,
        "manifest": json.dumps(description.as_fields()),
    }
