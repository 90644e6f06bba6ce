"""Files that appear whole or not at all, whatever stops the writing."""

import _thread
import contextlib
import os
import re
import signal
import stat
import sys
import time
from pathlib import Path

import pytest

from forks import fork
from freightrisk import FreightRiskWarning, _staged, _unfinished
from freightrisk._staged import probe, staged
from freightrisk._unfinished import LOCK, HiddenFolder, here
from interrupts import interrupted, lines_of
from test_balances import tariff_of

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


def test_a_move_that_fails_puts_back_what_was_moved_before(tmp_path):
    (tmp_path / "a.txt").write_text(OLD)
    (tmp_path / "b.txt").mkdir()
    with pytest.raises(IsADirectoryError):
        write(tmp_path, [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b.txt"]
    assert (tmp_path / "a.txt").read_text() == OLD
    (tmp_path / "a.txt").unlink()
    with pytest.raises(IsADirectoryError):
        write(tmp_path, [])
    assert [path.name for path in tmp_path.iterdir()] == ["b.txt"]


@pytest.mark.parametrize("number", _staged.FULL)
def test_a_disk_without_room_for_a_second_name_keeps_the_old_files(tmp_path, monkeypatch, number):
    replace = os.replace

    def full(part, final):
        if final.name != "a.txt":
            raise OSError(number, os.strerror(number), str(part))
        replace(part, final)

    monkeypatch.setattr(os, "link", lambda _, spare: full(spare, spare))
    monkeypatch.setattr(os, "replace", full)
    (tmp_path / "a.txt").write_text(OLD)
    with pytest.raises(OSError, match=re.escape(str(tmp_path))):
        write(tmp_path, [])
    assert found(tmp_path) == {"a.txt": OLD}


def test_the_stop_key_may_be_hit_again_and_again(tmp_path, monkeypatch):
    told, replace = [], os.replace

    def stopped(part, final):
        for _ in range(20):
            _thread.interrupt_main()
            time.sleep(0.002)
        replace(part, final)

    monkeypatch.setattr(os, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, told)
    assert told == ["placed"]
    assert found(tmp_path) == {"a.txt": NEW, "b.txt": NEW}


# On disk before it appears


def names_synced(monkeypatch, folder, steps):
    """Note what is waited for on the disk, and what is moved."""
    fsync, replace = os.fsync, os.replace

    def noted_fsync(handle):
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        steps.append(("sync", "folder" if path == folder else path.name))
        fsync(handle)

    def noted_replace(part, final):
        steps.append(("move", Path(final).name))
        replace(part, final)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)


on_linux = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="asks the system which file is meant")


@on_linux
def test_files_are_on_disk_before_they_are_moved_and_their_names_before_the_end(tmp_path, monkeypatch):
    steps = []
    names_synced(monkeypatch, tmp_path, steps)
    with staged([tmp_path / "a.txt", tmp_path / "b.txt"], then=lambda: steps.append("then")) as parts:
        for part in parts:
            part.write_text(NEW)
    synced = [("sync", part.name) for part in parts]
    assert steps == [*synced, ("move", "a.txt"), ("move", "b.txt"), ("sync", "folder"), "then"]


@on_linux
def test_everything_in_a_folder_is_on_disk_before_it_is_moved(tmp_path, monkeypatch):
    steps = []
    names_synced(monkeypatch, tmp_path, steps)
    with staged([tmp_path / "book"]) as (part,):
        (part / "inner").mkdir(parents=True)
        for name in ("a.bin", "b.bin", "inner/c.bin"):
            (part / name).write_text(NEW)
    inside = {("sync", name) for name in ("a.bin", "b.bin", "c.bin", "inner")}
    assert set(steps[:4]) == inside
    assert steps[4:] == [("sync", part.name), ("move", "book"), ("sync", "folder")]


def test_a_disk_that_fails_to_keep_the_names_is_told_of_and_state_goes_with_the_files(tmp_path, monkeypatch):
    told, fsync = [], os.fsync

    def failing(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(5, "Input/output error")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="Input/output error"):
        write(tmp_path, told)
    assert told == ["placed"]
    assert found(tmp_path) == {"a.txt": NEW, "b.txt": NEW}


