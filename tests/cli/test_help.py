"""The application as a whole: help, variables, start-up, width."""

import subprocess
import sys

import pytest

from embedge.cli.app import COMMANDS, build_group


def _commands(group, words=("embed",)):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield (*words, name), command
            yield from _commands(command, (*words, name))
        else:
            yield (*words, name), command


ALL = {" ".join(words): command for words, command in _commands(build_group())}
LEAVES = {name: command for name, command in ALL.items() if not hasattr(command, "commands")}


def test_modules_are_named_like_their_commands():
    assert sorted(build_group().commands) == sorted(COMMANDS)


def _options(command):
    return [p for p in command.params if p.param_type_name == "option" and p.name != "help"]


@pytest.mark.parametrize("name", sorted(ALL))
def test_every_command_and_parameter_has_help(name):
    command = ALL[name]
    assert command.help
    assert command.help.split("\n")[0].endswith((".", ":"))
    for parameter in command.params:
        assert parameter.help, f"{name} {parameter.name}"


@pytest.mark.parametrize("name", sorted(LEAVES))
def test_every_long_option_has_the_variable_of_its_name(name):
    for option in _options(LEAVES[name]):
        long_name = next(opt for opt in option.opts if opt.startswith("--"))
        expected = "EMBED_" + long_name.removeprefix("--").upper().replace("-", "_")
        variables = [option.envvar] if isinstance(option.envvar, str) else option.envvar
        assert variables, f"{name} {long_name}"
        assert variables[0] == expected


def test_one_letter_means_one_option_everywhere():
    meaning = {}
    for command in LEAVES.values():
        for option in _options(command):
            long_name = next(opt for opt in option.opts if opt.startswith("--"))
            for short in (opt for opt in option.opts if not opt.startswith("--")):
                assert meaning.setdefault(short, long_name) == long_name


@pytest.mark.parametrize("name", ["embed", *sorted(ALL)])
def test_help_fits_80_columns(embed, name):
    done = embed(*name.split()[1:], "--help", COLUMNS="80")
    assert done.code == 0
    assert max(map(len, done.text.splitlines())) <= 80
    assert done.text.startswith(f"Usage: {name} ")


def test_short_help_works(embed):
    assert embed("text", "-h").stdout == embed("text", "--help").stdout


def test_version(embed):
    import embedge

    assert embed("--version").text == f"embedge {embedge.__version__}\n"


@pytest.mark.parametrize("arguments", [["--help"], ["text", "--help"], ["texxt"]])
def test_help_and_usage_errors_load_nothing_heavy(environment, tmp_path, arguments):
    script = (
        "import sys\n"
        "from embedge.cli import run\n"
        "run(sys.argv[1:])\n"
        "heavy = {'numpy', 'onnxruntime', 'tokenizers', 'onnx', 'onnx_ir', 'onnxscript', 'rich',\n"
        "         'safetensors', 'huggingface_hub', 'pathspec', 'pyarrow', 'torch'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True, cwd=tmp_path, env=environment, check=True,
    )  # fmt: skip
    assert done.stderr.decode().splitlines()[-1] == "[]"


def test_a_variable_is_a_default_and_a_flag_wins(embed):
    by_flag = embed("text", "hello", "-d", "16").text
    assert embed("text", "hello", EMBED_DIM="16").text == by_flag
    assert embed("text", "hello", "-d", "16", EMBED_DIM="32").text == by_flag
    record = embed("text", "hello", EMBED_FORMAT="jsonl", EMBED_STORE_TEXT="1").records[0]
    assert record["text"] == "hello"


def test_a_variable_with_a_bad_value_is_named(embed):
    done = embed("text", "hello", EMBED_DIM="many")
    assert done.code == 2
    assert "EMBED_DIM" in done.error or "--dim" in done.error


def test_completion_knows_commands_and_values(environment, tmp_path, command):
    done = subprocess.run(
        command, capture_output=True, cwd=tmp_path, check=False,
        env=environment | {
            "_EMBED_COMPLETE": "complete_bash", "COMP_WORDS": "embed te", "COMP_CWORD": "1",
        },
    )  # fmt: skip
    assert done.stdout.decode().split() == ["text"]
