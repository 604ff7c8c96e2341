# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is decided about trees, by tables: links that leave, what differs, digests, refusals."""
from __future__ import annotations

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.trees import delta, errors, links, proof, rsync, survey
from ansible_collections.dockyard.fleet.plugins.module_utils.trees.agent import FILE, FOLDER, LINK, MOUNT, Entry
from ansible_collections.dockyard.fleet.plugins.module_utils.trees.source import Local, Remote, reason_of


def entry(path, kind=FILE, **given):
    base = dict(path=path, kind=kind, mode=0o755 if kind == FOLDER else 0o644, uid=0, gid=0, size=10 if kind == FILE else 0, mtime_ns=5, ctime_ns=6,
                inode=abs(hash(path)) % 10**9, links=1, data=10 if kind == FILE else 0, target=None, attributes=[])
    return Entry(**dict(base, **given))


ROOT = entry(".", FOLDER)


@pytest.mark.parametrize("path, target, others, out", [
    ("a", "b", {}, False),
    ("a", "nothing/there", {}, False),
    ("a", "..", {}, True),
    ("d/a", "..", {}, False),
    ("d/a", "../..", {}, True),
    ("d/a", "../../tree/b", {}, True),
    ("d/a", "../b/../c", {}, False),
    ("a", "/etc/passwd", {}, True),
    ("a", "/", {}, True),
    ("a", "/srv/tree", {}, False),
    ("a", "/srv/tree/x/../y", {}, False),
    ("a", "/srv/tree/../secret", {}, True),
    ("a", "//srv/./tree//x", {}, False),
    ("a", "/srv/treehouse/x", {}, True),
    ("a", "/mnt/real/x", {}, False),
    # Through another link: by its text alone this one would stay.
    ("a", "deep/../../x", {"deep": "one/two"}, False),
    ("a", "deep/../x", {"deep": "."}, True),
    ("a", "b/c", {"b": "/etc"}, True),
    ("a", "b/../../x", {"b": "d/e"}, False),
    ("a", "b/../../../x", {"b": "d/e"}, True),
    ("a", "b", {"b": "a"}, False),
])
def test_a_link_leaves_the_tree(path, target, others, out):
    assert links.leaves(path, dict(others, **{path: target}), ["/srv/tree", "/mnt/real"]) is out


def test_only_links_are_asked():
    entries = [ROOT, entry("a", LINK, target="../x"), entry("b", LINK, target="f"), entry("f")]
    assert [found.path for found in links.escaping(entries, ["/srv/tree"])] == ["a"]


def summary_of(work):
    return {"remove": work.remove, "folders": [found.path for found in work.folders], "files": [found.path for found in work.files],
            "hardlinks": work.hardlinks, "symlinks": [found.path for found in work.symlinks], "settle": [found.path for found in work.settle],
            "extra": work.extra}


def there(source, **given):
    return source._replace(inode=source.inode + 10**9, **given)


A, B, D = entry("a"), entry("b"), entry("d", FOLDER)
PAIR = [entry("p", inode=7, links=2), entry("q", inode=7, links=2)]


