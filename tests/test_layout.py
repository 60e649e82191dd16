"""The repository keeps the rules of its own house: what ships, what imports what, how long."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest
from typer.core import TyperGroup
from typer.main import get_command

import embedge

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("cli", "export", "models", "quantize", "runtime")

IN_GIT = (ROOT / ".git").exists() and shutil.which("git") is not None
needs_git = pytest.mark.skipif(not IN_GIT, reason="not a git checkout")
needs_source = pytest.mark.skipif(
    not (ROOT / "cli").is_dir(), reason="an installed package is tested, its source is not here"
)

PUBLIC_NAMES = frozenset(
    """
    BackendError BundleError CancelToken Cancelled CheckpointError Chunk ConfigError Embedded
    Embedder EmbedgeError EncodeResult Hit Index IndexDamaged IndexLocked InputError InvalidOption
    MemoryBudgetError MissingExtra ModelIntegrityError ModelNotFound OfflineError Overloaded
    ProgressEvent Space SpaceMismatch TextInfo TextTooLong __version__ open_index
    """.split()
)

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_TEST_LINES = 40
MAX_REQUIRED_PARAMETERS = 6
MAX_PUBLIC_METHODS = 12

TOO_LONG: dict[str, str] = {
    "cli/models.py:pull_command": "most of its lines declare flags, and Typer reads them there",
    "runtime/embedder.py:Embedder": "one front door: encode, query and document, also async",
    "runtime/index/index.py:Index": "one front door, and the connections behind it for reports",
    "runtime/loading.py:load_model": "the arguments of Embedder.from_pretrained, all by keyword",
    "tests/quantize/test_simulation.py:simulation": "a class whose base is loaded at run time",
}
"""`path` or `path:function` over a limit, each with its reason."""

VAGUE_NAMES = frozenset("utils util common helpers helper base manager managers misc".split())
LIBRARY_NAMES = frozenset(
    """
    csv datasets email gzip html http io json logging numpy onnx onnx_ir onnxruntime onnxscript
    optimum pathspec pyarrow rich safetensors tokenizers torch transformers typer types typing
    """.split()
)


def tracked(*patterns: str) -> list[str]:
    git = ["git", "-C", str(ROOT), "ls-files", "-z", "--", *patterns]
    listed = subprocess.run(git, check=True, capture_output=True).stdout.decode().split("\0")
    return [name for name in listed if name and (ROOT / name).exists()]


def source_files() -> list[Path]:
    """Every Python file of the package and its tests, whether tracked or not."""
    folders = [*FOLDERS, "tests", "benchmarks", "src"]
    return sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py"))


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist of the tracked files, and the wheel that is made from it."""
    copy = tmp_path_factory.mktemp("tree")
    for name in tracked():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy / name, follow_symlinks=False)
    dist = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(dist), str(copy)]
    done = subprocess.run(build, check=False, capture_output=True, text=True, cwd=dist)
    assert done.returncode == 0, done.stdout + done.stderr
    return dist


@needs_git
@pytest.mark.slow
def test_the_wheel_made_from_the_sdist_holds_exactly_the_tracked_files(built):
    (wheel,) = built.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    expected = {f"embedge/{name}" for name in tracked(*FOLDERS)}
    assert names == expected | {"embedge/__init__.py", "embedge/py.typed"}


@needs_git
@pytest.mark.slow
def test_the_wheel_declares_the_command_and_carries_its_licences(built):
    (wheel,) = built.glob("*.whl")
    archive = zipfile.ZipFile(wheel)
    meta = {PurePosixPath(name).name: name for name in archive.namelist() if ".dist-info/" in name}
    assert "embed = embedge.cli:main" in archive.read(meta["entry_points.txt"]).decode()
    assert {"LICENSE", "NOTICE"} <= set(meta)


