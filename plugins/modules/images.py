#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: images
short_description: The images of a host's stacks are there, pulled or built
version_added: 0.1.0
author:
  - dockyard.fleet contributors (@dockyard)
description:
  - Brings images to a host by pull (from a registry, by tag or digest) or by build on the host from a recipe folder and an application's source.
  - A build happens only when its content changed. Content is the context as C(.dockerignore) leaves it, the recipe, the build arguments, the target,
    the platform and the identity of each base image. File times, owners, umask and order do not count.
  - A built image is tagged with the first 16 digits of its content hash and gets its tag only when the build ended well and the size is within the budget.
  - The module has a half that runs on the controller. It reads sources and facts there, and calls the host only for what is missing.
    With facts that show everything in place nothing is sent to the host at all.
  - Files named C(.git) and empty directories are never part of a context.
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: full
    description: Says what would be pulled or built and why. A new build's tag depends on base images, so it is a preview while those are not on the host.
  diff_mode:
    support: full
  platform:
    platforms: posix
options:
  state:
    description:
      - V(present) is for playbooks.
      - V(inspect) returns the host's images.
      - V(pull), V(build), V(push), V(save), V(load), V(scan) and V(clean) are the steps that the controller half asks for with O(request).
    type: str
    choices: [present, inspect, pull, build, push, save, load, scan, clean]
    default: present
  images:
    description: The wanted images.
    type: list
    elements: dict
    default: []
    suboptions:
      stack:
        description: The stack that the image belongs to.
        type: str
        required: true
      name:
        description: The image's key in that stack.
        type: str
        required: true
      reference:
        description: For builds, the repository without a tag. Default is C(dockyard/<stack>-<name>).
        type: str
      how:
        description: How the image comes to the host.
        type: str
        choices: [build, pull]
        required: true
      pull:
        description: What to pull.
        type: dict
        suboptions:
          image:
            description: Image by tag or digest.
            type: str
            required: true
          policy:
            description: Whether an image that is there is asked for again. Default is O(pull_policy).
            type: str
            choices: [missing, always]
      build:
        description: What to build.
        type: dict
        suboptions:
          recipe:
            description: Folder on the controller with the Dockerfile, an optional C(.dockerignore), and files that the build finds under C(.dockyard/).
            type: str
            required: true
          dockerfile:
            description: Path of the Dockerfile in the recipe folder.
            type: str
            default: Dockerfile
          source:
            description: The application's source, the root of the build context. Without it the context is the recipe alone.
            type: dict
            suboptions:
              path:
                description: A directory on the controller.
                type: str
              git:
                description: A Git URL, or a list of them (mirrors, tried in order).
                type: raw
              ref:
                description: Commit (also shortened), tag or branch. A commit that was fetched before needs no network.
                type: str
              subdirectory:
                description: Folder in the source that is the context.
                type: str
                default: ""
          args:
            description: Build arguments. A URL with a password is refused.
            type: dict
            default: {}
          target:
            description: Stage to build. Default is the last.
            type: str
          secrets:
            description:
              - Build secrets, each C({id, path}) with a path on the controller, or an id alone.
              - The id C(ca) alone is O(ca_certificate). A secret's value does not count for the content hash.
            type: list
            elements: raw
            default: []
      platform:
        description: Platform such as V(linux/arm64). Default is the host's own.
        type: str
      budget_bytes:
        description: The largest size allowed, as C(docker image inspect) tells it.
        type: int
      labels:
        description: Further labels of a build. They count for the content hash.
        type: dict
        default: {}
  facts:
    description: The C(dockyard_facts) of the host. Without them the host is asked.
    type: dict
  pull_policy:
    description: With V(always) images to pull and base images are asked for on each run.
    type: str
    choices: [missing, always]
    default: missing
  build_args:
    description: Build arguments for every Dockerfile that declares them. Empty ones are left out.
    type: dict
    default: {}
  ca_certificate:
    description: PEM bundle on the controller, for builds that ask for the secret C(ca). When empty they get none.
    type: str
    default: ""
  build_timeout_seconds:
    description: The longest time that one build may take.
    type: int
    default: 3600
  keep:
    description: Older builds of each image that stay for a rollback. Others go after a new build, if no container uses them.
    type: int
    default: 3
  builders:
    description:
      - Which host of the inventory builds for which platform, with platforms such as V(linux/arm64) as keys.
      - What another host has to build is returned as RV(elsewhere); the role C(images) asks that host and hands over O(delivered).
    type: dict
    default: {}
  registry:
    description:
      - A registry with a path, such as C(registry.example/dockyard). Each platform's image is built once and pushed there,
        one manifest list under one tag, and the hosts pull it.
    type: str
    default: ""
  deliver:
    description: Set by the role for a task on a builder. What becomes of the images that were built; they must name their platform.
    type: str
    choices: ["", registry, archive]
    default: ""
  delivered:
    description: Set by the role. The RV(delivered) of the builders.
    type: list
    elements: dict
    default: []
  scanner:
    description:
      - The gate for vulnerabilities. After all images are there they are scanned on the host; the task fails when there is a finding of
        C(severity) or above that no exception covers. Empty means no gate.
      - Keys are C(tool) (C(trivy) or C(grype)), one of C(image) (of the scanner) and C(binary) (on the host), C(database) (folder on the host),
        C(severity) (default C(high)), C(fixed_only) (default C(false); findings without a fixed version don't count) and
        C(exceptions), each C({id, package, reason, expires}) where C(package) may be left out. Another key is refused.
      - What was found is kept on the host for each image and database, so that nothing is scanned twice.
    type: dict
    default: {}
  source_cache:
    description: Folder on the controller for clones and digests. Default is C(${XDG_CACHE_HOME:-~/.cache}/dockyard-fleet/sources).
    type: str
    default: ""
  request:
    description: What the controller half asks of the host. Not for playbooks.
    type: dict
    default: {}
  progress:
    description: Name under which the host half reports how far it is. Not for playbooks.
    type: str
    default: ""
seealso:
  - module: community.docker.docker_image_build
    description: A build without content hash or controller-side source.
"""

EXAMPLES = r"""
- name: Bring the images of a stack
  dockyard.fleet.images:
    facts: "{{ dockyard_facts }}"
    images:
      - stack: inventory
        name: db
        how: pull
        pull: {image: "pgvector/pgvector:0.8.0-pg17"}
        budget_bytes: 700000000
      - stack: inventory
        name: app
        how: build
        build:
          recipe: /srv/stacks/inventory/app
          source: {git: "https://github.com/example/inventory.git", ref: d2378ac}
          secrets: [ca]
        budget_bytes: 500000000
  register: images_result

- name: Bring the images, and refuse findings of severity high or above
  dockyard.fleet.images:
    images: "{{ plan.images }}"
    scanner:
      tool: trivy
      image: aquasec/trivy:0.58.1
      database: /var/lib/trivy
      severity: high
      exceptions:
        - id: CVE-2026-1234
          package: libexpat1
          reason: no XML comes from outside
          expires: 2027-01-31

- name: Say where the application's image is
  ansible.builtin.debug:
    msg: "{{ images_result.images.inventory.app.reference }}"
"""

RETURN = r"""
images:
  description: One entry for each wanted image, by stack and name. With O(state=inspect) a list of the host's images instead.
  returned: success
  type: raw
  sample:
    inventory:
      app:
        reference: dockyard/inventory-app:3f1c0d5ab77e9c21
        id: sha256:5b1f...
        digest: null
        size_bytes: 231412736
        changed: false
        reason: unchanged
predicted:
  description: In check mode, references C(<stack>/<name>) whose tag may be another one once the base images are on the host.
  returned: check mode
  type: list
  elements: str
remote_calls:
  description: How often the host was asked, transfers included.
  returned: success
  type: int
removed:
  description: Older builds that were removed.
  returned: success
  type: list
  elements: str
elsewhere:
  description: What other hosts have to build first, each C({builder, platform, how, images}).
  returned: when O(builders) or O(registry) is set
  type: list
  elements: dict
delivered:
  description: What a builder has made, each C({stack, name, reference, id, how, archive, builder}).
  returned: when O(deliver) is set
  type: list
  elements: dict
digest:
  description: The manifest list's digest.
  returned: O(state=push)
  type: str
platforms:
  description: The platforms of the manifest list.
  returned: O(state=push)
  type: list
  elements: str
size_bytes:
  description: The archive's size.
  returned: O(state=save)
  type: int
problems:
  description: Each problem as C({where, found, needed, setting}).
  returned: failure
  type: list
  elements: dict
platform:
  description: The engine's platform.
  returned: O(state=inspect)
  type: str
data_root:
  description: Where the engine keeps its data.
  returned: O(state=inspect)
  type: str
pulled:
  description: What was fetched.
  returned: O(state=pull)
  type: list
  elements: str
workspace:
  description: The directory for transfers and the bytes that fit in it.
  returned: O(state=pull)
  type: dict
image:
  description: The built image.
  returned: O(state=build) or O(state=load)
  type: dict
scan:
  description:
    - What the gate found. C(scanned) was scanned now, C(waiting) is not scanned (in check mode), C(accepted) are the findings
      that an exception covers, C(counts) has the findings of each image by severity.
  returned: when O(scanner) is set
  type: dict
  sample:
    tool: trivy
    database: "2026-11-20T06:12:51Z"
    scanned: [inventory/app]
    waiting: []
    accepted: []
    counts: {inventory/app: {high: 0, low: 12}}
database:
  description: When the scanner's database was made.
  returned: O(state=scan)
  type: str
scans:
  description: The findings of the wanted severity or above, each C({where, date, findings, counts, notes}).
  returned: O(state=scan)
  type: list
  elements: dict
scanned:
  description: What was scanned now.
  returned: O(state=scan)
  type: list
  elements: str
waiting:
  description: What was not scanned, in check mode.
  returned: O(state=scan)
  type: list
  elements: str
built:
  description: Whether it was built now.
  returned: O(state=build)
  type: bool
pruned:
  description: Older builds that were removed.
  returned: O(state=build)
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dockyard.fleet.plugins.module_utils.images.arguments import ARGUMENTS
from ansible_collections.dockyard.fleet.plugins.module_utils.images.cli import Docker
from ansible_collections.dockyard.fleet.plugins.module_utils.images.errors import ImagesError, SeveralErrors
from ansible_collections.dockyard.fleet.plugins.module_utils.images.host import Host, Workspace
from ansible_collections.dockyard.fleet.plugins.module_utils.images.scan import Scanner
from ansible_collections.dockyard.fleet.plugins.module_utils.progress import open_reporter


class Step:
    """One step that the controller half asked for."""

    def __init__(self, request: dict, host: Host, check_mode: bool, scanner=Scanner) -> None:
        self._request, self._host, self._check_mode, self._scanner = request, host, check_mode, scanner

    def run(self, state: str) -> dict:
        """The step's result. Check mode only looks."""
        if state == "scan":
            # In check mode it looks at what is known.
            return dict(changed=False, **self._scanner(self._host.docker, dict(self._request, look_only=self._check_mode), self._host.reporter).scan())
        if state == "inspect" or self._check_mode:
            return dict(changed=False, **self._host.inspect())
        return getattr(self, state)()

    def pull(self) -> dict:
        """Fetch, and make a workspace when builds follow."""
        result = self._host.pull(self._request)
        result["changed"] = bool(result["pulled"])
        if self._request.get("workspace"):
            result["workspace"] = Workspace(self._request).create()
        return result

    def build(self) -> dict:
        """Build one image; the workspace goes with the last one."""
        workspace = Workspace(self._request)
        try:
            result = self._host.build(self._request, workspace.path)
        finally:
            if self._request.get("last"):
                workspace.remove()
        return dict(changed=result["built"], **result)

    def push(self) -> dict:
        """Push one image."""
        return dict(changed=True, **self._host.push(self._request))

    def save(self) -> dict:
        """Write one image's archive."""
        return dict(changed=False, **self._host.save(self._request, Workspace(self._request).path))

    def load(self) -> dict:
        """Take one image from its archive."""
        return dict(changed=True, **self._host.load(self._request, Workspace(self._request).path))

    def clean(self) -> dict:
        """Remove the workspace."""
        Workspace(self._request).remove()
        return {"changed": False}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    state = module.params["state"]
    if state == "present":
        module.fail_json(msg="dockyard.fleet.images needs its controller half: call it as a task of a playbook, by its full name")
    try:
        # Without a follower Docker is asked to be quiet, as it is cheaper.
        followed = module.params["progress"] and state in ("pull", "build", "push", "save", "scan")
        reporter = open_reporter(module.params["progress"], "images") if followed else None
        try:
            result = Step(module.params["request"], Host(Docker(), reporter), module.check_mode).run(state)
        finally:
            if reporter:
                reporter.close()
        module.exit_json(**result)
    except (ImagesError, SeveralErrors) as problem:
        problems = getattr(problem, "problems", [problem])
        module.fail_json(msg=str(problem), problems=[item.as_dict() for item in problems])


if __name__ == "__main__":
    main()
