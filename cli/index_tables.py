"""Reports of the index as lines for people."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from embedge.runtime.index import (
        CollectionPlan,
        CollectionStatus,
        FileEntry,
        GcReport,
        IndexStatus,
        Plan,
        UpdateReport,
    )


def plan_lines(plan: "Plan") -> Iterator[str]:
    """Yield a plan, one collection after the other."""
    for each in plan.collections:
        yield from _collection_plan(each)
    if len(plan.collections) > 1:
        yield f"in all: {plan.to_embed:,} passages to embed{_about(plan.seconds)}"


def _collection_plan(plan: "CollectionPlan") -> Iterator[str]:
    yield f"{plan.collection} ({plan.model}, {plan.space})"
    counts = {
        "new": plan.files_new,
        "changed": plan.files_changed,
        "moved": plan.files_moved,
        "missing": plan.files_missing,
        "unchanged": plan.files_unchanged,
    }
    yield f"  files: {_counts(counts) or 'none'}"
    if plan.skipped:
        yield f"  not indexed: {_counts(plan.skipped)}"
    for root in plan.offline_roots:
        yield f"  away: {root} (its files stay searchable)"
    yield (
        f"  passages: {plan.chunks:,}, of them {plan.to_embed:,} to embed, {plan.reused:,} reused"
    )
    if plan.to_embed:
        yield f"  {plan.tokens:,} tokens{_about(plan.seconds)}, {_size(plan.bytes)} more on disk"


def report_line(report: "UpdateReport") -> str:
    """Return what a run did in one line."""
    counts = {
        "new": report.files_new,
        "changed": report.files_changed,
        "moved": report.files_moved,
        "missing": report.files_missing,
    }
    changes = _counts(counts)
    return (
        f"{', '.join(report.collections) or 'nothing'}: {report.files_seen:,} files"
        f"{f' ({changes})' if changes else ''}, {report.chunks_embedded:,} passages embedded, "
        f"{report.chunks_reused:,} reused, {report.errors} errors, {report.seconds:.1f} s"
    )


def status_lines(status: "IndexStatus") -> Iterator[str]:
    """Yield the state of an index."""
    yield (
        f"{status.path}: {_size(status.size_bytes)}, schema {status.schema}, "
        f"{status.vectors:,} vectors ({status.orphans:,} orphans)"
    )
    if status.journal != "wal":
        yield "  journal: delete (this file system has no WAL; a running update blocks searches)"
    for each in status.collections:
        yield from _collection_status(each)
    for space, recall in status.recall.items():
        yield f"approximate search of {space}: recall {recall:.4f} of the exact scan"
    run = status.last_run
    if run is not None:
        rate = f", {run.tokens_per_s:,.0f} tokens/s" if run.tokens_per_s else ""
        yield f"last run: {run.kind}, {run.status}, {_time(run.started_ms)}{rate}"
    if status.errors:
        yield "files that are not indexed:"
    for entry in status.errors:
        yield f"  {entry.path}: {entry.state}, {entry.reason}"
        if entry.message:
            yield f"    {entry.message}"


def _collection_status(each: "CollectionStatus") -> Iterator[str]:
    yield f"{each.name}: {each.model} {each.variant} {each.dim} ({each.space})"
    pending = f", {each.pending:,} not yet embedded" if each.pending else ""
    yield f"  {_counts(each.files) or 'no'} files; {each.chunks:,} passages{pending}"
    for root in each.roots:
        away = "" if root.state == "online" else f" ({root.state})"
        yield f"  {root.path}{away}: {root.files:,} files"
    if each.reasons:
        yield f"  not indexed: {_counts(each.reasons)}"
    if each.moving_to:
        yield f"  moving to {each.moving_to}; `embed index update -C {each.name}` goes on"
    if each.model_problem:
        yield f"  {each.model_problem}"
    if each.last_update_ms:
        yield f"  updated {_time(each.last_update_ms)}"


def file_line(entry: "FileEntry") -> str:
    """Return one file: state, passages, path and reason."""
    reason = f"  ({entry.reason})" if entry.reason else ""
    away = "" if entry.available or entry.state == "missing" else "  (away)"
    return f"{entry.state:<8}{entry.n_chunks:>6}  {entry.path}{reason}{away}"


def gc_line(report: "GcReport") -> str:
    """Return what was removed."""
    verb = "would remove" if report.dry_run else "removed"
    counts = {
        "vectors": report.vectors,
        "passages": report.chunks,
        "files": report.files,
        "folders": report.roots,
    }
    freed = f", {_size(report.freed_bytes)} given back" if report.freed_bytes else ""
    return (
        f"{verb} {_counts(counts) or 'nothing'} ({_size(report.bytes)}){freed}; "
        f"{report.marked:,} vectors newly marked"
    )


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)


def _about(seconds: float | None) -> str:
    if not seconds:
        return ""
    if seconds < 90:
        return f", about {seconds:.0f} s"
    return f", about {seconds / 60:.0f} min"


def _size(count: int) -> str:
    for unit, step in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= step:
            return f"{count / step:.1f} {unit}"
    return f"{count} bytes"


def _time(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
