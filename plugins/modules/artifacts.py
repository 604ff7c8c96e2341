#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: artifacts
short_description: A set of files is present, each with its exact digest
version_added: 0.1.0
author:
  - dockyard.fleet contributors (@dockyard)
description:
  - Brings files such as models to a host, several at once, and verifies each while it is downloaded, in one pass over its bytes.
  - What was fetched is kept in a store by its digest. Sets of files and single files elsewhere are placed from there by reflink, hard link or copy.
  - A file that does not match its digest never appears under its name. What was found there before stays until the new one is verified.
  - A download that was broken off, also by a killed run, goes on where it was.
  - When size, mtime, ctime and inode are those of the last verification, nothing is read again unless O(verify=always).
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: full
    description: Says what would be fetched and how many bytes, or what would be removed. Files whose content is not known are read, nothing is written.
  diff_mode:
    support: full
  platform:
    platforms: posix
options:
  state:
    description:
      - V(present) brings the files.
      - V(inspect) tells what the store holds. With O(verify=always) the wanted files are read.
      - V(collected) removes what is not in use, as O(keep) and O(references) say.
      - V(served) serves the store to other hosts for some time, as a mirror. V(stopped) ends that.
      - V(planned) reads manifests, signatures and the controller's files, asks nothing of the host, and returns RV(problems) without failing.
      - V(recorded) finds digests and sizes of files in manifests that have none, on the controller, and writes them with O(write=true).
    type: str
    choices: [present, inspect, collected, served, stopped, planned, recorded]
    default: present
  files:
    description: The wanted files.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Relative path of the file in its set.
        type: str
        required: true
      digest:
        description: C(sha256:), C(sha512:) or C(blake2b:) (512 bits) and hex digits.
        type: str
      size:
        description: Its exact size in bytes. Other sizes are refused before they are downloaded.
        type: int
      size_estimate:
        description: About how many bytes it has, for free space and progress. Not enforced.
        type: int
      required:
        description: Without an optional file the module succeeds and names it in RV(missing_optional).
        type: bool
        default: true
      mode:
        description: Its mode, in octal digits. Files of a set are never writable, so write bits count for O(files[].destinations) only.
        type: str
      description:
        description: What it is for.
        type: str
      sources:
        description:
          - Where it can be had, in the order in which they are tried. What is on the host comes first, then O(mirrors), then the others.
          - C({url, headers}) is an http(s) URL. Headers go to that server only, not to one that it redirects to.
          - C({path}) is a file on the host. It is moved into the store, or copied with C(keep=true).
            With C(follow=true) and C(size) it may still grow while it is read.
          - C({archive, member}) is a plain file in an archive (tar, tar.gz, tar.bz2, tar.xz, zip). The archive is the name of another one of O(files).
          - C({push=true}) is one that the controller is going to send, see O(push_user).
        type: list
        elements: dict
        default: []
      destinations:
        description: Places outside of the store that get the file as well.
        type: list
        elements: dict
        default: []
        suboptions:
          path:
            description: Absolute path of the file.
            type: str
            required: true
          owner:
            description: User name or number. Default is who runs the module.
            type: str
          group:
            description: Group name or number. Default is that of who runs the module.
            type: str
          mode:
            description: Mode in octal digits.
            type: str
            default: "0644"
  set:
    description: Place all files as one set, below C(sets/<owner>/<name>/<id>/) in the store. Another content, name or mode gives another id, so another folder.
    type: dict
    suboptions:
      owner:
        description: Who uses the set, usually a stack.
        type: str
        required: true
      name:
        description: Its name.
        type: str
        required: true
  sets:
    description: Several sets at once, RV(dockyard.fleet.stack_plan#module:artifacts). The result then has RV(sets).
    type: list
    elements: dict
    suboptions:
      stack:
        description: Who uses the set.
        type: str
        aliases: [owner]
      name:
        description: Its name.
        type: str
        required: true
      manifest:
        description: As O(manifest).
        type: str
        required: true
      folder:
        description: As O(folder).
        type: str
      public_keys:
        description: As O(public_keys).
        type: list
        elements: str
      signature:
        description: As O(signature).
        type: str
      variable:
        description: Not used here, part of what a plan says.
        type: str
      degrade:
        description: Not used here, part of what a plan says.
        type: str
  manifest:
    description:
      - Path on the controller of a manifest, which takes the place of O(files).
      - Its sources may also be C(s3://bucket/key) and C({file}), a path on the controller.
      - A file that has no digest yet is refused when it is required, else left out.
    type: path
  folder:
    description: Folder on the controller in which C({file}) sources are looked for, before the manifest's own.
    type: path
  public_keys:
    description:
      - minisign public keys. With them a manifest needs a signature of one of them, and a version, which may only grow on each host.
      - A time in C(expires) of a manifest counts in any case.
    type: list
    elements: str
  signature:
    description: Path on the controller of the signature. Default is the manifest's path and C(.minisig).
    type: path
  s3:
    description: How the controller signs URLs for C(s3://) sources, by boto3, which has to be there then. Empty options leave the choice to boto3.
    type: dict
    suboptions:
      profile:
        description: Profile of the AWS configuration.
        type: str
      region:
        description: Region of the bucket.
        type: str
      endpoint_url:
        description: Another server that speaks S3.
        type: str
      access_key:
        description: Access key. It is used on the controller only, as all of these.
        type: str
      secret_key:
        description: Secret key.
        type: str
      session_token:
        description: Session token.
        type: str
      addressing_style:
        description: Where the bucket's name stands in a URL.
        type: str
        choices: [auto, path, virtual]
        default: auto
      expires_seconds:
        description: How long a URL can be used, at most seven days.
        type: int
        default: 21600
  headers:
    description: Headers for URLs, by host name and header, such as a token for gated downloads. They go to that host name only.
    type: dict
  facts:
    description: Facts of M(dockyard.fleet.host_facts). What they show as complete costs no call.
    type: dict
  controller_ca_certificate:
    description: PEM file on the controller with CA certificates for what the controller downloads itself.
    type: path
  write:
    description: With O(state=recorded), write the manifests.
    type: bool
    default: false
  manifest_version:
    description: Version of the manifest that the files come from. It may only grow; the host keeps the last one of each set.
    type: int
  manifest_digest:
    description: Digest of that manifest. Two manifests with one version are refused.
    type: str
    default: ""
  store:
    description: Folder of the store.
    type: path
    default: /var/lib/dockyard/artifacts
  verify:
    description: With V(changed) only files that changed since their last verification are read. With V(always) all of them are, and repaired.
    type: str
    choices: [changed, always]
    default: changed
  method:
    description:
      - How files are placed. V(auto) shares blocks where the file system can. Else it makes hard links for files of a set that keep the store's mode,
        and copies for others.
      - With V(hardlink) O(files[].destinations) are links of the store's file too. Whoever writes to one then changes the store.
    type: str
    choices: [auto, reflink, hardlink, copy]
    default: auto
  parallel:
    description: How many files are fetched at once.
    type: int
    default: 4
  retries:
    description: How often a source that broke off is asked again without getting further. Waits grow from one second to 30.
    type: int
    default: 4
  connect_timeout_seconds:
    description: The longest time for a connection to come about.
    type: int
    default: 10
  stall_timeout_seconds:
    description: The longest time without data, and the time over which less than one KiB a second counts as none.
    type: int
    default: 30
  lock_timeout_seconds:
    description: How long another run on this host is waited for.
    type: int
    default: 600
  ca_certificate:
    description: PEM file on the host with CA certificates that are trusted besides the host's own.
    type: path
    default: ""
  mirrors:
    description:
      - Base URLs of other stores, tried in order before O(files[].sources). Objects are at C(<base>/<algorithm>/<2 digits>/<hex>).
      - With V(controller) the controller downloads what a host lacks, once for all of them, and sends it.
    type: list
    elements: str
    default: []
  progress:
    description: Token under which the controller follows the progress. Not for playbooks.
    type: str
    default: ""
  keep:
    description: For O(state=collected), digests and sets (C(owner/name/id)) in use.
    type: list
    elements: str
    default: []
  references:
    description: For O(state=collected), files (globs) on the host. Sets and digests that one of them names are in use.
    type: list
    elements: str
    default: []
  push_user:
    description: For O(state=inspect), make files that this user may write for those that the controller is going to send. Not for playbooks.
    type: str
    default: ""
  token:
    description: For O(state=served) and O(state=stopped), the secret part of the path, 32 to 128 hex digits.
    type: str
  serve_address:
    description: Address of this host on which the store is served.
    type: str
    default: 0.0.0.0
  serve_port:
    description: Port on which it is served; V(0) takes a free one.
    type: int
    default: 0
  serve_seconds:
    description: The server ends by itself after this time.
    type: int
    default: 3600
notes:
  - O(state=collected) never removes a set that a running process has mounted, and no partial download younger than an hour.
seealso:
  - module: ansible.builtin.get_url
    description: One file from one URL.
"""

EXAMPLES = r"""
- name: Bring two models as one set
  dockyard.fleet.artifacts:
    set: {owner: oura, name: models}
    files:
      - name: sleepstaging_2_6_0.pt
        digest: sha256:08b0df59b7332ed2e78fadda65cb4923ffe521e14b3e8ec06ef62b215283df60
        size: 113732
        sources:
          - url: https://models.example.com/sleepstaging_2_6_0.pt
          - url: https://mirror.example.com/sleepstaging_2_6_0.pt
      - name: whr_3_1_2.pt
        digest: sha256:0b8e81b65dbde1ef09786fc46e74df7cfb324b29afdc9ef11b245d55973e267a
        required: false
        sources:
          - url: https://models.example.com/whr_3_1_2.pt
  register: models

- name: Place one program
  dockyard.fleet.artifacts:
    files:
      - name: tool
        digest: sha256:0b8e81b65dbde1ef09786fc46e74df7cfb324b29afdc9ef11b245d55973e267a
        sources: [{url: https://tools.example.com/tool}]
        destinations: [{path: /usr/local/bin/tool, owner: root, group: root, mode: "0755"}]

- name: Read everything again and repair what is broken
  dockyard.fleet.artifacts:
    set: {owner: oura, name: models}
    files: "{{ files }}"
    verify: always

- name: Remove what is not in use any more
  dockyard.fleet.artifacts:
    state: collected
    keep: ["oura/models/57f57b0658afd07f"]
    references: [/etc/dockyard/stacks/*/.env]
"""

RETURN = r"""
set:
  description: Id and folder of the set.
  returned: O(state=present) or O(state=inspect) with O(set)
  type: dict
  sample: {id: 57f57b0658afd07f, path: /var/lib/dockyard/artifacts/sets/oura/models/57f57b0658afd07f}
files:
  description:
    - By name, digest, size, state and where it came from (without credentials). States are C(present), C(fetched), C(repaired) and C(missing).
    - With O(state=inspect) C(present), C(unverified) (it would have to be read), C(wrong) or C(missing).
  returned: O(state=present) or O(state=inspect)
  type: dict
  sample: {whr_3_1_2.pt: {digest: "sha256:0b8e...", size: 4178934, state: fetched, source: "https://models.example.com/whr_3_1_2.pt"}}
missing_optional:
  description: Optional files that could not be had.
  returned: O(state=present)
  type: list
  elements: str
bytes_fetched:
  description: Bytes that came over the network.
  returned: O(state=present)
  type: int
bytes_hashed:
  description: Bytes that were read and hashed, downloads included.
  returned: O(state=present)
  type: int
bytes_reused:
  description: Bytes that were there already, parts of downloads included.
  returned: O(state=present)
  type: int
seconds:
  description: How long the work took.
  returned: O(state=present)
  type: float
would_fetch:
  description: What would be fetched, as C({name, bytes, source}).
  returned: O(state=present) in check mode, when something is to be done
  type: list
  elements: dict
bytes_to_fetch:
  description: The bytes of all of them that are known.
  returned: O(state=present) in check mode, when something is to be done
  type: int
store:
  description: What the store holds, as in the facts.
  returned: O(state=inspect)
  type: dict
manifest:
  description: Version and digest of the last manifest of the set.
  returned: O(state=inspect)
  type: dict
push:
  description: Where the controller may write what it sends, as C({path, size}) by digest.
  returned: O(state=inspect)
  type: dict
removed:
  description: Sets, digests and partial downloads that were removed.
  returned: O(state=collected)
  type: list
  elements: str
bytes_freed:
  description: Their bytes.
  returned: O(state=collected)
  type: int
in_use:
  description: Sets that stay because a running process has them mounted.
  returned: O(state=collected)
  type: list
  elements: str
serve:
  description: Address, port and end of the server. URLs are C(http://<address>:<port>/<token>).
  returned: O(state=served)
  type: dict
sets:
  description: By owner and name, each set with C(id), C(path), C(changed), C(missing_optional), C(unrecorded), C(files) and the counts.
  returned: with O(sets); with O(state=planned) each with C(id), C(path), C(complete) and C(unrecorded)
  type: dict
unrecorded:
  description: Optional files that were left out because the manifest has no digest of them.
  returned: with O(manifest)
  type: list
  elements: str
keep:
  description: The sets as O(keep) takes them.
  returned: O(state=planned)
  type: list
  elements: str
manifests:
  description: By path, what was C(recorded), what was C(missing), whether it was C(written), and whether to C(sign_again).
  returned: O(state=recorded)
  type: dict
summary:
  description: The same in sentences.
  returned: O(state=recorded)
  type: list
  elements: str
remote_calls:
  description: How often the host was asked.
  returned: always
  type: int
problems:
  description: Each problem as C({where, found, needed, setting}); with O(state=planned) as a sentence.
  returned: failure, or O(state=planned)
  type: list
  elements: raw
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dockyard.fleet.plugins.module_utils import progress
from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts import present, wanted
from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.errors import ArtifactsError, redact, refuse
from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts.store import Store

ARGUMENTS = dict(
    state=dict(type="str", choices=["present", "inspect", "collected", "served", "stopped", "planned", "recorded"], default="present"),
    files=dict(type="list", elements="dict", default=[], options=dict(
        name=dict(type="str", required=True),
        digest=dict(type="str"),
        size=dict(type="int"),
        size_estimate=dict(type="int"),
        required=dict(type="bool", default=True),
        mode=dict(type="str"),
        description=dict(type="str"),
        sources=dict(type="list", elements="dict", default=[]),
        destinations=dict(type="list", elements="dict", default=[], options=dict(
            path=dict(type="str", required=True),
            owner=dict(type="str"),
            group=dict(type="str"),
            mode=dict(type="str", default="0644"),
        )),
    )),
    set=dict(type="dict", options=dict(owner=dict(type="str", required=True), name=dict(type="str", required=True))),
    sets=dict(type="list", elements="dict", options=dict(
        stack=dict(type="str", aliases=["owner"]),
        name=dict(type="str", required=True),
        manifest=dict(type="str", required=True),
        folder=dict(type="str"),
        public_keys=dict(type="list", elements="str", no_log=False),
        signature=dict(type="str"),
        variable=dict(type="str"),
        degrade=dict(type="str"),
    )),
    manifest=dict(type="path"),
    folder=dict(type="path"),
    public_keys=dict(type="list", elements="str", no_log=False),
    signature=dict(type="path"),
    s3=dict(type="dict", options=dict(
        profile=dict(type="str"),
        region=dict(type="str"),
        endpoint_url=dict(type="str"),
        access_key=dict(type="str", no_log=True),
        secret_key=dict(type="str", no_log=True),
        session_token=dict(type="str", no_log=True),
        addressing_style=dict(type="str", choices=["auto", "path", "virtual"], default="auto"),
        expires_seconds=dict(type="int", default=21600),
    )),
    headers=dict(type="dict", no_log=True),
    facts=dict(type="dict"),
    controller_ca_certificate=dict(type="path"),
    write=dict(type="bool", default=False),
    manifest_version=dict(type="int"),
    manifest_digest=dict(type="str", default=""),
    store=dict(type="path", default="/var/lib/dockyard/artifacts"),
    verify=dict(type="str", choices=["changed", "always"], default="changed"),
    method=dict(type="str", choices=["auto", "reflink", "hardlink", "copy"], default="auto"),
    parallel=dict(type="int", default=4),
    retries=dict(type="int", default=4),
    connect_timeout_seconds=dict(type="int", default=10),
    stall_timeout_seconds=dict(type="int", default=30),
    lock_timeout_seconds=dict(type="int", default=600),
    ca_certificate=dict(type="path", default=""),
    mirrors=dict(type="list", elements="str", default=[], no_log=True),
    progress=dict(type="str", default="", no_log=False),
    keep=dict(type="list", elements="str", default=[]),
    references=dict(type="list", elements="str", default=[]),
    push_user=dict(type="str", default="", no_log=False),
    token=dict(type="str", no_log=True),
    serve_address=dict(type="str", default="0.0.0.0"),
    serve_port=dict(type="int", default=0),
    serve_seconds=dict(type="int", default=3600),
)


def shown(files):
    """The option ``files`` as it may be logged: URLs without user and query, headers without values."""
    result = []
    for item in files or []:
        sources = []
        for source in item.get("sources") or []:
            source = dict(source)
            if "url" in source:
                source["url"] = redact(str(source["url"]))
            if "headers" in source:
                source["headers"] = "not shown"
            sources.append(source)
        result.append(dict(item, sources=sources))
    return result


class Module(AnsibleModule):
    """``wanted`` has the options; ``params``, which go into the host's journal and into the result, show no secrets of sources."""

    wanted = None

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self._hide()  # with no_log nothing was logged

    def _log_invocation(self):
        self._hide()
        super()._log_invocation()

    def _hide(self):
        if self.wanted is None:
            self.wanted = dict(self.params)
            self.params["files"] = shown(self.params["files"])


def options_of(parameters):
    """The module's parameters, checked (dict). Raises ArtifactsError."""
    problems = []
    options = dict(parameters)
    for key, check in (("files", wanted.checked_files), ("mirrors", wanted.checked_mirrors), ("set", wanted.checked_set)):
        try:
            options[key] = check(parameters[key])
        except ArtifactsError as exc:
            problems += exc.problems
    for key, least in (("parallel", 1), ("retries", 0), ("connect_timeout_seconds", 1), ("stall_timeout_seconds", 1), ("lock_timeout_seconds", 0),
                       ("serve_seconds", 1)):
        if options[key] < least:
            problems += refuse(key, str(options[key]), "%d or more" % least, key).problems
    if not os.path.isabs(options["store"]):
        problems += refuse("store", options["store"], "an absolute path", "store").problems
    if problems:
        raise ArtifactsError(problems)
    return options


def run(options, check_mode, holder):
    """Result (dict) of one call. Raises ArtifactsError."""
    if options["state"] in ("planned", "recorded") or options["sets"] is not None or options["manifest"] is not None:
        raise refuse("state %s" % options["state"], "a call without its controller half", "the action plugin",
                     "the name: write dockyard.fleet.artifacts in full")
    store = Store(os.path.normpath(options["store"]))
    state = options["state"]

    def open_reporter():
        return progress.open_reporter(options["progress"], "fetching")

    if state == "present":
        return present.Present(store, options, open_reporter, holder, check_mode).run()
    # Imported where they are needed: a run with nothing to do is mostly the time that Python takes to start.
    if state in ("inspect", "collected"):
        from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts import collect
        if state == "inspect":
            return collect.inspect(store, options, open_reporter, holder, check_mode)
        return collect.collect(store, options, holder, check_mode)
    from ansible_collections.dockyard.fleet.plugins.module_utils.artifacts import serve
    return (serve.serve if state == "served" else serve.stop)(store, options, check_mode)


def main():
    module = Module(argument_spec=ARGUMENTS, supports_check_mode=True, required_if=[("state", "served", ["token"]), ("state", "stopped", ["token"])])
    try:
        options = options_of(module.wanted)
        holder = "dockyard.fleet.artifacts %s, %s" % (options["state"], "set %s/%s" % options["set"] if options["set"] else "user %d" % os.geteuid())
        module.exit_json(**run(options, module.check_mode, holder))
    except ArtifactsError as exc:
        module.fail_json(msg=str(exc), problems=exc.problems, **getattr(exc, "result", {}))
    except OSError as exc:
        found = refuse(exc.filename or module.params["store"], exc.strerror or str(exc), "a store that this user can write", "become, or the option store")
        module.fail_json(msg=str(found), problems=found.problems)


if __name__ == "__main__":
    main()
