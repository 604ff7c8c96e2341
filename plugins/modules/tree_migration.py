#!/usr/bin/python
# -*- coding: utf-8 -*-

# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tree_migration
short_description: A folder of a native installation is in a volume, proven equal
version_added: 0.1.0
author:
  - dockyard.fleet contributors (@dockyard)
description:
  - Looks at a tree of files, copies it to where containers have it, and proves that both are equal. Runs on the target host; the source is on the same host or
    is reached through ssh. The source is read only, at any time.
  - Copies while the source is in use, and once more, what changed, when it stands still (O(final)). A killed run is gone on with by the next.
  - Carries over files, folders and symbolic links with names of any bytes, modes, times, hard links and holes. Sockets, fifos, devices, access lists and
    extended attributes are named by a survey and not carried over.
  - Never follows a link, and never leaves the tree. Links that lead out of it, other file systems in it and what can't be read are refused before
    anything is copied, unless they are in O(exclude).
  - A destination that holds what this migration has not put there is refused. So is one that is too small.
  - The proof compares types, modes, owners, sizes, contents, link targets and hard links. The copy is always read in full. Of the source's files
    those are not read again that have the size, inode, time and time of change that they had when they were copied, unless O(verify=always).
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    description: Says what would be copied and deleted. A survey and a proof are the same, but the proof remembers nothing.
    support: full
  diff_mode:
    description: Names what is copied and deleted, at most 200 entries.
    support: full
  platform:
    platforms: posix
