"""`embed models bundle`: a model to carry to a machine without network."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embedge.cli.options import CacheDir, Json, option

if TYPE_CHECKING:
    from embedge.cli.pull import Pulled


def bundle_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name, or NAME@int8, NAME@fp32.")],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="OUT.zip, or the name of a folder to make.")
    ],
    sbom: Annotated[
        bool,
        option(
            "--sbom/--no-sbom", help="Add a bill of materials (default; needs the extra [sbom])."
        ),
    ] = True,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Copy a model with hashes, licences and bill of materials, to install without network.

    The other machine installs it with `embed models pull OUT`, or by a plain copy.
    """
    from embedge.models.disk_space import readable_size
    from embedge.models.offline_copy import write_offline_copy
    from embedge.models.sbom import make_sbom
    from embedge.models.store import find_model

    path = find_model(name, cache_dir=cache_dir)
    copy = write_offline_copy(path, out, make_sbom=make_sbom if sbom else None)
    if as_json:
        print(json.dumps(asdict(copy) | {"path": str(copy.path)}, ensure_ascii=False))
        return
    print(
        f"{copy.path}: {copy.name}@{copy.precision}, {copy.files} files, "
        f"{readable_size(copy.size_bytes)}"
    )


def install_copy(name: str, cache_dir: Path | None) -> "Pulled | None":
    """Install from a copy; None if `name` is none.

    Raises:
        BundleError, ModelIntegrityError: the copy is damaged.
    """
    from embedge.cli.pull import Pulled
    from embedge.models.offline_install import install_offline_copy, is_offline_copy

    path = Path(name).expanduser()
    if not is_offline_copy(path):
        return None
    return Pulled(*install_offline_copy(path, cache_dir=cache_dir))
