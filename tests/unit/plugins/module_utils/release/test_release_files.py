# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.release import files

ME = (os.getuid(), os.getgid())


def mode_of(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def write_in_a_child(path, deadly, content=b"new"):
    """Run files.write in a process that dies without cleaning up when it calls os.<deadly>. Returns its wait status."""
    child = os.fork()
    if child == 0:
        setattr(os, deadly, lambda *unused: os.kill(os.getpid(), signal.SIGKILL))
        try:
            files.write(str(path), content, 0o600)
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1]


# -- write -------------------------------------------------------------------

@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755, 0o400])
def test_write_makes_a_file_of_that_mode_whatever_the_umask(tmp_path, mode):
    for umask in (0o000, 0o077):
        old = os.umask(umask)
        try:
            files.write(str(tmp_path / "f"), b"a\0\xff", mode)
        finally:
            os.umask(old)
        assert (tmp_path / "f").stat().st_mode & 0o7777 == mode
    assert files.read(str(tmp_path / "f")) == b"a\0\xff" or mode == 0o400
    assert os.listdir(str(tmp_path)) == ["f"]


def test_write_replaces_content_and_mode(tmp_path):
    path = tmp_path / "f"
    path.write_text("old")
    path.chmod(0o666)
    files.write(str(path), b"new", 0o600)
    assert path.read_text() == "new" and mode_of(str(path)) == 0o600


def test_write_replaces_a_link_and_not_its_target(tmp_path):
    (tmp_path / "target").write_text("kept")
    (tmp_path / "f").symlink_to(tmp_path / "target")
    files.write(str(tmp_path / "f"), b"new", 0o600)
    assert not (tmp_path / "f").is_symlink() and (tmp_path / "target").read_text() == "kept"


def test_mode_and_owner_are_set_before_the_content_is_there(tmp_path, monkeypatch):
    seen = []
    chmod, chown = os.fchmod, os.fchown
    monkeypatch.setattr(os, "fchmod", lambda fd, mode: (seen.append(("mode", os.fstat(fd).st_size)), chmod(fd, mode)))
    monkeypatch.setattr(os, "fchown", lambda fd, uid, gid: (seen.append(("owner", os.fstat(fd).st_size, uid, gid)), chown(fd, uid, gid)))
    files.write(str(tmp_path / "f"), b"hush", 0o600, ME)
    assert seen == [("mode", 0), ("owner", 0) + ME]


def test_content_is_on_the_disk_before_the_rename_and_the_name_after_it(tmp_path, monkeypatch):
    order = []
    fsync, rename = os.fsync, os.rename
    monkeypatch.setattr(os, "fsync", lambda fd: (order.append("sync of " + ("folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file")), fsync(fd)))
    monkeypatch.setattr(os, "rename", lambda *paths: (order.append("rename"), rename(*paths)))
    files.write(str(tmp_path / "f"), b"x", 0o600)
    assert order == ["sync of file", "rename", "sync of folder"]


@pytest.mark.parametrize("failing", ["rename", "fsync", "fchmod", "fchown"])
def test_a_failure_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch, failing):
    path = tmp_path / "f"
    path.write_text("old")

    def fail(*unused):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OSError):
        files.write(str(path), b"new", 0o600, ME)
    assert path.read_text() == "old" and os.listdir(str(tmp_path)) == ["f"]


@pytest.mark.parametrize("deadly", ["fchmod", "fsync", "rename"])
def test_killed_before_the_rename_the_old_file_stays(tmp_path, deadly):
    path = tmp_path / "f"
    path.write_text("old")
    assert os.WIFSIGNALED(write_in_a_child(path, deadly))
    assert path.read_text() == "old"
    files.write(str(path), b"newer", 0o600)
    assert path.read_text() == "newer" and os.listdir(str(tmp_path)) == ["f"]


def test_killed_after_the_rename_the_new_file_is_whole(tmp_path, monkeypatch):
    path = tmp_path / "f"
    path.write_text("old")

    def die(*unused):
        os.kill(os.getpid(), signal.SIGKILL)
    monkeypatch.setattr(files, "sync_directory", die)
    assert os.WIFSIGNALED(write_in_a_child(path, "unused_name", b"n" * 100000))
    assert path.read_bytes() == b"n" * 100000


def test_a_folder_is_needed(tmp_path):
    with pytest.raises(FileNotFoundError):
        files.write(str(tmp_path / "none" / "f"), b"", 0o600)


# -- read, differs, make_directory -------------------------------------------

def test_read(tmp_path):
    (tmp_path / "f").write_bytes(b"x")
    assert files.read(str(tmp_path / "f")) == b"x"
    assert files.read(str(tmp_path / "none")) is None
    assert files.read(str(tmp_path / "f" / "below")) is None
    assert files.read(str(tmp_path)) is None


def test_differs(tmp_path):
    path = str(tmp_path / "f")
    assert files.differs(path, b"x", 0o600)
    files.write(path, b"x", 0o600)
    assert not files.differs(path, b"x", 0o600)
    assert not files.differs(path, b"x", 0o600, ME)
    assert files.differs(path, b"y", 0o600)
    assert files.differs(path, b"x", 0o644)
    assert files.differs(path, b"x", 0o600, (ME[0] + 1, ME[1]))
    assert files.differs(path, b"x", 0o600, (ME[0], ME[1] + 1))


