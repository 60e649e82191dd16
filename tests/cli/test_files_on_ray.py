"""Flags of `embed files --runner ray`; the runs themselves are in tests/integration."""

import pytest


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--runner", "spark"], "spark"),
        (["--runner", "ray"], "-o OUT"),
        (["--runner", "ray", "-o", "out", "-f", "npy"], "parquet"),
        (["--runner", "ray", "-o", "out", "--fail-fast"], "--fail-fast"),
        (["--runner", "ray", "-o", "out", "--id-field", "key"], "--id-field"),
        (["--runner", "ray", "-o", "out", "--long-text", "error"], "bulk runs"),
        (["--field", "body"], "--runner ray"),
        (["--workers", "2"], "--runner ray"),
    ],
)
def test_flags_that_cannot_work_are_refused_by_name(embed, tmp_path, flags, word):
    (tmp_path / "a.md").write_text("hello")
    done = embed("files", "a.md", *flags)
    assert done.code == 2
    assert word in done.error
    assert not (tmp_path / "out").exists()


def test_variables_of_other_commands_do_not_matter(embed, tmp_path):
    (tmp_path / "a.md").write_text("hello")
    assert embed("files", "a.md", EMBED_FIELD="body", EMBED_WORKERS="2").code == 0
