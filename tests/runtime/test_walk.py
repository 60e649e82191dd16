import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from embedge.models.errors import InvalidOption
from embedge.runtime import walk as walk_module
from embedge.runtime.walk import FailedFile, FoundFile, spell, walk

needs_links = pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return a function that writes files (name or name=content) and makes their folder current."""
    monkeypatch.chdir(tmp_path)

    def write(*names: str) -> Path:
        for name in names:
            name, _, content = name.partition("=")
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content.replace("\\n", "\n") or "x")
        return tmp_path

    return write


def paths(*arguments: str, **options: object) -> list[str]:
    return [item.path for item in walk(arguments, **options)]


def failures(items: Iterable[FoundFile | FailedFile]) -> dict[str, str]:
    return {item.path: item.error.code for item in items if isinstance(item, FailedFile)}


def test_folders_are_walked_in_the_order_of_names(tree):
    tree("b/2.md", "b/10.md", "a.md", "B.md", "b.md", "a/z.md")
    assert paths(".") == ["B.md", "a/z.md", "a.md", "b/10.md", "b/2.md", "b.md"]


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        (".", ["docs/a.md"]),
        ("docs", ["docs/a.md"]),
        ("./docs/", ["docs/a.md"]),
        ("docs/../docs//a.md", ["docs/a.md"]),
        ("docs/a.md", ["docs/a.md"]),
    ],
)
def test_paths_are_the_argument_and_what_is_below_it(tree, argument, expected):
    tree("docs/a.md")
    assert paths(argument) == expected


def test_absolute_arguments_stay_absolute_and_parents_stay_parents(tree, monkeypatch):
    root = tree("docs/a.md", "other/b.md")
    assert paths(str(root / "docs")) == [f"{root.as_posix()}/docs/a.md"]
    monkeypatch.chdir(root / "other")
    assert paths("../docs") == ["../docs/a.md"]


def test_spelling_uses_slashes_on_every_system(monkeypatch):
    assert spell("docs", os.path.join("a", "b.md")) == "docs/a/b.md"
    monkeypatch.setattr(walk_module.os, "sep", "\\")
    monkeypatch.setattr(walk_module.os.path, "normpath", lambda path: path.replace("/", "\\"))
    assert spell("docs/a.md") == "docs/a.md"


def test_arguments_keep_their_order_and_a_path_comes_once(tree):
    tree("a.md", "docs/b.md", "docs/c.md")
    assert paths("docs/c.md", "docs", "./a.md", "a.md") == ["docs/c.md", "docs/b.md", "a.md"]


def test_standard_input_is_a_file_called_dash(tree):
    tree("a.md")
    items = list(walk(["-", "a.md"]))
    assert [item.path for item in items] == ["-", "a.md"]
    assert isinstance(items[0], FoundFile)
    assert items[0].size is None


def test_hidden_files_need_their_flag_and_git_is_never_entered(tree):
    tree("a.md", ".hidden.md", ".config/b.md", ".git/config", "sub/.git/HEAD")
    assert paths(".") == ["a.md"]
    assert paths(".", hidden=True) == [".config/b.md", ".hidden.md", "a.md"]


def test_include_and_exclude_read_like_gitignore(tree):
    tree("a.md", "b.txt", "docs/c.md", "docs/old/d.md", "build/e.md", "docs/build.md")
    assert paths(".", include=["*.md"], exclude=["old/", "/build"]) == [
        "a.md", "docs/build.md", "docs/c.md",
    ]  # fmt: skip
    assert paths(".", include=["docs/*.md"]) == ["docs/build.md", "docs/c.md"]
    assert paths(".", include=["docs/", "!*.md"]) == []
    assert paths(".", include=["docs/"], exclude=["b*.md"]) == ["docs/c.md", "docs/old/d.md"]
    assert paths("docs", include=["/c.md"]) == ["docs/c.md"]


def test_files_pairs_a_folder_with_a_pattern(tree):
    tree("docs/a.md", "docs/b.txt", "docs/sub/c.md", "d.md")
    assert [item.path for item in walk([], files=[("docs", "*.md")])] == [
        "docs/a.md",
        "docs/sub/c.md",
    ]
    assert [item.path for item in walk(["d.md"], files=[("docs", "/*.md")], exclude=["x"])] == [
        "d.md", "docs/a.md",
    ]  # fmt: skip
    assert failures(walk([], files=[("d.md", "*"), ("none", "*")])) == {
        "d.md": "not_found", "none": "not_found",
    }  # fmt: skip


def test_a_named_file_is_taken_whatever_the_filters_say(tree):
    tree(".gitignore=*.log", ".secret.log")
    items = list(walk([".secret.log"], include=["*.md"], exclude=["*"]))
    assert [(item.path, item.is_explicit) for item in items] == [(".secret.log", True)]


def test_bad_patterns_are_usage_errors_before_anything_is_read(tree):
    for option in ({"include": ["a\\"]}, {"exclude": ["!"]}, {"files": [(".", "a\\")]}):
        with pytest.raises(InvalidOption, match=r"--(include|exclude|files)"):
            walk(["."], **option)


def test_gitignore_files_apply_below_their_folder_and_the_deepest_decides(tree):
    tree(
        ".gitignore=*.log\\n/build/\\n!keep.log\\nsub/*.tmp\\n# comment\\n\\na\\\\",
        "a.log", "keep.log", "build/x.md", "sub/build/y.md", "sub/a.tmp", "sub/deep/a.tmp",
        "sub/b.log", "sub/.gitignore=!b.log\\n*.md", "sub/c.md", "d.md",
    )  # fmt: skip
    assert paths(".") == ["d.md", "keep.log", "sub/b.log", "sub/deep/a.tmp"]
    assert "a.log" in paths(".", gitignore=False)


def test_nothing_below_an_ignored_folder_comes_back(tree):
    tree(".gitignore=out/\\n!out/keep.md", "out/keep.md", "a.md")
    assert paths(".") == ["a.md"]


def test_white_lists_work(tree):
    tree(".gitignore=*\\n!*/\\n!*.md", "a.md", "b.txt", "sub/c.md", "sub/d.txt")
    assert paths(".") == ["a.md", "sub/c.md"]


def test_gitignore_files_above_apply_inside_a_work_tree(tree):
    tree(".git/HEAD", ".gitignore=*.log\\n/docs/out", "docs/a.md", "docs/a.log", "docs/out/b.md")
    assert paths("docs") == ["docs/a.md"]
    assert paths("docs/out") == ["docs/out/b.md"]  # named by the user


def test_gitignore_files_above_do_not_apply_outside_one(tree):
    tree(".gitignore=*.log", "docs/a.log")
    assert paths("docs") == ["docs/a.log"]


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_patterns_mean_what_they_mean_to_git(tree):
    patterns = [
        "*.txt",
        "/a/*.md",
        "b/",
        "**/deep",
        "c?.py",
        "[de].rs",
        "!a/keep.txt",
        "x/**/z",
        "f\\ g",
    ]
    root = tree(
        ".gitignore=" + "\\n".join(patterns),
        "a.txt", "a/b.md", "a/c/b.md", "a/keep.txt", "b/x", "a/b/x", "q/deep/x", "deep", "c1.py",
        "c12.py", "d.rs", "f.rs", "x/z", "x/y/z", "x/y/w/z", "f g", "q/keep.txt", "q/a/keep.txt",
    )  # fmt: skip
    environment = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    git = ["git", "-C", str(root)]
    subprocess.run([*git, "init", "-q"], check=True, env=environment)
    listed = subprocess.run(
        [*git, "ls-files", "-z", "--others", "--exclude-standard"],
        check=True, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    expected = set(listed.stdout.split("\0")) - {"", ".gitignore"}
    assert set(paths(".")) == expected


def test_an_unreadable_gitignore_is_reported_not_passed_over(tree, monkeypatch):
    tree(".gitignore=*.log", "a.log")

    def refuse(_path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", ".gitignore")

    monkeypatch.setattr(walk_module, "read_ignore_file", refuse)
    assert failures(walk(["."])) == {".gitignore": "permission"}


@needs_links
def test_links_are_left_alone_unless_asked_for(tree):
    root = tree("real/a.md", "b.md")
    (root / "folder").symlink_to("real")
    (root / "file.md").symlink_to("b.md")
    (root / "gone.md").symlink_to("nowhere")
    assert paths(".") == ["b.md", "real/a.md"]
    items = list(walk(["."], follow_symlinks=True))
    assert [item.path for item in items] == ["b.md", "file.md", "folder/a.md", "gone.md"]
    assert failures(items) == {"gone.md": "vanished"}  # and `real` is the folder just entered
    assert paths("file.md", "folder") == ["file.md", "folder/a.md"]


@needs_links
def test_loops_of_links_end(tree):
    root = tree("a/b/c.md")
    (root / "a/b/up").symlink_to(root / "a")
    (root / "a/self").symlink_to(".")
    (root / "a/b/mutual").symlink_to("../other")
    (root / "a/other").symlink_to("b/mutual")
    items = list(walk(["a"], follow_symlinks=True))
    assert [item.path for item in items if isinstance(item, FoundFile)] == ["a/b/c.md"]
    assert set(failures(items)) == {"a/b/mutual", "a/other"}


@needs_links
def test_a_link_to_itself_is_not_found(tree):
    root = tree("a.md")
    (root / "loop").symlink_to("loop")
    assert failures(walk(["loop"])) == {"loop": "not_found"}


def test_a_path_that_is_not_there_is_not_found(tree):
    tree("a.md")
    items = list(walk(["none", "a.md/b", "x" * 300, "nul\0byte", "a.md"]))
    assert list(failures(items).values()) == ["not_found"] * 4
    assert items[-1].path == "a.md"


def test_large_files_are_error_items_named_or_found(tree):
    tree("a.md=" + "x" * 50, "b.md=" + "x" * 51)
    assert failures(walk(["b.md", "."], max_file_size=50)) == {"b.md": "too_large"}
    assert "a.md" in paths(".", max_file_size=50)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_pipes_are_read_when_named_and_passed_over_in_folders(tree):
    root = tree("a.md")
    os.mkfifo(root / "pipe")
    assert paths(".") == ["a.md"]
    assert paths("pipe") == ["pipe"]


def test_a_folder_that_cannot_be_listed_is_one_error_and_the_walk_goes_on(tree, monkeypatch):
    tree("a/x.md", "b/x.md", "c/x.md")
    real = os.scandir
    reasons = {
        "a": PermissionError(errno.EACCES, "Permission denied"),
        "c": OSError(errno.EIO, "I/O"),
    }

    def scan(path: str) -> object:
        if (reason := reasons.get(os.path.basename(path.rstrip("/")))) is not None:
            raise reason
        return real(path)

    monkeypatch.setattr(walk_module.os, "scandir", scan)
    items = list(walk(["."]))
    assert [item.path for item in items] == ["a", "b/x.md", "c"]
    assert failures(items) == {"a": "permission", "c": "vanished"}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root lists everything")
def test_permissions_of_a_real_folder(tree):
    root = tree("a/x.md")
    (root / "a").chmod(0)
    try:
        assert failures(walk(["."])) == {"a": "permission"}
    finally:
        (root / "a").chmod(0o700)


def test_a_file_that_goes_away_during_the_walk_has_vanished(tree):
    root = tree("a.md", "b.md", "c/d.md")
    items = walk(["."])
    assert next(items).path == "a.md"
    (root / "b.md").unlink()
    shutil.rmtree(root / "c")
    assert failures(items) == {"b.md": "vanished", "c": "vanished"}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_are_no_unicode_are_error_items(tree):
    root = os.fsencode(tree("a.md"))
    try:
        os.mkdir(root + b"/dir\xff")
    except OSError:
        pytest.skip("this file system refuses such names")
    for name in (b"/dir\xff/x.md", b"/bad\xe9.md"):
        with open(root + name, "wb") as file:
            file.write(b"x")
    items = list(walk(["."]))
    assert [item.path for item in items] == ["a.md", r"bad\xe9.md", r"dir\xff"]
    assert set(failures(items).values()) == {"path_encoding"}
    assert failures(walk([os.fsdecode(b"bad\xe9.md")])) == {r"bad\xe9.md": "path_encoding"}


def test_folders_nest_deeper_than_python_calls(tree, monkeypatch):
    root = tree("a.md")
    depth = 0
    monkeypatch.chdir(root)
    for _ in range(1200):
        os.mkdir("d")
        os.chdir("d")
        depth += 1
    Path("x.md").write_text("x")
    os.chdir(root)
    try:
        assert paths(".") == ["a.md", "d/" * depth + "x.md"]
    finally:
        subprocess.run(["rm", "-rf", "d"], check=False)