options:
  name:
    description: Name of the tree in the migration.
    type: str
    required: true
  state:
    description:
      - V(surveyed) tells what is there, how big it is, what stands in the way and how long it will take. It changes nothing.
      - V(copied) copies what differs.
      - V(proved) compares both trees and fails when they differ.
    type: str
    choices: [surveyed, copied, proved]
    default: surveyed
  source:
    description: Absolute path of the tree. When it is a symbolic link itself, the folder that it leads to is the tree.
    type: str
    required: true
  destination:
    description: Absolute path of the copy. Either this or O(volume).
    type: path
  volume:
    description: Docker's name of the volume that gets the copy.
    type: str
  path:
    description: Folder in O(volume).
    type: str
    default: "."
  owner:
    description: User and group of everything in the copy, as numbers, C(uid:gid). Without it the numbers stay.
    type: str
    default: ""
  optional:
    description: The source may be absent. It may not vanish after it was copied once.
    type: bool
    default: false
  source_ssh_config:
    description: File of ssh's configuration on the target host in which the source host is C(source). Without it the source is on the same host.
    type: path
    default: ""
  source_become:
    description: Commands on the source host run as root by C(sudo -n).
    type: bool
    default: false
  source_python:
    description: Python 3.7 or newer on the source host.
    type: str
    default: python3
  exclude:
    description: What is left out, with shell patterns. One with a slash is for the path below the source, one without for a name anywhere.
    type: list
    elements: str
    default: []
  delete:
    description: Remove from the copy what is gone in the source.
    type: bool
    default: false
  final:
    description: The source stands still. What changes or vanishes meanwhile is an error; else it is told in RV(changed_while_copied).
    type: bool
    default: false
  method:
    description:
      - V(rsync) brings contents by rsync, which has to be on both sides in version 3.1 or newer.
      - V(own) copies several files at once and takes their digests on the way; from another host they come as one stream that the same Python writes there.
      - V(auto) is V(own) on one host, where it was measured to be faster, and rsync from another one, if it is on both.
    type: str
    choices: [auto, rsync, own]
    default: auto
  verify:
    description: With V(always) a proof reads all files of the source too.
    type: str
    choices: [changed, always]
    default: changed
  state_dir:
    description: Folder of the migration's state on the target host.
    type: path
    required: true
  lease:
    description:
      - RV(dockyard.fleet.native_units#module:lease), renewed while this runs. When it has ended, the source may have been written to, and the module fails.
    type: path
  lease_seconds:
    description: For how long it is renewed each time.
    type: int
    default: 120
  lock_timeout_seconds:
    description: How long another run on the same tree is waited for.
    type: int
    default: 60
  docker_socket:
    description: Path of the Docker socket.
    type: path
    default: /var/run/docker.sock
  progress:
    description: Token under which the controller follows the progress. Not for playbooks.
    type: str
    default: ""
    aliases: [progress_token]
requirements:
  - Python 3.7 on the source host
  - rsync 3.1 on both hosts, for O(method=rsync)
seealso:
  - module: dockyard.fleet.release
"""

EXAMPLES = r"""
- name: Look at the images of a native installation
  dockyard.fleet.tree_migration:
    name: images
    source: /var/lib/inventory/images
    volume: inventory_images
    path: images
    owner: "1000:1000"
    state_dir: /var/lib/dockyard/migrations/inventory
  become: true

- name: Copy them while the application serves
  dockyard.fleet.tree_migration:
    name: images
    state: copied
    source: /var/lib/inventory/images
    volume: inventory_images
    path: images
    owner: "1000:1000"
    state_dir: /var/lib/dockyard/migrations/inventory
  become: true

- name: Copy from another host what changed, after the application was stopped
  dockyard.fleet.tree_migration:
    name: images
    state: copied
    final: true
    delete: true
    source: /var/lib/inventory/images
    source_ssh_config: /var/lib/dockyard/migrations/inventory/ssh_config
    source_become: true
    volume: inventory_images
    path: images
    owner: "1000:1000"
    state_dir: /var/lib/dockyard/migrations/inventory
  become: true

- name: Prove that both are equal
  dockyard.fleet.tree_migration:
    name: images
    state: proved
    source: /var/lib/inventory/images
    volume: inventory_images
    path: images
    owner: "1000:1000"
    state_dir: /var/lib/dockyard/migrations/inventory
  become: true
"""

RETURN = r"""
present:
  description: Whether there is a source. False only with O(optional), and then hardly anything else is returned.
  type: bool
  returned: success
root:
  description: The source's folder, symbolic links resolved.
  type: str
  returned: O(state=surveyed) or O(state=copied)
files:
  description: Number of files. With O(state=surveyed) there are RV(directories) and RV(symlinks), too.
  type: int
  returned: O(state=surveyed) or O(state=copied)
directories:
  description: Number of folders, the root among them.
  type: int
  returned: O(state=surveyed)
symlinks:
  description: Number of symbolic links.
  type: int
  returned: O(state=surveyed)
bytes:
  description: Size of all files, those with several names counted once.
  type: int
  returned: O(state=surveyed)
data_bytes:
  description: The same without holes.
  type: int
  returned: O(state=surveyed)
hard_links:
  description: Files with several names, how many names, and those that have more names outside of the tree.
  type: dict
  returned: O(state=surveyed)
  sample: {groups: 2, names: 5, outside: []}
sparse:
  description: Files with holes, at most 20, as all lists here.
  type: list
  elements: str
  returned: O(state=surveyed)
absolute_links:
  description: Links with an absolute path to something in the tree. They are copied as they are, so in a container they may lead nowhere.
  type: list
  elements: dict
  returned: O(state=surveyed)
escaping_links:
  description: Links that lead out of the tree.
  type: list
  elements: dict
  returned: O(state=surveyed)
not_carried:
  description: Sockets, fifos and devices.
  type: list
  elements: dict
  returned: O(state=surveyed) or O(state=copied)
  sample: [{path: run/app.sock, kind: socket}]
extended_attributes:
  description: Files with access lists or extended attributes, which are not carried over.
  type: list
  elements: str
  returned: O(state=surveyed)
unreadable:
  description: What can't be read, and why.
  type: list
  elements: dict
  returned: O(state=surveyed)
other_file_systems:
  description: Folders in the tree on which others are mounted.
  type: list
  elements: str
  returned: O(state=surveyed)
owners:
  description: Number of entries by user and group.
  type: dict
  returned: O(state=surveyed)
  sample: {"998:998": 5012}
destination:
  description: Path of the copy. With O(state=surveyed) a dict of its path, whether it exists, its entries, and whether they are this migration's own.
  type: raw
  returned: O(state=surveyed) or O(state=copied)
needed_bytes:
  description: What the copy needs on the disk, beside what is there already.
  type: int
  returned: O(state=surveyed)
free_bytes:
  description: What is free there.
  type: int
  returned: O(state=surveyed)
needed_inodes:
  description: How many new files, folders and links.
  type: int
  returned: O(state=surveyed)
free_inodes:
  description: For how many there is room; null when the file system does not count them.
  type: int
  returned: O(state=surveyed)
estimate:
  description: Seconds for copy and proof, the rate, and where it comes from.
  type: dict
  returned: O(state=surveyed)
  sample: {seconds: 84.2, bytes_per_second: 41000000, basis: measured in the last pass}
problems:
  description: Why V(copied) would refuse, as sentences.
  type: list
  elements: str
  returned: O(state=surveyed), or a refusal
method:
  description: How contents came, V(own) or V(rsync).
  type: str
  returned: O(state=copied)
final:
  description: As O(final).
  type: bool
  returned: O(state=copied)
copied_files:
  description: Files whose contents were (check mode - would be) copied.
  type: int
  returned: O(state=copied)
copied_bytes:
  description: Their bytes, without holes.
  type: int
  returned: O(state=copied)
deleted:
  description: Names that were (would be) removed from the copy.
  type: list
  elements: str
  returned: O(state=copied)
deleted_entries:
  description: How many.
  type: int
  returned: O(state=copied)
kept_entries:
  description: Entries of the copy that the source does not have, and that stay without O(delete).
  type: int
  returned: O(state=copied)
changed_while_copied:
  description: What appeared, changed or vanished in the source meanwhile. The next pass brings it.
  type: list
  elements: str
  returned: O(state=copied)
equal:
  description: Whether both trees are equal.
  type: bool
  returned: O(state=proved)
source:
  description: Digest, counts and bytes of the source.
  type: dict
  returned: O(state=proved)
  sample: {digest: "sha256:5f0c...", files: 5000, directories: 1, symlinks: 0, bytes: 1048576000, root: /var/lib/inventory/images}
target:
  description: The same of the copy.
  type: dict
  returned: O(state=proved)
hashed_bytes:
  description: How many bytes of each side the proof has read.
  type: dict
  returned: O(state=proved)
  sample: {source: 0, target: 1048576000}
differences:
  description: The first 20 entries that differ, and how - C(missing), C(extra), C(kind), C(content), C(link), C(mode) or C(owner).
  type: list
  elements: dict
  returned: O(state=proved)
  sample: [{path: a.png, difference: content, source: "812 bytes, 5f0c2a91d7b3", target: "812 bytes, 0b8e81b65dbd"}]
difference_count:
  description: How many there are.
  type: int
  returned: O(state=proved)
seconds:
  description: How long it took.
  type: float
  returned: success
"""

import os
import re

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.dockyard.fleet.plugins.module_utils import progress
from ansible_collections.dockyard.fleet.plugins.module_utils.docker.api import DockerApi, DockerApiError, DockerError
from ansible_collections.dockyard.fleet.plugins.module_utils.migration.lease import Renewer
from ansible_collections.dockyard.fleet.plugins.module_utils.trees import migrate
from ansible_collections.dockyard.fleet.plugins.module_utils.trees.errors import TreeError
from ansible_collections.dockyard.fleet.plugins.module_utils.trees.source import Local, Remote
from ansible_collections.dockyard.fleet.plugins.module_utils.trees.state import State

DOCKER_ROOT = "/var/lib/docker"
ARGUMENTS = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["surveyed", "copied", "proved"], "default": "surveyed"},
    "source": {"type": "str", "required": True},
    "destination": {"type": "path"},
    "volume": {"type": "str"},
    "path": {"type": "str", "default": "."},
    "owner": {"type": "str", "default": ""},
    "optional": {"type": "bool", "default": False},
    "source_ssh_config": {"type": "path", "default": ""},
    "source_become": {"type": "bool", "default": False},
    "source_python": {"type": "str", "default": "python3"},
    "exclude": {"type": "list", "elements": "str", "default": []},
    "delete": {"type": "bool", "default": False},
    "final": {"type": "bool", "default": False},
    "method": {"type": "str", "choices": ["auto", "rsync", "own"], "default": "auto"},
    "verify": {"type": "str", "choices": ["changed", "always"], "default": "changed"},
    "state_dir": {"type": "path", "required": True},
    "lease": {"type": "path"},
    "lease_seconds": {"type": "int", "default": 120},
    "lock_timeout_seconds": {"type": "int", "default": 60},
    "docker_socket": {"type": "path", "default": "/var/run/docker.sock"},
    "progress": {"type": "str", "default": "", "no_log": False, "aliases": ["progress_token"]},
}
LABELS = {"surveyed": "looking", "copied": "copying", "proved": "proving"}


def owner_of(text):
    """(uid, gid) of "uid:gid", or None for "". :raises TreeError: it is neither."""
    if not text:
        return None
    found = re.match(r"^([0-9]{1,10}):([0-9]{1,10})\Z", text)
    if not found or max(map(int, found.groups())) >= 2**32 - 1:
        raise TreeError("owner: found %r; needed two numbers, uid:gid; %s; correct it" % (text, migrate.UNCHANGED))
    return int(found.group(1)), int(found.group(2))


def check_absolute(option, path):
    """:raises TreeError: a path is not absolute, or goes up, or is the root of everything."""
    if not path.startswith("/") or ".." in path.split("/") or not path.strip("/") or "\0" in path:
        raise TreeError("%s: found %r; needed an absolute path of a folder, without '..'; %s; correct it" % (option, path, migrate.UNCHANGED))


def below_of(path):
    """Names of a relative path (list). :raises TreeError: it leads out of the volume."""
    if path.startswith("/") or ".." in path.split("/") or "\0" in path:
        raise TreeError("path: found %r; needed a folder in the volume, relative and without '..'; %s; correct it" % (path, migrate.UNCHANGED))
    return [part for part in path.split("/") if part not in ("", ".")]


def place_of_volume(api, volume, below, may_lack):
    """Place in a volume, or None when it may lack and does. :raises TreeError: there is no such volume, or it is none of this disk."""
    try:
        found = api.inspect("volumes", volume)
    except DockerApiError as error:
        if error.status != 404:
            raise
        if may_lack:
            return None
        raise TreeError("volume: found no volume %s; needed it to exist; %s; let Docker Compose create it first" % (volume, migrate.UNCHANGED)) from error
    mountpoint = found["Mountpoint"]
    options = found.get("Options") or {}
    if found.get("Driver") != "local" or ((options.get("type") or options.get("device")) and not os.path.ismount(mountpoint)):
        raise TreeError("volume: found that %s is mounted from elsewhere (driver %s) and not now; needed a volume on this host's disk; %s; "
                        "start a container that mounts it, or give destination in place of volume" % (volume, found.get("Driver"), migrate.UNCHANGED))
    return migrate.Place(mountpoint, below)


def where(params, api):
    """(Place or None, free space of what is not known yet or None)."""
    if params["destination"]:
        check_absolute("destination", params["destination"])
        return migrate.Place(os.path.normpath(params["destination"])), None
    below = below_of(params["path"])
    if params["state"] == "surveyed" and not os.path.exists(params["docker_socket"]):
        # A host that Docker comes to with the migration; it keeps its volumes there unless it is told otherwise.
        return None, migrate.space_of(DOCKER_ROOT)
    try:
        place = place_of_volume(api, params["volume"], below, params["state"] == "surveyed")
        return place, None if place else migrate.space_of(api.get("/info")["DockerRootDir"])
    except DockerError as error:
        raise TreeError("volume: Docker does not tell where %s is: %s; needed its answer; %s; look at `systemctl status docker`"
                        % (params["volume"], error, migrate.UNCHANGED)) from error


def run(params, check_mode):
    """The result (dict) of the module. :raises TreeError: it can't be done."""
    check_absolute("source", params["source"])
    source_path = os.path.normpath(params["source"])
    state = State(params["state_dir"], params["name"])
    owner = owner_of(params["owner"])
    if params["source_ssh_config"] and not os.path.isfile(params["source_ssh_config"]):
        raise TreeError("source_ssh_config: found no file %s; needed a configuration of ssh in which the source host is `source`; %s; correct it"
                        % (params["source_ssh_config"], migrate.UNCHANGED))
    place, free = where(params, DockerApi(params["docker_socket"], timeout=30))
    if params["source_ssh_config"]:
        source = Remote(source_path, params["source_ssh_config"], params["source_become"], params["source_python"])
    else:
        source = Local(source_path)
    with progress.open_reporter(params["progress"], LABELS[params["state"]]) as reporter:
        migration = migrate.Migration(source, place, state, dict(params, owner=owner), reporter)
        if params["state"] == "surveyed":
            return migration.survey(free)
        step = migration.copy if params["state"] == "copied" else migration.prove
        if check_mode:
            return step(True)
        state.make_folder()
        holder = "tree_migration %s %s, pid %d" % (params["state"], params["name"], os.getpid())
        with migrate.locked(state, holder, params["lock_timeout_seconds"]):
            return step(False)


def main():
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True, mutually_exclusive=[("destination", "volume")],
                           required_one_of=[("destination", "volume")])
    params = module.params
    ended = "%s: found the freeze ended; needed it to hold, for the native application may have written since; run again" % params["name"]
    try:
        with Renewer(params["lease"], params["lease_seconds"]) as lease:
            if not lease.held:
                module.fail_json(msg=ended)
            result = run(params, module.check_mode)
        if not lease.held:
            module.fail_json(msg=ended, changed=result["changed"])
    except TreeError as error:
        module.fail_json(msg=str(error), **dict({"changed": False}, **error.result))
    except OSError as error:
        module.fail_json(msg="%s: found %s; needed to work there as root; check the permissions and the disk, then run again"
                         % (os.fsdecode(error.filename) if error.filename else module.params["name"], error.strerror or error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
