"""A PostgreSQL server of the tests' own, from whatever installation the machine has."""

import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest


def program(name):
    """Return the path of a server program, None where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


@contextmanager
def server():
    """Start a server on a socket in a temporary folder; yield its URL, then stop it."""
    pytest.importorskip("psycopg", reason="psycopg is not installed, so nothing is tested on PostgreSQL")
    initdb, pg_ctl = program("initdb"), program("pg_ctl")
    if initdb is None or pg_ctl is None:
        pytest.skip("PostgreSQL is not installed (Debian's package postgresql), so nothing is tested on it")
    folder = Path(tempfile.mkdtemp(prefix="freightrisk-"))
    as_user = {}
    if os.geteuid() == 0:  # the server refuses to run as root
        user = next((name for name in ("postgres", "nobody") if name in {u.pw_name for u in pwd.getpwall()}), None)
        if user is None:
            pytest.skip("there is no user postgres or nobody to run PostgreSQL as")
        as_user = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
        shutil.chown(folder, user)
    data = str(folder / "data")

    def run(*command):
        subprocess.run(command, check=True, capture_output=True, cwd=folder, timeout=120, **as_user)

    try:
        run(initdb, "-D", data, "-A", "trust", "-U", "freightrisk", "--no-sync")
        options = f"-c listen_addresses='' -c fsync=off -c max_connections=60 -k {folder}"
        # The server must not hold this process's pipes open.
        subprocess.run(
            [pg_ctl, "-D", data, "-w", "-o", options, "-l", str(folder / "log"), "start"],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            timeout=120,
            **as_user,
        )
        yield f"postgresql+psycopg://freightrisk@/postgres?host={folder}"
    finally:
        subprocess.run([pg_ctl, "-D", data, "-m", "immediate", "stop"], capture_output=True, check=False, **as_user)
        shutil.rmtree(folder, ignore_errors=True)
