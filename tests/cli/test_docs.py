"""docs/cli.md says what the application says; `python tests/cli/test_docs.py` writes it anew."""

import re
from pathlib import Path

import pytest

from embedge.cli.app import build_group

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
BEGIN, END = "<!-- commands: begin -->\n", "<!-- commands: end -->\n"


def leaves(group, words=("embed",)):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from leaves(command, (*words, name))
        else:
            yield " ".join((*words, name)), command


def reference():
    commands = dict(leaves(build_group()))
    parts = [_command(name, command) for name, command in commands.items()]
    return "\n".join([*parts, _options(commands)])


def _command(name, command):
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    words = " ".join(_usage(argument) for argument in arguments)
    text = " ".join(command.help.split())
    lines = [f"### `{name}`", "", f"`{name} [OPTIONS] {words}`".replace(" `", "`"), "", text, ""]
    lines += [f"* `{_metavar(argument)}`: {argument.help}" for argument in arguments]
    names = ", ".join(f"`{_main_name(option)}`" for option in _option_list(command))
    return "\n".join([*lines, f"* Options: {names}", ""])


def _usage(argument):
    shown = _metavar(argument) + ("..." if argument.nargs != 1 else "")
    return shown if argument.required else f"[{shown}]"


def _metavar(argument):
    return argument.metavar or argument.name.upper()


def _options(commands):
    meanings = {}
    for name, command in commands.items():
        for option in _option_list(command):
            by_help = meanings.setdefault(_main_name(option), (option, {}))[1]
            by_help.setdefault(option.help, []).append(name.removeprefix("embed "))
    rows = ["### Options", "", "| Option | Variable | Meaning |", "|---|---|---|"]
    for main_name in sorted(meanings):
        option, by_help = meanings[main_name]
        shown = ", ".join(f"`{opt}`" for opt in [*option.opts, *option.secondary_opts])
        value = "" if option.is_flag or option.count else f" {option.metavar or 'VALUE'}"
        texts = list(by_help)
        if len(texts) > 1:
            texts = [f"{', '.join(by_help[text])}: {text}" for text in texts]
        variable = option.envvar if isinstance(option.envvar, str) else ", ".join(option.envvar)
        meaning = " ".join(texts).replace("|", "\\|")
        rows.append(f"| {shown}{value} | `{variable}` | {meaning} |")
    return "\n".join([*rows, ""])


def _option_list(command):
    return [p for p in command.params if p.param_type_name == "option" and p.name != "help"]


def _main_name(option):
    return next(opt for opt in option.opts if opt.startswith("--"))


def _page():
    return PAGE.read_text(encoding="utf-8")


def test_commands_and_options_are_those_of_the_application():
    written = _page().partition(BEGIN)[2].partition(END)[0]
    assert written == reference(), "run: python tests/cli/test_docs.py"


def test_exit_codes_are_those_of_the_errors():
    from embedge.models import errors

    listed = {int(code) for row in re.findall(r"^\| ([0-9, ]+) \|", _page(), re.M)
              for code in row.split(", ")}  # fmt: skip
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    raised = {c.exit_code for c in classes if issubclass(c, errors.EmbedgeError)}
    assert listed == raised | {0, 143}


def test_every_format_and_record_field_is_described():
    from typing import get_args

    from embedge.cli.output import FORMATS
    from embedge.cli.records import RecordField

    text = _page()
    for name in (*FORMATS, *get_args(RecordField)):
        assert f"`{name}`" in text, name


@pytest.mark.parametrize("block", re.findall(r"```console\n(.*?)```", PAGE.read_text(), re.S))
def test_examples_run(embed, tmp_path, block):
    """Every `$ embed ...` line of the page ends with 0; pipes and files are stood in for."""
    (tmp_path / "README.md").write_text("# Title\n\nSome words.\n")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("Some other words.\n")
    (tmp_path / "rows.jsonl").write_text('{"id": "a", "text": "one"}\n{"id": "b", "text": "two"}\n')
    (tmp_path / "queries.txt").write_text("one\ntwo\n")
    for line in block.splitlines():
        if line.startswith("$ "):
            import shlex

            words = shlex.split(line.removeprefix("$ "))
            assert words[0] == "embed"
            assert embed(*words[1:], EMBED_PROGRESS="none").code == 0, line


if __name__ == "__main__":
    head, _, rest = _page().partition(BEGIN)
    PAGE.write_text(head + BEGIN + reference() + END + rest.partition(END)[2], encoding="utf-8")
