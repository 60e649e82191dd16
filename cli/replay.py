"""`embed files --replay FILE.manifest.json`: run it again and compare."""

import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import typer

from embedge.cli.messages import say
from embedge.models.errors import InvalidOption, ModelIntegrityError

# What two manifests of the same run have in common, and how a person calls it.
_COMPARED = {"inputs": "inputs", "options": "options", "space": "space"}


@dataclass(frozen=True)
class _Record:
    """What a manifest says about its run, checked: it may come from anybody.

    Attributes:
        command: the arguments after `embed`.
        name: of the output file, without any folder.
        fields: the whole manifest.
    """

    command: list[str]
    name: str
    fields: Mapping[str, object]


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
    command = before.command
    end = command.index("--") if "--" in command else len(command)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / before.name
        arguments = [*command[:end], "-o", str(output), *command[end:]]
        sys.argv[1:] = arguments  # what the new manifest records
        code = run(arguments)
        if code not in (0, SOME_FAILED):
            raise typer.Exit(code)
        after = _read(output.with_name(f"{before.name}.manifest.json"))
    differing = [word for key, word in _COMPARED.items() if before.fields[key] != after.fields[key]]
    if before.fields["output"] != after.fields["output"]:
        differing.append("output bytes")
    if differing:
        raise ModelIntegrityError(
            f"{manifest}: {', '.join(differing)} differ from the recorded run. "
            f"Compare its `tool` and `machine` with this machine's (`embed doctor`)"
        )
    say(f"{manifest}: inputs, options, space and output bytes match")


def _read(path: Path) -> _Record:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidOption(f"--replay {path} cannot be read: {error}") from None
    wanted = {"command", "output", *_COMPARED}
    if not isinstance(found, dict) or not wanted <= found.keys():
        raise InvalidOption(f"--replay {path} is no manifest of `embed files`; it lacks its fields")
    options, output, command = found["options"], found["output"], found["command"]
    if not isinstance(options, dict) or options.get("command") != "files":
        raise InvalidOption(f"--replay {path} is of another command; only `embed files` replays")
    name = output.get("file") if isinstance(output, dict) else None
    # A name with a folder would be written outside the temporary one.
    if not isinstance(name, str) or name in ("", "..") or Path(name).name != name:
        raise InvalidOption(
            f"--replay {path} names the output {name!r}, expected a plain file name"
        )
    if not isinstance(command, list) or not all(isinstance(word, str) for word in command):
        raise InvalidOption(
            f"--replay {path} has the command {command!r}, expected a list of words"
        )
    _require_files_command(path, command)
    return _Record(command, name, found)


def _require_files_command(path: Path, command: list[str]) -> None:
    from embedge.cli.app import COMMANDS

    first = command[0] if command else ""
    is_files = first == "files" or (first not in COMMANDS and not first.startswith("--"))
    if not first or not is_files or any(word.startswith("--replay") for word in command):
        raise InvalidOption(
            f"--replay {path} would run `embed {' '.join(command)}`; only `embed files` replays"
        )