@needs_git
@pytest.mark.slow
def test_the_sdist_holds_the_package_its_tests_and_its_texts(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    top = ["CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "NOTICE", "README.md", "pyproject.toml"]
    expected = {*top, "src/embedge/__init__.py", "src/embedge/py.typed"}
    expected |= set(tracked(*FOLDERS, "tests", "docs", "benchmarks"))
    assert expected - names == set()
    assert names - expected <= {"PKG-INFO", ".gitignore"}


@needs_git
def test_each_link_leads_to_its_folder_and_is_stored_as_a_link():
    for folder in FOLDERS:
        link = ROOT / "src" / "embedge" / folder
        assert link.resolve() == ROOT / folder
    git = ["git", "-C", str(ROOT), "ls-files", "--stage", "src/embedge"]
    listed = subprocess.run(git, check=True, capture_output=True, text=True).stdout.splitlines()
    assert sum(line.startswith("120000 ") for line in listed) == len(FOLDERS)


@needs_git
def test_no_tracked_file_is_too_large_for_a_repository():
    sizes = {name: (ROOT / name).lstat().st_size for name in tracked()}
    assert {name: size for name, size in sizes.items() if size >= 80_000_000} == {}


@needs_git
def test_no_tracked_file_names_a_machine_or_a_package_registry():
    machine = re.compile(
        r"/(?:work|root|Users)/\w|\b(?:extra-)?index[-]url\b|https?://\S+/simple\b"
    )
    found = [
        f"{name}: {match.group()}"
        for name in tracked()
        for match in machine.finditer(_text(ROOT / name))
    ]
    assert found == []


def _text(file: Path) -> str:
    if file.is_symlink() or file.stat().st_size > 2_000_000:
        return ""
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError:
        return ""


def test_public_names_are_frozen_and_all_of_them_load():
    assert frozenset(embedge.__all__) == PUBLIC_NAMES
    assert len(embedge.__all__) == len(PUBLIC_NAMES)
    assert dir(embedge) == sorted(PUBLIC_NAMES)
    assert [name for name in PUBLIC_NAMES if getattr(embedge, name, None) is None] == []


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = embedge.no_such_name


def loaded_after(code: str, folder: Path) -> set[str]:
    """Top-level modules of a new process that ran `code` in `folder`."""
    report = f"{code}\nimport sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    run = [sys.executable, "-c", report]
    done = subprocess.run(run, check=True, capture_output=True, text=True, cwd=folder)
    return set(done.stdout.split())


def test_import_embedge_loads_nothing_heavy(tmp_path):
    heavy = "numpy onnxruntime typer rich huggingface_hub onnx onnx_ir onnxscript torch tokenizers"
    modules = loaded_after("import embedge", tmp_path)
    assert "embedge" in modules
    assert modules & {*heavy.split(), "safetensors", "pyarrow", "pathspec", "socket"} == set()


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_folders_are_no_packages_of_their_own(folder, tmp_path):
    run = [sys.executable, "-c", f"import {folder}"]
    done = subprocess.run(run, check=False, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr


def test_imports_go_one_way(tmp_path):
    tool = shutil.which("lint-imports", path=os.path.dirname(sys.executable)) or "lint-imports"
    command = [tool, "--config", str(ROOT / "pyproject.toml"), "--no-cache"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_source
def test_no_module_has_a_vague_or_a_taken_name():
    names = {
        name_of(file): file.stem for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")
    }
    bad = VAGUE_NAMES | LIBRARY_NAMES
    assert [path for path, stem in names.items() if stem in bad] == []


def test_tests_are_no_package():
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_files_stay_within_their_budget():
    lengths = {name_of(file): len(_text(file).splitlines()) for file in source_files()}
    over = {name: n for name, n in lengths.items() if n > MAX_FILE_LINES and name not in TOO_LONG}
    assert over == {}


def test_functions_stay_within_their_budget():
    assert [found for found in _over_budget() if found.partition(" ")[0] not in TOO_LONG] == []


@needs_source
def test_every_exception_from_the_budgets_is_still_needed_and_has_a_reason():
    over = {found.partition(" ")[0] for found in _over_budget()}
    over |= {name_of(f) for f in source_files() if len(_text(f).splitlines()) > MAX_FILE_LINES}
    assert set(TOO_LONG) - over == set()
    assert all(len(reason.split()) > 3 for reason in TOO_LONG.values())


def _over_budget() -> Iterator[str]:
    """Yield `path:name what` for every function and class over a limit."""
    for file in source_files():
        path = name_of(file)
        for node in ast.walk(ast.parse(_text(file))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                is_test = path.startswith("tests/") and node.name.startswith("test_")
                limit = MAX_TEST_LINES if is_test else MAX_FUNCTION_LINES
                if (length := _length(node)) > limit:
                    yield f"{path}:{node.name} has {length} lines, limit {limit}"
                if (count := _required_parameters(node)) > MAX_REQUIRED_PARAMETERS and not is_test:
                    yield f"{path}:{node.name} has {count} parameters without defaults"
            if isinstance(node, ast.ClassDef) and not path.startswith("tests/"):
                methods = [each for each in node.body if isinstance(each, ast.FunctionDef)]
                public = [each for each in methods if not each.name.startswith("_")]
                if len(public) > MAX_PUBLIC_METHODS:
                    yield f"{path}:{node.name} has {len(public)} public methods"


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, without the docstring."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    if ast.get_docstring(function) is not None:
        first = function.body[0]
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def _required_parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    names = [each.arg for each in positional[: len(positional) - len(arguments.defaults)]]
    names += [
        each.arg
        for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if default is None
    ]
    return len([name for name in names if name not in ("self", "cls")])


def commands(group: TyperGroup, prefix: str) -> Iterator[tuple[str, str | None]]:
    for name, command in group.commands.items():
        if command.hidden:
            continue
        if isinstance(command, TyperGroup):
            yield from commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}", command.help


def test_every_command_has_help_and_a_place_in_the_documentation():
    from embedge.cli.app import build_app

    group = get_command(build_app())
    assert isinstance(group, TyperGroup)
    files = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    documentation = "\n".join(_text(file) for file in files)
    found = dict(commands(group, "embed"))
    assert len(found) >= 8
    assert [name for name, text in found.items() if not text] == []
    assert [name for name in found if not re.search(rf"\b{name}\b", documentation)] == []


def test_links_between_the_pages_lead_somewhere():
    pages = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").glob("*.md"))]
    broken = [
        f"{page.name}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", _text(page))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert broken == []
