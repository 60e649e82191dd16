"""Hits as text: for people, for programs, for prompts."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from embedge.runtime.index import Hit


def as_table(hits: "Sequence[Hit]") -> str:
    """Return rank, cosine, place and heading of each hit, and a line of it."""
    return "".join(line + "\n" for hit in hits for line in _table_lines(hit))


def as_json(hits: "Sequence[Hit]") -> str:
    """Return one array, one hit per line."""
    return "[" + ",\n ".join(_json(hit) for hit in hits) + "]\n"


def as_json_lines(hits: "Sequence[Hit]") -> str:
    """Return one object per line."""
    return "".join(_json(hit) + "\n" for hit in hits)


def as_csv(hits: "Sequence[Hit]") -> str:
    """Return RFC 4180 with a header; `also_in` and `explain` are JSON."""
    from embedge.runtime.index import Hit

    body = io.StringIO()
    writer = csv.writer(body, lineterminator="\r\n")
    names = [each.name for each in fields(Hit)]
    if not any(hit.explain for hit in hits):
        names.remove("explain")
    writer.writerow(names)
    for hit in hits:
        values = hit.as_dict()
        writer.writerow([_cell(values.get(name)) for name in names])
    return body.getvalue()


def as_markdown(hits: "Sequence[Hit]") -> str:
    """Return each passage under a heading that names its place, as prompts take it."""
    return "\n".join(f"## {hit.rank}. {_title(hit)}\n\n{hit.text.strip()}\n" for hit in hits)


def as_files(hits: "Sequence[Hit]") -> str:
    """Return each path once, best first."""
    paths = dict.fromkeys(hit.path for hit in hits)
    return "".join(path + "\n" for path in paths)


def _table_lines(hit: "Hit") -> Iterator[str]:
    cosine = "  -   " if hit.cosine is None else f"{hit.cosine:6.3f}"
    away = "" if hit.available else "  (away)"
    heading = f"  {hit.heading}" if hit.heading else ""
    yield f"{hit.rank:>3} {cosine}  {_place(hit)}{away}  [{hit.collection}]{heading}"
    yield f"            {hit.snippet}"
    if hit.also_in:
        more = f" and {len(hit.also_in) - 1} more" if len(hit.also_in) > 1 else ""
        yield f"            also in {hit.also_in[0].path}{more}"
    if hit.explain is not None:
        why = hit.explain
        parts = {
            "score": hit.score,
            "by meaning": why.rank_vector,
            "by words": why.rank_text,
            "coarse": why.coarse,
            "bm25": why.bm25,
        }
        shown = ", ".join(f"{name} {value}" for name, value in parts.items() if value is not None)
        yield f"            ({shown})"


def _place(hit: "Hit") -> str:
    if hit.page is not None:
        return f"{hit.path}, page {hit.page}"
    if hit.line_start is None or hit.line_start < 1:
        return hit.path
    return f"{hit.path}:{hit.line_start}"


def _title(hit: "Hit") -> str:
    lines = ""
    if hit.line_start is not None and hit.line_start > 0:
        lines = f", lines {hit.line_start} to {hit.line_end}"
    page = f", page {hit.page}" if hit.page is not None else ""
    heading = f" ({hit.heading})" if hit.heading else ""
    return f"{hit.path}{page}{lines}{heading}"


def _json(hit: "Hit") -> str:
    return json.dumps(hit.as_dict(), ensure_ascii=False)


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple | dict):
        return json.dumps(value, ensure_ascii=False)
    return value
