"""Progress without a terminal."""

import re

import pytest

from ttl_jax import progress


@pytest.mark.parametrize(("what", "head"), [(None, ""), ("a/b", "a/b: ")])
def test_without_a_terminal_lines_say_what_is_done_and_left(
    monkeypatch, capsys, what, head
):
    monkeypatch.setattr(progress, "_EVERY", 0)
    for _ in progress.track(range(4), unit="window", what=what):
        pass
    lines = capsys.readouterr().err.splitlines()
    assert lines and "\r" not in "".join(lines)
    for line in lines:
        assert re.fullmatch(
            head + r"\d of 4 windows, \S+ windows/s, about \d\d:\d\d left", line
        )


def test_short_work_prints_nothing(capsys):
    list(progress.track(range(4), unit="window"))
    counter = progress.track(unit="window", total=3)
    counter.update(3)
    counter.close()
    assert capsys.readouterr().err == ""


def test_hidden_progress_prints_nothing(monkeypatch, capsys):
    monkeypatch.setattr(progress, "_EVERY", 0)
    list(progress.track(range(4), unit="window", is_shown=False))
    assert capsys.readouterr().err == ""