@pytest.mark.parametrize("source, target, more, expected", [
    ([ROOT, D, A], [], {}, {"folders": [".", "d"], "files": ["a"]}),
    ([ROOT, D, A], [there(ROOT), there(D), there(A)], {}, {}),
    ([ROOT, A], [there(ROOT), there(A, mode=0o600)], {}, {"settle": ["a"]}),
    ([ROOT, A], [there(ROOT), there(A, uid=7)], {}, {"settle": ["a"]}),
    ([ROOT, A], [there(ROOT, uid=3, gid=4), there(A, uid=3, gid=4)], {"owner": (3, 4)}, {}),
    ([ROOT, A], [there(ROOT, mtime_ns=1), there(A)], {}, {"settle": ["."]}),
    ([ROOT, A], [there(ROOT), there(A, size=9)], {}, {"files": ["a"]}),
    ([ROOT, A], [there(ROOT), there(A, mtime_ns=4)], {}, {"files": ["a"]}),
    # The same size and time, but a proof found it different; or it changed at a time that nobody can set.
    ([ROOT, A], [there(ROOT), there(A)], {"suspects": ["a"]}, {"files": ["a"]}),
    ([ROOT, A], [there(ROOT), there(A)], {"remembered": {"a": ("x", [10, 5, 6, A.inode])}}, {}),
    ([ROOT, A], [there(ROOT), there(A)], {"remembered": {"a": ("x", [10, 5, 3, A.inode])}}, {"files": ["a"]}),
    ([ROOT, A], [there(ROOT), there(A), there(B), there(D), there(entry("d/x"))], {}, {"extra": ["d/x", "d", "b"]}),
    ([ROOT, entry("d")], [there(ROOT), there(D), there(entry("d/x"))], {}, {"remove": ["d/x", "d"], "files": ["d"]}),
    ([ROOT, D, entry("d/x")], [there(ROOT), there(entry("d", LINK, target="/etc"))], {}, {"remove": ["d"], "folders": ["d"], "files": ["d/x"]}),
    ([ROOT, entry("l", LINK, target="a")], [there(ROOT), there(entry("l", LINK, target="b"))], {}, {"symlinks": ["l"]}),
    ([ROOT, entry("s", "socket"), entry("m", MOUNT)], [there(ROOT)], {}, {}),
    ([ROOT], [there(ROOT), there(entry(delta.WORK, FOLDER)), there(entry(delta.WORK + "/1")), there(entry("d/%s/x" % delta.PARTIAL))], {}, {}),
    ([ROOT] + PAIR, [there(ROOT)], {}, {"files": ["p"], "hardlinks": [("q", "p")]}),
    ([ROOT] + PAIR, [there(ROOT), there(PAIR[0]), there(PAIR[1])], {}, {}),
    ([ROOT] + PAIR, [there(ROOT), there(PAIR[1])], {}, {"hardlinks": [("p", "q")]}),
    ([ROOT] + PAIR, [there(ROOT), there(PAIR[0]), there(entry("q"))], {}, {"hardlinks": [("q", "p")]}),
    # What was one file in the copy, and is two in the source by now.
    ([ROOT, entry("p"), entry("q")], [there(ROOT), there(PAIR[0]), there(PAIR[1])], {}, {"files": ["q"]}),
])
def test_what_has_to_be_done(source, target, more, expected):
    work = delta.plan(source, target, **more)
    assert summary_of(work) == dict({"remove": [], "folders": [], "files": [], "hardlinks": [], "symlinks": [], "settle": [], "extra": []}, **expected)
    assert delta.is_done(work) is (set(expected) <= {"extra"})


def test_what_the_disk_needs():
    big = entry("big", size=10 * 4096, data=2 * 4096 + 1)
    work = delta.plan([ROOT, D, A, big], [there(ROOT)])
    assert (work.needed_bytes, work.needed_inodes, work.copy_bytes) == (4096 + 3 * 4096 + 4096, 3, 10 + 2 * 4096 + 1)
    # One that is replaced is there twice for a moment.
    work = delta.plan([ROOT, big], [there(ROOT), there(big, mtime_ns=0)])
    assert (work.needed_bytes, work.needed_inodes) == (3 * 4096, 0)


def test_what_moved():
    before = [ROOT, A, B, D]
    after = [ROOT, A._replace(ctime_ns=9), D, entry("c"), entry("s", "socket")]
    assert delta.moved(before, after) == (["b"], ["a"], ["c"])
    assert delta.moved(before, before) == ([], [], [])


# -- proof -------------------------------------------------------------------------

TREE = [ROOT, A, D, entry("d/l", LINK, target="../a"), entry("d/p", inode=7, links=2), entry("d/q", inode=7, links=2)]
DIGESTS = {"a": "aa", "d/p": "bb", "d/q": "bb"}


def rows(tree, digests=None, owner=None):
    return proof.rows_of(tree, DIGESTS if digests is None else digests, owner)


def changed(path, **given):
    return [found._replace(**given) if found.path == path else found for found in TREE]