@pytest.mark.parametrize("number", _staged.NO_SYNC)
def test_a_disk_that_cannot_sync_folders_is_no_failure(tmp_path, monkeypatch, number):
    told, fsync = [], os.fsync

    def failing(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(number, "not for folders")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", failing)
    write(tmp_path, told)
    assert told == ["placed"]


# Links


@pytest.mark.parametrize("is_there", [True, False])
def test_a_link_stays_and_what_it_names_is_replaced(tmp_path, is_there):
    (tmp_path / "far").mkdir()
    target, link = tmp_path / "far" / "a.txt", tmp_path / "link.txt"
    link.symlink_to(Path("far") / "a.txt")
    if is_there:
        target.write_text(OLD)
    probe(link)
    with staged([link]) as (part,):
        assert part.parent.parent == target.parent
        part.write_text(NEW)
    assert link.is_symlink()
    assert target.read_text() == NEW
    assert found(target.parent) == {"a.txt": NEW}


def test_links_in_a_ring_and_into_nothing_are_refused(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "c").symlink_to(tmp_path / "nowhere" / "c.txt")
    for name in ("a", "c"):
        with pytest.raises(OSError, match=r"symbolic links|No such file"):
            probe(tmp_path / name)


# Owners


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
def test_owner_and_group_are_kept(tmp_path):
    (tmp_path / "a.txt").write_text(OLD)
    os.chown(tmp_path / "a.txt", 4321, 1234)
    (tmp_path / "a.txt").chmod(0o640)
    write(tmp_path, [])
    after = (tmp_path / "a.txt").stat()
    assert (after.st_uid, after.st_gid, stat.S_IMODE(after.st_mode)) == (4321, 1234, 0o640)


@pytest.mark.parametrize(("before", "after"), [(0o640, 0o600), (0o664, 0o644), (0o604, 0o604), (0o666, 0o666)])
@pytest.mark.skipif(not hasattr(os, "chown"), reason="groups are those of POSIX")
def test_another_group_may_do_no_more_than_others(tmp_path, monkeypatch, before, after):
    (tmp_path / "a.txt").write_text(OLD)
    (tmp_path / "a.txt").chmod(before)
    fstat = os.stat_result

    def refused(*_):
        raise PermissionError(1, "Operation not permitted")

    old = (tmp_path / "a.txt").stat()
    foreign = fstat([*old[:5], old.st_gid + 1, *old[6:10]])
    monkeypatch.setattr(os, "chown", refused)
    (tmp_path / "part").write_text(NEW)
    _staged._keep(tmp_path / "part", foreign)
    assert stat.S_IMODE((tmp_path / "part").stat().st_mode) == after


# What others have begun


def hidden_in(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def other_writer(folder, name="a.txt"):
    """Let a child write as far as the move; return its id, and the two ends of pipes: what it tells, what it awaits."""
    told, telling = os.pipe()
    waiting, going = os.pipe()
    child = fork()
    if child == 0:
        status = 1
        with contextlib.suppress(BaseException):
            os.close(going)
            with staged([folder / name]) as (part,):
                part.write_text("by another")
                os.write(telling, b".")
                os.read(waiting, 1)
            status = 0
        os._exit(status)
    os.close(telling)
    os.close(waiting)
    assert os.read(told, 1) == b"."
    os.close(told)
    return child, going


forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills processes that it forks")
may_fork = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@forks
@may_fork
def test_a_living_writer_keeps_its_parts_and_a_killed_one_loses_them(tmp_path):
    (living, go), (killed, held) = other_writer(tmp_path, "c.txt"), other_writer(tmp_path)
    write(tmp_path, [])
    assert len(hidden_in(tmp_path)) == 2
    os.kill(killed, signal.SIGKILL)
    os.waitpid(killed, 0)
    assert len(hidden_in(tmp_path)) == 2
    write(tmp_path, [])
    assert len(hidden_in(tmp_path)) == 1
    os.close(go)
    assert os.waitpid(living, 0)[1] == 0
    os.close(held)
    assert found(tmp_path) == {"a.txt": NEW, "b.txt": NEW, "c.txt": "by another"}


@forks
@may_fork
def test_many_writers_in_one_folder_do_not_remove_each_others_parts(tmp_path):
    children = []
    for k in range(4):
        child = fork()
        if child == 0:
            status = 1
            with contextlib.suppress(BaseException):
                for _ in range(60):
                    with staged([tmp_path / f"{k}.txt"]) as (part,):
                        part.write_text(str(k))
                status = 0
            os._exit(status)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0, 0]
    assert found(tmp_path) == {f"{k}.txt": str(k) for k in range(4)}


def left_behind(folder, machine, start):
    """Return a hidden folder as a killed writer would leave it, with the names of some machine."""
    path = folder / f".freightrisk-{machine}-{start}-0123456789ab.part"
    path.mkdir(0o700)
    (path / LOCK).touch()
    (path / "0.part").write_text("half")
    return path


MACHINE, START = here()
OTHER = "0" * 12


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="nothing is swept without locks")
@pytest.mark.parametrize(
    ("machine", "start", "stays"),
    [(MACHINE, START, False), (MACHINE, OTHER, False), (OTHER, START, False), (OTHER, OTHER, True)],
)
def test_parts_of_another_machine_stay_because_its_locks_may_not_be_seen(tmp_path, machine, start, stays):
    path = left_behind(tmp_path, machine, start)
    write(tmp_path, [])
    assert hidden_in(tmp_path) == ([path.name] if stays else [])


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="nothing is swept without locks")
def test_a_writer_stopped_before_its_lock_or_while_it_cleaned_up_leaves_nothing_for_long(tmp_path):
    path = left_behind(tmp_path, MACHINE, START)
    (path / "0.part").unlink()
    (path / LOCK).unlink()
    write(tmp_path, [])
    assert hidden_in(tmp_path) == []


