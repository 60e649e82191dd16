"""What a bulk run is: options, the job that travels to the workers, counts that come back."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from embedge.models.space import Space
from embedge.runtime.long_text import LongText
from embedge.runtime.precision import Precision
from embedge.runtime.walk import MAX_FILE_SIZE


@dataclass(frozen=True, kw_only=True)
class ScaleOptions:
    """How texts become vectors, as in `Embedder.encode` and `embed files`.

    Attributes:
        model: `bundled`, the name of an installed model, or a bundle folder that workers see.
        variant: `auto` chooses for the machine that starts the run; all workers then use that one.
        long_text: `chunk` (passages), `mean` or `truncate`.
        threads: CPU threads per worker.
        max_memory: bound of the peak RSS of one worker, as `800MB`.
        store_text: put each text into its row.
        encoding: of the input, None finds it.
        max_file_size: larger files, or rows, are failed inputs, in bytes.
    """

    model: str = "bundled"
    cache_dir: str | None = None
    variant: str = "auto"
    dim: int | None = None
    task: str = "document"
    prefix: str | None = None
    long_text: LongText = "chunk"
    max_tokens: int | None = None
    overlap: int | None = None
    precision: Precision = "float32"
    normalize: bool = True
    batch_tokens: int | None = None
    batch_size: int | None = None
    threads: int = 1
    max_memory: str | None = None
    store_text: bool = False
    encoding: str | None = None
    max_file_size: int = MAX_FILE_SIZE

    def deciding(self) -> dict[str, object]:
        """Return what decides the rows; a resumed run must have the same."""
        where_and_how = ("model", "cache_dir", "variant", "threads", "max_memory")
        return {key: value for key, value in asdict(self).items() if key not in where_and_how}


@dataclass(frozen=True)
class RowSource:
    """Rows instead of documents: every row of JSON Lines or Parquet files is a text.

    Attributes:
        field: the field or column that holds the text.
        id_field: the one that holds the id; None: the 0-based number of the row in its file.
    """

    field: str
    id_field: str | None = None


@dataclass(frozen=True)
class ScaleJob:
    """What every worker needs; small, and equal for all of them.

    Attributes:
        out: folder of the parts, an absolute path that workers see.
        options: with the variant that was chosen.
        rows: how rows become texts; None for files.
        space: of the vectors.
        description: JSON about the run, for the metadata of every part.
    """

    out: Path
    options: ScaleOptions
    rows: RowSource | None
    space: Space
    description: str

    def part(self, number: int) -> Path:
        """Return the file of a shard."""
        return self.out / f"part-{number:06d}.parquet"


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What became of one shard, or of several; kept in the metadata of each part."""

    inputs: int = 0
    vectors: int = 0
    failed: int = 0
    tokens: int = 0
    truncated: int = 0
    seconds: float = 0.0

    def __add__(self, other: "Counts") -> "Counts":
        mine, theirs = asdict(self), asdict(other)
        return Counts(**{key: mine[key] + theirs[key] for key in mine})

    @classmethod
    def of(cls, fields: Mapping[str, float]) -> "Counts":
        """Read what `asdict` gave."""
        seconds = float(fields["seconds"])
        return cls(**{key: int(fields[key]) for key in fields if key != "seconds"}, seconds=seconds)


@dataclass(frozen=True)
class Report:
    """A finished run: counts over all parts, and how many shards this call did itself."""

    out: Path
    counts: Counts
    shards: int
    embedded_shards: int
