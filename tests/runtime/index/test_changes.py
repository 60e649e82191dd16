"""Whatever happened to a folder between two looks, an update ends where a fresh index would."""

import random
import shutil

import pytest

from embedge import open_index


def some_text(rng):
    words = "river house memory night lease renew vector word garden".split()
    lines = (" ".join(rng.choices(words, k=12)) + "." for _ in range(rng.randint(1, 40)))
    return "\n\n".join(lines)


def files_of(root):
    """All but the one that tells a folder from an empty mount point."""
    found = (path for path in root.rglob("*") if path.is_file() and path.name[0] != ".")
    return sorted(path for path in found if path.name != "stays.rst")


def folders_of(root):
    return sorted(path for path in root.rglob("*") if path.is_dir())


def write(root, rng):
    folder = root / f"d{rng.randint(0, 3)}"
    if not folder.is_file():
        folder.mkdir(exist_ok=True)
        (folder / f"{rng.randint(0, 30)}.{rng.choice(['txt', 'md', 'py'])}").write_text(
            some_text(rng)
        )


def edit(root, rng):
    if files := files_of(root):
        path = rng.choice(files)
        parts = path.read_text().split("\n\n")
        parts[rng.randrange(len(parts))] = some_text(rng)
        path.write_text("\n\n".join(parts))


def delete(root, rng):
    if files := files_of(root):
        rng.choice(files).unlink()


def rename(root, rng):
    if files := files_of(root):
        path = rng.choice(files)
        path.rename(path.with_name(f"r{rng.randint(0, 10**6)}{path.suffix}"))


def swap(root, rng):
    files = files_of(root)
    if len(files) > 1:
        one, other = rng.sample(files, 2)
        one.rename(root / "held")
        other.rename(one)
        (root / "held").rename(other)


def copy(root, rng):
    if files := files_of(root):
        path = rng.choice(files)
        shutil.copy2(path, path.with_name(f"c{rng.randint(0, 10**6)}{path.suffix}"))


def move_folder(root, rng):
    if folders := folders_of(root):
        rng.choice(folders).rename(root / f"m{rng.randint(0, 10**6)}")


def file_for_folder(root, rng):
    if folders := folders_of(root):
        path = rng.choice(folders)
        shutil.rmtree(path)
        path.write_text(some_text(rng))


def break_one(root, rng):
    if files := files_of(root):
        rng.choice(files).write_bytes(bytes(range(1, 32)) * 9)


def ignore(root, rng):
    (root / ".gitignore").write_text(rng.choice(["*.py\n", "d1/\n", "", "1*\n!10.txt\n"]))


CHANGES = [
    write, write, write, edit, edit, delete, rename, swap, copy, move_folder, file_for_folder,
    break_one, ignore,
]  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_after_any_changes_an_index_holds_what_a_fresh_one_holds(
    index, tmp_path, embedder, content, check_sound, seed
):
    rng = random.Random(seed)
    root = tmp_path / "docs"
    root.mkdir()
    (root / "stays.rst").write_text("This file stays.")
    for _ in range(12):
        write(root, rng)
    index.add(root)
    for turn in range(6):
        for _ in range(rng.randint(1, 6)):
            rng.choice(CHANGES)(root, rng)
        index.update()
        if turn % 3 == 2:
            index.gc(grace_days=0)
    check_sound()
    with open_index(tmp_path / "fresh.db", embedder=embedder) as fresh:
        fresh.add(root)
        states = {(each.path, each.state, each.reason) for each in fresh.ls()}
    assert content() == content(tmp_path / "fresh.db")
    kept = {(each.path, each.state, each.reason) for each in index.ls() if each.state != "missing"}
    assert kept == states
    assert index.verify().problems == ()
