"""`embed index import --localdocs` and `export --localdocs`: GPT4All's document collections."""

import json
from dataclasses import asdict
from pathlib import Path

from embedge.cli.index_flags import (
    ConsentFlags,
    IndexFlags,
    IndexModelFlags,
    asks,
    exit_if_files_failed,
    index_run,
    the_index,
)
from embedge.cli.messages import say


def import_localdocs_command(
    file: Path, model: IndexModelFlags, consent: ConsentFlags, index: IndexFlags
) -> None:
    """Take over folders and collections; read and embed what can be reached."""
    from embedge.runtime.index.localdocs_import import import_localdocs

    with index_run(index, model) as (opened, callback, cancel):
        done = import_localdocs(
            opened,
            file.expanduser().absolute(),
            confirm=asks(consent),
            progress=callback,
            cancel=cancel,
        )
    taken, update = done.taken, done.update
    if index.json:
        print(json.dumps({"taken": asdict(taken), "update": asdict(update)}, ensure_ascii=False))
    else:
        print(
            f"{', '.join(taken.collections) or 'no collection'}: {taken.folders:,} folders, "
            f"{taken.documents:,} documents of LocalDocs; {update.files_new:,} files read, "
            f"{update.chunks_embedded:,} passages embedded, {update.chunks_reused:,} known"
        )
    if not index.quiet:
        for folder in taken.away:
            say(f"warning: {folder} cannot be reached; its passages came from LocalDocs")
        for warning in update.warnings:
            say(f"warning: {warning}")
    exit_if_files_failed([update], index)


def export_localdocs_command(folder: Path, vectors: str, index: IndexFlags) -> None:
    """Write `localdocs_v3.db` into a folder."""
    from embedge.runtime.index.localdocs_export import export_localdocs

    with the_index(index, readonly=True) as opened:
        done = export_localdocs(opened, folder.expanduser().absolute(), vectors=vectors)
    if index.json:
        print(json.dumps(asdict(done), ensure_ascii=False))
    else:
        print(
            f"{done.path}: {done.collections:,} collections, {done.folders:,} folders, "
            f"{done.documents:,} documents, {done.chunks:,} passages, {done.vectors:,} vectors"
        )
    if index.quiet:
        return
    if done.left_out:
        say(f"warning: {done.left_out:,} files lie under two folders and were written once")
    if vectors == "ours":
        say(
            "warning: GPT4All embeds with a model fixed when it is built, and searches under "
            "its name; only a changed build uses these vectors"
        )
    else:
        say("close GPT4All, put the file into its model folder, start it: it embeds the passages")
