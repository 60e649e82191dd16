"""`embed files --replay FILE.manifest.json`: run it again and compare."""

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import typer

from embedge.cli.messages import say
from embedge.models.errors import InvalidOption, ModelIntegrityError

# What two manifests of the same run have in common, and how a person calls it.
_COMPARED = {"inputs": "inputs", "options": "options", "space": "space"}


def replay(manifest: Path) -> None:
    """Run the command of a manifest into a temporary file and report what differs.

    Paths of the command are taken from the current folder, as they were then.

    Raises:
        InvalidOption: the file is no manifest of `embed files`.
        ModelIntegrityError: inputs, options, space or output differ; exit code 4.
        typer.Exit: the command itself failed.
    """
    from embedge.cli import SOME_FAILED, run

    before = _read(manifest)
    command = list(map(str, before["command"]))  # type: ignore[call-overload]
    end = command.index("--") if "--" in command else len(command)
    name = str(before["output"]["file"])  # type: ignore[index]
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / name
        arguments = [*command[:end], "-o", str(output), *command[end:]]
        sys.argv[1:] = arguments  # what the new manifest records
        code = run(arguments)
        if code not in (0, SOME_FAILED):
            raise typer.Exit(code)
        after = _read(output.with_name(f"{name}.manifest.json"))
    differing = [word for key, word in _COMPARED.items() if before[key] != after[key]]
    if before["output"] != after["output"]:
        differing.append("output bytes")
    if differing:
        raise ModelIntegrityError(
            f"{manifest}: {', '.join(differing)} differ from the recorded run. "
            f"Compare its `tool` and `machine` with this machine's (`embed doctor`)"
        )
    say(f"{manifest}: inputs, options, space and output bytes match")


def _read(path: Path) -> Mapping[str, object]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidOption(f"--replay {path} cannot be read: {error}") from None
    wanted = {"command", "output", *_COMPARED}
    if not isinstance(found, dict) or not wanted <= found.keys():
        raise InvalidOption(f"--replay {path} is no manifest of `embed files`; it lacks its fields")
    if found["options"].get("command") != "files":
        raise InvalidOption(f"--replay {path} is of another command; only `embed files` replays")
    return found