def test_a_link_or_a_folder_differs(tmp_path):
    files.write(str(tmp_path / "f"), b"x", 0o600)
    (tmp_path / "link").symlink_to(tmp_path / "f")
    (tmp_path / "folder").mkdir()
    assert files.differs(str(tmp_path / "link"), b"x", 0o600)
    assert files.differs(str(tmp_path / "folder"), b"x", 0o755)


def test_make_directory(tmp_path):
    path = str(tmp_path / "a" / "b")
    old = os.umask(0o077)
    try:
        assert files.make_directory(path, 0o750) is True
    finally:
        os.umask(old)
    assert mode_of(path) == 0o750
    assert files.make_directory(path, 0o750) is False
    assert files.make_directory(path, 0o700) is True
    assert mode_of(path) == 0o700


# -- unified -----------------------------------------------------------------

def test_a_diff():
    assert files.unified("/d/compose.yaml", b"a\nb\n", b"a\nc\n") == "--- /d/compose.yaml\n+++ /d/compose.yaml\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n"
    assert "--- /d/f (absent)" in files.unified("/d/f", None, b"a\n") and "+a\n" in files.unified("/d/f", None, b"a\n")
    assert "+++ /d/f (absent)" in files.unified("/d/f", b"a\n", None)


def test_a_diff_of_an_env_file_hides_secrets():
    text = files.unified("/d/app.env", b"DB_PASSWORD=old-hush\nWORKERS=1\n", b"DB_PASSWORD=new-hush\nWORKERS=2\n")
    assert "hush" not in text and "+WORKERS=2" in text


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\r", "\n"])
def test_a_diff_of_an_env_file_hides_a_secret_to_its_end(separator):
    content = ('DB_PASSWORD="start%send-hush"\nWORKERS=1\n' % separator).encode("utf-8")
    assert "hush" not in files.unified("/d/.env", None, content)
    assert "hush" not in files.unified("/d/.env", content, b"WORKERS=2\n")


def test_a_diff_of_what_is_hidden_or_not_content_says_so():
    assert "a hidden value differs" in files.unified("/d/.env", b"TOKEN=a1\n", b"TOKEN=b2\n")
    assert "a1" not in files.unified("/d/.env", b"TOKEN=a1\n", b"TOKEN=b2\n")


# -- lock --------------------------------------------------------------------

HOLD = """
import fcntl, os, sys, time
handle = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
fcntl.flock(handle, fcntl.LOCK_EX)
os.pwrite(handle, b"anna@laptop, pid 4711, since noon", 0)
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """A real process that holds the lock; killed at the end."""
    path = str(tmp_path / "lock")
    process = subprocess.Popen([sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    yield path, process
    process.kill()
    process.wait()
    process.stdout.close()


class Clock:
    def __init__(self):
        self.now, self.sleeps, self.at = 0.0, [], {}

    def sleep(self, seconds):
        self.sleeps.append(seconds)
        self.now += seconds
        if len(self.sleeps) in self.at:
            self.at[len(self.sleeps)]()

    def __call__(self):
        return self.now


def test_a_held_lock_is_waited_for_and_then_names_its_holder(other):
    clock = Clock()
    with pytest.raises(files.Locked, match="^anna@laptop, pid 4711, since noon$"):
        with files.lock(other[0], "me", 3, clock.sleep, clock):
            raise AssertionError("both have it")
    assert 3 <= sum(clock.sleeps) <= 4


def test_a_lock_of_a_killed_holder_is_free_at_once(other):
    def kill():
        other[1].kill()
        other[1].wait()
    clock = Clock()
    clock.at = {2: kill}
    with files.lock(other[0], "me, pid 1", 30, clock.sleep, clock):
        with open(other[0], encoding="utf-8") as handle:
            assert handle.read() == "me, pid 1"
    assert len(clock.sleeps) == 2


def test_a_released_lock_has_no_holder_and_a_closed_file(tmp_path):
    path = str(tmp_path / "lock")
    with files.lock(path, "me", 0):
        assert mode_of(path) == 0o600
        with pytest.raises(files.Locked, match="me"):
            with files.lock(path, "second", 0, lambda unused: None):
                raise AssertionError("both have it")
    with open(path, encoding="utf-8") as handle:
        assert handle.read() == ""
    with files.lock(path, "again", 0):
        pass


def test_a_lock_is_released_by_an_error_too(tmp_path):
    path = str(tmp_path / "lock")
    with pytest.raises(KeyError):
        with files.lock(path, "me", 0):
            raise KeyError("x")
    with files.lock(path, "again", 0):
        pass


def test_a_lock_does_not_go_to_programs_that_the_holder_starts(tmp_path):
    path = str(tmp_path / "lock")
    with files.lock(path, "me", 0):
        code = ("import json, os; here = '/proc/self/fd/'; "
                "print(json.dumps([os.readlink(here + fd) for fd in os.listdir(here) if os.path.exists(here + fd)]))")
        assert path not in json.loads(subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True, close_fds=False).stdout)
