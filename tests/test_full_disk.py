"""Writers on a disk that is really full: a small one of the test's own, with room for less than a result needs."""

import contextlib
import ctypes
import gc
import os
import sys

import pytest

import writers
from forks import end_after, fork
from freightrisk import Balances, Ledger, LedgerError
from test_stops import WRITERS, everything, job_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="makes a disk of its own as Linux does"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*can be read by others"),
]

PAGE, PAGES, FILES = 4096, 512, 128
NEW_USERS, NEW_MOUNTS, PRIVATE = 0x10000000, 0x00020000, 1 << 18 | 1 << 14
NO_DISK = 77


def mount_disk(place):
    """Mount a small disk that this process alone sees and that ends with it; raise OSError where it may not."""
    system, user, group = ctypes.CDLL(None, use_errno=True), os.geteuid(), os.getegid()

    def call(function, *arguments):
        if function(*arguments):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    call(system.unshare, NEW_MOUNTS | (NEW_USERS if user else 0))
    if user:  # who is not root may mount as the root of a world of their own
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    call(system.mount, b"none", b"/", None, ctypes.c_ulong(PRIVATE), None)
    size = f"size={PAGES * PAGE},nr_inodes={FILES}".encode()
    call(system.mount, b"tmpfs", str(place).encode(), b"tmpfs", ctypes.c_ulong(0), size)


class Pages:
    """Room for bytes, which a ballast takes."""

    def __init__(self, place):
        self.folder = place / ".ballast"
        self.folder.mkdir()

    def free(self):
        return os.statvfs(self.folder).f_bavail

    def leave(self, room):
        ballast = self.folder / "0"
        ballast.unlink(missing_ok=True)
        with ballast.open("wb") as file:
            if taken := self.free() - room:
                os.posix_fallocate(file.fileno(), 0, PAGE * taken)
        assert self.free() == room


class Files(Pages):
    """Room for names of files and folders."""

    def free(self):
        return os.statvfs(self.folder).f_favail

    def leave(self, room):
        for ballast in self.folder.iterdir():
            ballast.unlink()
        for k in range(self.free() - room):
            (self.folder / str(k)).touch()
        assert self.free() == room


def held(folder):
    """Return the files of a folder that this process holds open, which keep their room on the disk when removed."""
    links = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            links.append(os.readlink(f"/proc/self/fd/{number}"))
    return [link for link in links if link.startswith(str(folder))]


def fits(job, disk, room):
    """Write with little room; hold the writer to its promises, and return whether it found the room enough."""
    job.begin()
    disk.leave(room)
    before = job.folder.stat().st_nlink
    try:
        job.write()
        told = None
    except OSError as error:
        told = str(error)
        assert "No space left on device" in told or "error code 28" in told or "errno 28" in told
        assert str(job.folder) in told
    assert job.is_new() == (told is None)
    assert job.hidden() == [disk.folder.name]
    assert held(job.folder) == []
    if told is not None:
        assert job.folder.stat().st_nlink == before
        assert everything(job.balances) == everything(job.opening)
    return told is None


def check(name, place, kind):
    """Fill a disk to all degrees, with more of them where the room is just too little."""
    gc.disable()  # what is let go of is let go of at once
    job = job_of(name, place)
    job.begin()
    disk = kind(job.folder)
    least, most = 0, disk.free()
    assert not fits(job, disk, least)
    assert fits(job, disk, most)
    while most - least > 1:
        room = (least + most) // 2
        least, most = (least, room) if fits(job, disk, room) else (room, most)
    rooms = {*range(0, most, 1 + 3 * most // job.stops), *range(max(0, most - 3), most)}
    for room in sorted(rooms):
        assert not fits(job, disk, room)
    assert fits(job, disk, most)


def on_a_small_disk(place, work):
    """Do some work in a child, to which a folder is a small disk."""
    place.mkdir()
    reading, writing = os.pipe()
    child = fork()
    if child == 0:
        try:
            mount_disk(place)
        except OSError:
            os._exit(NO_DISK)
        end_after(work, writing)
    os.close(writing)
    with os.fdopen(reading) as file:
        told = file.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == NO_DISK:
        pytest.skip("this user may not mount a small disk, so nothing is written to a full one")
    assert (status, told) == (0, "")


@pytest.mark.parametrize("kind", [Pages, Files])
@pytest.mark.parametrize("name", list(WRITERS))
def test_a_full_disk_is_told_of_and_leaves_what_was_there(name, kind, tmp_path):
    on_a_small_disk(tmp_path / "out", lambda: check(name, tmp_path, kind))


def spend(place, batch):
    """Price a batch in a ledger."""
    with Ledger(place) as ledger:
        ledger.price(writers.tariff(), writers.orders_of(batch), batch=str(batch), threads=1)


def spent_by(batches):
    """Return what some batches spend one after another."""
    balances = Balances()
    for batch in batches:
        writers.tariff().price(writers.orders_of(batch), balances=balances)
    return balances.spent


def check_ledger(folder, *, is_new):
    """Fill the disk of a ledger to all degrees; each batch counts once, as soon as there is room for it."""
    disk, counted, refused, rooms = Pages(folder), {}, 0, range(0, 120, 6)
    if not is_new:
        spend(folder / "0.db", 1_000)
        counted[folder / "0.db"] = [1_000]
    for batch in rooms:
        place = folder / (f"{batch}.db" if is_new else "0.db")
        counted.setdefault(place, []).append(batch)
        disk.leave(batch)
        told = None
        try:
            spend(place, batch)
        except LedgerError as error:
            told = str(error)
        if told is not None:
            refused += 1
            assert str(place) in told
            assert "disk" in told
            assert "run the batch again under its id" in told
        (folder / ".ballast" / "0").unlink()
        spend(place, batch)
        with Ledger(place) as ledger:
            assert ledger.batches().index.tolist() == [str(one) for one in counted[place]]
            assert ledger.spending()["reserved_fen"].to_dict() == spent_by(counted[place])
        if is_new:
            place.unlink()  # the small disk holds a few ledgers only
    assert 0 < refused < len(rooms)


@pytest.mark.parametrize("is_new", [True, False])
def test_a_ledger_on_a_full_disk_counts_a_batch_once_there_is_room(is_new, tmp_path):
    on_a_small_disk(tmp_path / "out", lambda: check_ledger(tmp_path / "out", is_new=is_new))