@pytest.mark.parametrize("tree, digests, path, difference", [
    ([found for found in TREE if found.path != "a"], None, "a", "missing"),
    (TREE + [entry("z")], None, "z", "extra"),
    (changed("a", kind=LINK, target="x"), None, "a", "kind"),
    (changed("a", size=11), None, "a", "content"),
    (TREE, {"a": "ab", "d/p": "bb", "d/q": "bb"}, "a", "content"),
    (TREE, {"d/p": "bb", "d/q": "bb"}, "a", "content"),
    (changed("d/l", target="../b"), None, "d/l", "link"),
    (changed("d/q", inode=8), None, "d/q", "link"),
    (changed("a", mode=0o4644), None, "a", "mode"),
    (changed(".", mode=0o700), None, ".", "mode"),
    (changed("d/l", uid=5), None, "d/l", "owner"),
])
def test_differences_are_found_and_change_the_digest(tree, digests, path, difference):
    left, right = rows(TREE), rows(tree, digests)
    assert [(found["path"], found["difference"]) for found in proof.differences(left, right)] == [(path, difference)]
    assert proof.tree_digest(left) != proof.tree_digest(right)


def test_equal_trees_have_one_digest_whatever_their_inodes_and_the_order():
    other = [found._replace(inode=found.inode + 1, mtime_ns=0, uid=9, gid=9) for found in TREE]
    left, right = rows(TREE, owner=(9, 9)), rows(other)
    assert proof.differences(left, right) == [] and proof.tree_digest(left) == proof.tree_digest(right)
    assert proof.tree_digest(left) == proof.tree_digest(dict(reversed(list(left.items()))))
    assert proof.counts(left) == {"files": 3, "directories": 2, "symlinks": 1, "bytes": 20}


def test_a_name_cannot_stand_for_two():
    one = rows([ROOT, entry("a\nb")], {"a\nb": "x"})
    two = rows([ROOT, entry("a"), entry("b")], {"a": "x", "b": "x"})
    assert proof.tree_digest(one) != proof.tree_digest(two)


# -- survey ------------------------------------------------------------------------

@pytest.mark.parametrize("more, problems, words", [
    ([entry("l", LINK, target="/etc/passwd")], [], "lead out of the tree: l -> /etc/passwd; needed links that stay in it; remove them, or add them to exclude"),
    ([entry("m", MOUNT)], [], "other file systems mounted in the tree: m; needed one file system; migrate each as a tree of its own"),
    ([], [("x", "Input/output error")], "can't be read: x (Input/output error); needed a tree that can be read as a whole; mend the disk"),
    ([entry("d/.dockyard-tree/1")], [], "found d/.dockyard-tree/1; needed another name"),
])
def test_what_refuses_a_tree(more, problems, words):
    found = survey.refusals("/srv/tree", [ROOT] + more, problems, ["/srv/tree"])
    assert len(found) == 1 and found[0].startswith("/srv/tree: ") and words in found[0]


def test_nothing_refuses_a_good_tree():
    assert survey.refusals("/srv/tree", TREE, [], ["/srv/tree"]) == []


@pytest.mark.parametrize("needed, inodes, free, free_inodes, words", [
    (10, 1, 10, 1, None), (10, 1, 10, None, None),
    (2 * 10**9, 1, 10**9, 5, "/t: found 1.0 GB free; needed 2.0 GB; make room there"),
    (1, 6, 10, 5, "/t: found room for 5 more files; needed 6; make room there"),
])
def test_what_is_too_small(needed, inodes, free, free_inodes, words):
    found = survey.space_refusals("/t", needed, inodes, free, free_inodes)
    assert found == [] if words is None else len(found) == 1 and words in found[0]


def test_an_estimate_copies_once_and_reads_back_once():
    assert survey.estimate(10**9, 2000, 10**8, "x") == {"seconds": 21.0, "bytes_per_second": 10**8, "basis": "x"}


