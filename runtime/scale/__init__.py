"""Bulk embedding of a large corpus: shards that many workers take in turn, each a Parquet file.

A run is a list of shards that follows from the input alone. A worker opens the model once, takes
shard after shard, and writes `part-NNNNNN.parquet` through a rename; a shard whose part exists is
done. Ray Data hands the shards out and replaces dead workers (`run_on_ray`); the same shards can be
embedded in this process (`run_here`). Nothing but shard descriptions and counts travels between
processes: texts are read and vectors written by the workers, from and to a place that all of them
see.
"""

from embedge.runtime.scale.corpus import embed_corpus
from embedge.runtime.scale.job import Report, RowSource, ScaleJob, ScaleOptions
from embedge.runtime.scale.ray_runner import run_on_ray
from embedge.runtime.scale.worker import ShardEmbedder, run_here

__all__ = [
    "Report",
    "RowSource",
    "ScaleJob",
    "ScaleOptions",
    "ShardEmbedder",
    "embed_corpus",
    "run_here",
    "run_on_ray",
]