def test_what_only_looks_like_a_part_stays(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / LOCK).touch()
    (tmp_path / "precious" / "data").write_text(OLD)
    name = f".freightrisk-{MACHINE}-{START}-"
    (tmp_path / f"{name}000000000001.part").symlink_to(tmp_path / "precious")
    (tmp_path / f"{name}000000000002.part").write_text(OLD)
    (tmp_path / f"{name}3.part").mkdir()
    (tmp_path / ".0a1b2c3d.q.parquet").write_text(OLD)
    before = hidden_in(tmp_path)
    write(tmp_path, [])
    assert hidden_in(tmp_path) == before
    assert (tmp_path / "precious" / "data").read_text() == OLD


@pytest.mark.parametrize("fault", ["no fcntl", "no locks on this disk"])
def test_without_locks_files_are_written_and_nobody_removes_their_parts(tmp_path, monkeypatch, fault):
    def refused(*_):
        raise OSError(37, "No locks available")

    with monkeypatch.context() as patch:
        if fault == "no fcntl":
            patch.setitem(sys.modules, "fcntl", None)
        else:
            patch.setattr(pytest.importorskip("fcntl"), "flock", refused)
        folder = HiddenFolder(tmp_path)
        write(tmp_path, [])
    write(tmp_path, [])
    assert hidden_in(tmp_path) == [folder.path.name]
    folder.remove()
    assert hidden_in(tmp_path) == []


def test_a_hidden_folder_that_is_swept_before_its_lock_is_made_again(tmp_path, monkeypatch):
    locks, swept = _unfinished.locks, []

    def slow(file, *, wait):
        if wait and not swept:
            swept.append(hidden_in(tmp_path))
            _unfinished.sweep(tmp_path)
        return locks(file, wait=wait)

    monkeypatch.setattr(_unfinished, "locks", slow)
    folder = HiddenFolder(tmp_path)
    assert [folder.path.name] == hidden_in(tmp_path) != swept[0]
    folder.remove()


def test_parts_have_no_suffix_of_data_and_are_open_to_their_owner_alone(tmp_path):
    with staged([tmp_path / "q.parquet"]) as (part,):
        part.write_text(NEW)
        assert part.suffix == ".part"
        assert part.parent.name.startswith(".")
        assert list(tmp_path.rglob("*.parquet")) == []
        assert os.name == "nt" or stat.S_IMODE(part.parent.stat().st_mode) == 0o700


def test_a_secret_in_a_file_that_others_can_read_is_told(tmp_path):
    path, secret = tmp_path / "tariff.json", tariff_of([], "dither")
    secret.save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    with pytest.warns(FreightRiskWarning, match=r"holds a dither_key and can be read by others.*chmod 600") as told:
        secret.save(path)
    assert "a secret" not in str(told[0].message)
    assert path.stat().st_mode & 0o777 == 0o644