def test_a_summary_names_what_is_special():
    tree = TREE + [entry("s", "socket"), entry("h", size=10**6, data=4096), entry("abs", LINK, target="/srv/tree/a"), entry("o", links=3, inode=99),
                   entry("x", attributes=["user.a"])]
    found = survey.summary(tree, [("u", "no")], ["/srv/tree"])
    assert found["not_carried"] == [{"path": "s", "kind": "socket"}] and found["sparse"] == ["h"] and found["unreadable"] == [{"path": "u", "reason": "no"}]
    assert found["hard_links"] == {"groups": 2, "names": 3, "outside": ["o"]} and found["extended_attributes"] == ["x"]
    assert found["absolute_links"] == [{"path": "abs", "target": "/srv/tree/a"}] and found["escaping_links"] == []
    assert (found["files"], found["directories"], found["symlinks"], found["bytes"], found["data_bytes"]) == (6, 2, 2, 10**6 + 40, 4096 + 40)
    assert found["owners"] == {"0:0": 11}


# -- words -------------------------------------------------------------------------

@pytest.mark.parametrize("name, text", [("a b", "a b"), ("a\nb", "a\\nb"), ("caf\udce9", "caf\\xe9"), ("größe", "größe"), ("a\x1b[1m", "a\\x1b[1m"),
                                        ("a\\\n", "a\\\\\\n"), ("\ud800", "\\ud800")])
def test_names_in_messages_are_one_line_that_every_terminal_bears(name, text):
    assert errors.shown(name) == text and errors.shown(name).isprintable()


@pytest.mark.parametrize("count, text", [(5, "5 bytes"), (1500, "1.5 kB"), (2 * 10**6, "2.0 MB"), (10**9, "1.0 GB"), (3 * 10**12, "3.0 TB")])
def test_sizes_for_people(count, text):
    assert errors.size(count) == text


def test_a_long_list_is_cut():
    assert errors.listed(["a", "b", "c"], 2) == "a, b and 1 more" and errors.listed(["a"], 2) == "a"


# -- the doors' command lines --------------------------------------------------------

@pytest.mark.parametrize("text, usable", [("rsync  version 3.2.7  protocol version 31", True), ("rsync  version v3.4.0  protocol", True),
                                          ("rsync  version 3.0.9  protocol version 30", False), ("openrsync: protocol version 29", False), ("", False)])
def test_an_rsync_is_new_enough(text, usable):
    assert rsync.is_usable(text) is usable


def test_rsync_on_one_host():
    source = Local("/srv/a b")
    source.real = "/srv/a b"
    words = rsync.argv(source, "/t", (1000, 1001))
    assert words[-2:] == ["/srv/a b/", "/t/"] and "--chown=1000:1001" in words and "--rsh" not in words
    assert "--files-from=-" in words and "--from0" in words and "-r" not in words and not any("a" in word for word in words[1:2])


def test_rsync_from_another_host_as_root():
    source = Remote("/srv/a", "/st/ssh config", True, "python3")
    source.real = "/srv/a"
    words = rsync.argv(source, "/t")
    assert words[-2:] == ["source:/srv/a/", "/t/"] and not any(word.startswith("--chown") for word in words)
    assert words[words.index("--rsync-path") + 1] == "sudo -n rsync"
    assert words[words.index("--rsh") + 1].startswith("ssh -F '/st/ssh config' -o BatchMode=yes")


def test_a_command_for_another_host_is_quoted_once_for_its_shell():
    assert Remote("/a", "/c", True, "python3").command(["python3", "-c", "x y"])[-2:] == ["source", "sudo -n python3 -c 'x y'"]
    assert Remote("/a", "/c", False, "python3").command(["rsync", "--version"])[-1] == "rsync --version"


@pytest.mark.parametrize("line, done", [(b"    1,048,576  10%  9.00MB/s    0:00:10", 1048576), (b"   0   0%    0.00kB/s", 0), (b"sending", None), (b"", None)])
def test_what_rsync_tells_of_its_progress(line, done):
    assert rsync.bytes_done(line) == done


@pytest.mark.parametrize("code, error, words", [
    (255, "Connection refused", "ssh can't reach it: Connection refused"),
    (1, "sudo: a password is required", "sudo there refuses: sudo: a password is required"),
    (1, "sudo: python9: command not found", "the program is not there: sudo: python9: command not found"),
    (127, "python3: not found", "the program is not there: python3: not found"),
    (1, "Traceback", "it ended with 1: Traceback"),
    (-9, "", "it ended with -9: no words"),
])
def test_why_the_other_host_does_not_answer(code, error, words):
    assert reason_of(code, error) == words
