"""Files that appear whole or not at all, whatever stops the writing."""

import _thread
import os

import pytest

from freightrisk._staged import staged
from interrupts import interrupted, lines_of

OLD, NEW = "old", "new"


def write(folder, told):
    with staged([folder / "a.txt", folder / "b.txt"], then=lambda: told.append("placed")) as parts:
        for part in parts:
            part.write_text(NEW)


def found(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.mark.parametrize("there", [{}, {"a.txt": OLD, "b.txt": OLD}])
def test_an_interrupt_at_any_line_leaves_all_files_or_none(tmp_path, there):
    (tmp_path / "counted").mkdir()
    for at in range(1, lines_of(lambda: write(tmp_path / "counted", [])) + 1):
        folder, told = tmp_path / str(at), []
        folder.mkdir()
        for name, text in there.items():
            (folder / name).write_text(text)
        interrupted(lambda folder=folder, told=told: write(folder, told), at)
        assert found(folder) == ({"a.txt": NEW, "b.txt": NEW} if told else there)


@pytest.mark.parametrize("moment", ["before", "between", "after"])
def test_an_interrupt_while_files_are_moved_waits_for_all_of_it(tmp_path, monkeypatch, moment):
    told, replace = [], os.replace

    def stopped(part, final):
        if moment == "before":
            _thread.interrupt_main()
        replace(part, final)
        if moment == "after" or (moment == "between" and final.name == "a.txt"):
            _thread.interrupt_main()

    monkeypatch.setattr(os, "replace", stopped)
    for k in range(20):
        (tmp_path / str(k)).mkdir()
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / str(k), told)
        assert told == (k + 1) * ["placed"]
        assert found(tmp_path / str(k)) == {"a.txt": NEW, "b.txt": NEW}


@pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt()])
def test_a_failure_keeps_the_old_file_and_makes_no_folder(tmp_path, error):
    (tmp_path / "a.txt").write_text(OLD)

    def fail(final):
        with staged([final]) as (part,):
            part.write_text(NEW)
            raise error

    for final in (tmp_path / "a.txt", tmp_path / "new" / "a.txt"):
        with pytest.raises(type(error)):
            fail(final)
    assert found(tmp_path) == {"a.txt": OLD}
