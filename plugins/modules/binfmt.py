#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs of other architectures run, in containers and after a reboot too."""

from __future__ import annotations

DOCUMENTATION = r"""
module: binfmt
short_description: Programs of other architectures run, in containers and after a reboot too
version_added: 0.1.0
description:
  - Lets the kernel run programs of platforms that the hardware lacks by QEMU's user emulation. systemd-binfmt registers the handlers,
    now and at each boot, from C(/etc/binfmt.d/dockyard-<arch>.conf), with flag F, which is what makes them work in containers.
  - A platform counts as there when a program of it has run. The module makes a tiny static one and runs it in an empty chroot,
    where nothing but flag F lets it find the emulator.
  - Platforms of the hardware are never emulated. A handler of ours that is left over for one is removed.
  - Handlers of others are never changed and never hidden. One that has flag F, runs the program and comes back at boot is all that is needed.
    One that has flag F but no rule for the boot serves until then, and a rule of ours takes over at the boot.
    One without flag F is refused, since ours would have to hide it.
  - The flags are C(POF). P tells programs the name by which they were called, O lets those run that may be executed but not read.
    C is left out on purpose, as Debian does. It would run the emulator, which obeys its caller's environment, with the rights of setuid programs.
notes:
  - Emulators come from Debian's and Ubuntu's packages (C(qemu-user), before Debian 13 and Ubuntu 25.04 C(qemu-user-static)), without recommended packages
    and without the packages' own rules, which would register some 30 architectures. A package that was there before is left as it is.
  - The kernel keeps the emulator open. A newer one of an upgraded package is used from the next boot on.
  - Packages stay installed with O(state=absent).
  - What was seen running is remembered in C(/var/lib/dockyard/binfmt.json) for M(dockyard.fleet.host_facts). This does not count as a change.
author:
  - dockyard.fleet contributors (@dockyard)
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  platform:
    support: full
    platforms: linux
options:
  platforms:
    description:
      - Platforms as Docker names them. Known are V(linux/amd64), V(linux/386), V(linux/arm64), V(linux/arm/v7), V(linux/arm/v6), V(linux/riscv64),
        V(linux/ppc64le) and V(linux/s390x).
      - With O(state=absent) and none named, all handlers of ours are removed.
    type: list
    elements: str
    default: []
  state:
    description:
      - With V(present), programs of the platforms run. Handlers of ours for other platforms stay.
      - With V(absent), our handlers of the platforms are removed; those of others stay, and may run such programs still.
    type: str
    choices: [present, absent]
    default: present
  emulators:
    description:
      - Static emulators on the host, by platform, for hosts without packages of them such as Amazon Linux, or for other versions.
      - A path has no spaces and no colons in it.
    type: dict
    default: {}
  install:
    description: Install the emulators' package when it is needed.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Run arm64 containers on this server
  dockyard.fleet.binfmt:
    platforms: [linux/arm64, linux/arm/v7]

- name: Use an emulator that the artifacts role has brought
  dockyard.fleet.binfmt:
    platforms: [linux/arm64]
    emulators:
      linux/arm64: /opt/emulators/qemu-aarch64

- name: Emulate nothing any more
  dockyard.fleet.binfmt:
    state: absent
"""

RETURN = r"""
platforms:
  description: Each platform asked for.
  type: dict
  returned: success
  sample:
    linux/arm64: {status: ours, handler: dockyard-arm64, interpreter: /usr/libexec/qemu-binfmt/aarch64-binfmt-P, flags: POF, changed: true}
  contains:
    status:
      description:
        - V(native), the hardware runs it; V(ours), by our handler; V(others), by somebody else's, which comes back at boot;
          V(boot), by somebody else's until the next boot, then by ours; V(absent).
      type: str
    handler:
      description: The handler that runs such programs.
      type: str
    interpreter:
      description: Its emulator.
      type: str
    flags:
      description: Its flags.
      type: str
    changed:
      description: Whether something was done for it.
      type: bool
removed:
  description: Our handlers that were removed.
  type: list
  elements: str
  returned: success
installed:
  description: Package that was installed, or nothing.
  type: str
  returned: success
mounted:
  description: Whether binfmt_misc had to be mounted.
  type: bool
  returned: success
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dockyard.fleet.plugins.module_utils.binfmt import elf, plan
from ansible_collections.dockyard.fleet.plugins.module_utils.binfmt.host import FOLDER, Host, HostError


class Refused(Exception):
    """Nothing (more) was done; the text says where, what was found, what is needed and what to do."""


class Binfmt:
    """One run: read, decide for all platforms, then act on one after the other.

    :param host: host.Host; :param params: the module's; :param check: bool
    """

    def __init__(self, host, params, check):
        self.host = host
        self.params = params
        self.check = check
        self.result = {"changed": False, "platforms": {}, "removed": [], "installed": "", "mounted": False}
        self.diff = []
        self.emulators = {}
        self.native = []

    def run(self):
        """:returns: dict, the module's result. Raises Refused, HostError, OSError."""
        wanted = self.wanted()
        if self.params["state"] == "absent":
            self.absent(wanted)
        else:
            self.present(wanted)
        return self.result

    def wanted(self):
        """Platforms asked for, in canonical names; the given emulators are looked through as well."""
        result = []
        for setting, names in (("platforms", self.params["platforms"]), ("emulators", self.params["emulators"])):
            for number, name in enumerate(names):
                try:
                    platform = elf.canonical(name)
                except ValueError as exc:
                    raise Refused("%s[%d]: %s, for which there are emulators; correct it, or take an image of a platform that this host runs" % (
                        setting, number, exc)) from None
                if setting == "emulators":
                    self.emulators[platform] = self.given(name)
                elif platform not in result:
                    result.append(platform)
        return result

    def given(self, name):
        """Path of an emulator that the user gave."""
        path = self.params["emulators"][name]
        if not isinstance(path, str) or not path.startswith("/") or any(character in path for character in ": \t\n\\") or len(path) > 127:
            raise Refused("emulators[%s]: found %r; needed an absolute path without spaces, colons and backslashes, at most 127 characters; correct it" % (
                name, path))
        return path

    # ---- absent ----------------------------------------------------------------------------------------------------

    def absent(self, wanted):
        # Arm's two platforms share one handler, so there is one of them to remove.
        names = {plan.handler_name(platform) for platform in wanted or elf.PLATFORMS}
        if self.host.status() is None and not self.check and any(self.host.text("%s/%s.conf" % (plan.RULE_FOLDER, name)) is not None for name in names):
            try:
                self.host.mount()
                self.result["mounted"] = True
            except HostError:
                pass  # what can't be seen ends with the next boot, without its rule
        self.remove(names)
        for platform in wanted:
            self.result["platforms"][platform] = {
                "status": "absent", "handler": None, "interpreter": None, "flags": None, "changed": plan.handler_name(platform) in self.result["removed"]}
        gone = {platform for name in names for platform in plan.platforms_of(name)}
        self.remember({platform: entry for platform, entry in self.host.proven().items() if platform not in gone})

    def remove(self, names):
        """Remove handlers and rules of ours, of these names, that are there."""
        live = {handler["name"]: handler for handler in self.host.handlers()}
        for name in sorted(names):
            path = "%s/%s.conf" % (plan.RULE_FOLDER, name)
            text = self.host.text(path)
            if name not in live and text is None:
                continue
            self.result["changed"] = True
            self.result["removed"].append(name)
            self.diff.append((path, text or "", ""))
            if not self.check:
                # The rule first: killed in between, the handler is gone after a boot at the latest.
                self.host.remove(path)
                if name in live:
                    self.host.unregister(name)

    def remember(self, proven):
        if not self.check and proven != self.host.proven():
            self.host.write_proven(proven)

    # ---- present ---------------------------------------------------------------------------------------------------

    def present(self, wanted):
        facts = self.host.facts()
        self.native = (facts.get("architecture") or {}).get("native") or []
        if not self.native:
            raise Refused("architecture: found a machine (%s) that has no Docker platform; needed one of %s" % (
                (facts.get("architecture") or {}).get("machine"), ", ".join(sorted(elf.PLATFORMS))))
        self.remove(plan.leftovers(self.native, [plan.handler_name(platform) for platform in elf.PLATFORMS]))
        needed = []
        for platform in wanted:
            if platform in self.native:
                self.note(platform, "native", None, False)
            else:
                needed.append(platform)
        if needed:
            self.check_hardware(needed)
            if self.prepare():
                needed = [platform for platform in needed if not self.runs_anyway(platform)]
        if needed:
            self.check_boot()
            self.check_others(needed)
            self.bring_emulators(needed, facts)
            for platform in needed:
                self.bring(platform)
        # What an emulator once ran and the hardware runs now is forgotten.
        proven = {platform: entry for platform, entry in self.host.proven().items() if platform not in self.native or entry["handler"] is None}
        for platform, entry in self.result["platforms"].items():
            if platform not in self.native:
                proven[platform] = {"handler": entry["handler"], "interpreter": entry["interpreter"],
                                    "kernel": None if entry["handler"] else self.host.kernel_release()}
        self.remember(proven)

    def note(self, platform, status, handler, changed):
        self.result["platforms"][platform] = {
            "status": status, "handler": handler["name"] if handler else None, "interpreter": handler["interpreter"] if handler else None,
            "flags": handler["flags"] if handler else None, "changed": changed}
        self.result["changed"] = self.result["changed"] or changed

    def check_hardware(self, needed):
        for platform in needed:
            twin = plan.catches_native(platform, self.native)
            if twin:
                raise Refused("%s: found hardware that runs %s itself; a handler would take those programs too, since both begin alike; "
                              "needed an image for %s; set the stack's platform to it" % (platform, twin, twin))

    def prepare(self):
        """Have binfmt_misc mounted. :returns: bool, whether the kernel's handlers can be seen."""
        status = self.host.status()
        if status is None:
            self.check_boot()  # nothing is mounted for what is refused anyway
            self.result["mounted"] = self.result["changed"] = True
            if self.check:
                return False
            try:
                self.host.mount()
            except HostError as exc:
                raise Refused("%s: found nothing mounted there, and it can't be mounted: %s; needed the kernel's binfmt_misc; "
                              "in a container, run this on its machine instead" % (FOLDER, exc)) from None
            status = self.host.status()
        if status != "enabled":
            raise Refused("%s/status: found %r; needed enabled; somebody has switched all handlers off: echo 1 > %s/status" % (FOLDER, status, FOLDER))
        if not self.host.writable():
            raise Refused("%s: found it read-only; needed the right to register handlers; in a container, run this on its machine instead" % FOLDER)
        return True

    def runs_anyway(self, platform):
        """Whether the hardware runs it although that is not known of it: a program runs with no handler for it."""
        if plan.concerned(self.host.handlers(), platform) or self.host.probe(platform)[0] is not None:
            return False
        self.note(platform, "native", None, False)
        return True

    def check_boot(self):
        blocked = self.host.at_boot()["blocked"]
        if blocked:
            raise Refused("systemd-binfmt: found that %s; needed it, so that handlers come back after a reboot; "
                          "systemctl unmask it (or install systemd), nothing was registered" % blocked)

    def check_others(self, needed):
        handlers, rules = self.host.handlers(), self.host.at_boot()["rules"]
        problems = [(platform, plan.without_flag_f(platform, handlers, rules)) for platform in needed]
        problems = ["%s: %s" % (platform, text) for platform, text in problems if text]
        if problems:
            raise Refused("found handlers of others that do not reach into containers (%s); needed flag F, and ours would have to hide them; "
                          "give them flag F or remove them (a rule: ln -s /dev/null %s/<its file's name>), then run this again" % (
                              "; ".join(problems), plan.RULE_FOLDER))

    # ---- emulators -------------------------------------------------------------------------------------------------

    def emulator(self, platform):
        return self.emulators.get(platform) or plan.EMULATOR % elf.PLATFORMS[platform]["qemu"]

    def bring_emulators(self, needed, facts):
        """Have an emulator for each platform that will need one of ours; all are looked at before any is registered."""
        ours = [platform for platform in needed if self.decide(platform)[0] != "others"]
        missing = [platform for platform in ours if self.host.head(self.emulator(platform)) is None]
        for platform in missing:
            if platform in self.emulators:
                raise Refused("emulators[%s]: found no file %s on the host; needed a static emulator; correct the path, or bring the file first" % (
                    platform, self.emulators[platform]))
        if missing:
            self.install(missing, facts.get("os") or {})
            if self.check:
                return
        for platform in ours:
            data = self.host.head(self.emulator(platform))
            if data is None:
                raise Refused("%s: found no %s although its package is installed; needed a static emulator; "
                              "set emulators (role: binfmt_emulators) to the path of one" % (platform, self.emulator(platform)))
            problem = plan.emulator_problem(data, self.native)
            if problem:
                raise Refused("%s: found %s, but %s; needed a static program of this machine; set emulators (role: binfmt_emulators) to one" % (
                    platform, self.emulator(platform), problem))

    def install(self, missing, system):
        package = plan.package(system.get("id"), system.get("version_id"), system.get("family"))
        if package is None or not self.host.has_apt() or not self.params["install"]:
            why = "%s has no package of static emulators" % (system.get("pretty_name") or "this system")
            if package and not self.params["install"]:
                why = "install is off"
            raise Refused("%s: found no emulator on the host, and %s; needed a static QEMU user emulator; set emulators (role: binfmt_emulators) "
                          "to the path of one, such as {%s: /usr/local/lib/dockyard/qemu-%s}, which the role artifacts can bring" % (
                              ", ".join(missing), why, missing[0], elf.PLATFORMS[missing[0]]["qemu"]))
        self.result["installed"] = package
        self.result["changed"] = True
        if self.check:
            return
        excluded = self.host.text(plan.EXCLUDE_FILE) is not None
        if package == "qemu-user-static" and not excluded:
            self.host.write(plan.EXCLUDE_FILE, plan.EXCLUDE_TEXT)
        try:
            self.host.install(package)
        except HostError as exc:
            if package == "qemu-user-static" and not excluded:
                self.host.remove(plan.EXCLUDE_FILE)
            raise Refused("apt-get install %s: found %s; needed the package of the emulators; mend APT on the host, "
                          "or set emulators (role: binfmt_emulators); nothing was registered" % (package, exc)) from None

    # ---- handlers --------------------------------------------------------------------------------------------------

    def decide(self, platform):
        return plan.decide(platform, self.emulator(platform), self.host.handlers(), self.host.at_boot()["rules"])

    def bring(self, platform):
        """Have one platform run, proven."""
        what, name = self.decide(platform)
        emulator = self.emulator(platform)
        path, text = plan.rule_file(platform), plan.rule_text(platform, emulator)
        serving = next((handler for handler in self.host.handlers() if handler["name"] == name), None)
        changed = what in ("write", "register")
        if changed:
            self.diff.append((path, self.host.text(path) or "", text))
        if changed and self.check:
            would = serving if what == "write" else {"name": name, "interpreter": emulator, "flags": plan.FLAGS}
            self.note(platform, "boot" if what == "write" else "ours", would, True)
            return
        if what == "register":
            self.register(platform, emulator, text, serving)
        else:
            self.prove(platform, serving, strict=what == "ours")
        if what == "write":
            self.prove_directly(platform, emulator)
            self.host.write(path, text)
        serving = next((handler for handler in self.host.handlers() if handler["name"] == name), serving)
        self.note(platform, {"others": "others", "boot": "boot", "write": "boot"}.get(what, "ours"), serving, changed)

    def register(self, platform, emulator, text, before):
        """Register ours, see it run and write its rule; otherwise what was there before is there again."""
        name = plan.handler_name(platform)
        try:
            self.host.register(text)
            after = next((handler for handler in self.host.handlers() if handler["name"] == name), None)
            if after is None or not plan.same(after, platform, emulator):
                raise Refused("%s: found %s after systemd-binfmt has registered it; needed %s with the flags %s; see journalctl -u systemd-binfmt" % (
                    name, "nothing" if after is None else "%(interpreter)s with the flags %(flags)r" % after, emulator, plan.FLAGS))
            self.prove(platform, after, strict=True)
            self.host.write(plan.rule_file(platform), text)
        except (HostError, Refused, OSError) as exc:
            self.host.unregister(name)
            if before:
                self.host.register(plan.line_of(before) + "\n")
            if isinstance(exc, HostError):
                raise Refused("%s: found that the kernel does not take the handler (%s); needed it registered; see journalctl -k" % (name, exc)) from None
            raise

    def prove(self, platform, handler, strict):
        """See a program of the platform run; strict: it learns its name too."""
        problem, out = self.host.probe(platform)
        if problem is None and strict and out != elf.CALLED.encode("ascii"):
            problem = "it was called by the name %r and was told %r, so the emulator does not know flag P (QEMU does since 6.0)" % (
                elf.CALLED, out.decode("latin-1"))
        if problem:
            raise Refused("%s: found that handler %s (%s, flags %s) does not run a program of it in an empty root: %s; needed one that does; %s" % (
                platform, handler["name"], handler["interpreter"], handler["flags"], problem,
                "set emulators (role: binfmt_emulators) to another emulator" if plan.is_ours(handler["name"])
                else "it is not ours, so mend or remove it and run this again"))

    def prove_directly(self, platform, emulator):
        """See the emulator run a program, without the kernel: another handler is in front of ours until the next boot."""
        problem, out = self.host.probe_directly(platform, emulator)
        if problem or out != elf.CALLED.encode("ascii"):
            raise Refused("%s: found that %s does not run a program of it: %s; needed a QEMU user emulator; set emulators (role: binfmt_emulators) to one" % (
                platform, emulator, problem or "it was told another name"))


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "platforms": {"type": "list", "elements": "str", "default": []},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "emulators": {"type": "dict", "default": {}},
            "install": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    if os.uname().sysname != "Linux":
        module.fail_json(msg="binfmt: found %s; needed Linux; on a Mac the emulation is that of Docker's virtual machine" % os.uname().sysname)
    if os.geteuid() != 0:
        module.fail_json(msg="binfmt: found user id %d; needed root, who alone may register handlers; set become: true" % os.geteuid())
    run = Binfmt(Host(module.run_command, module.tmpdir), module.params, module.check_mode)
    try:
        result = run.run()
    except (Refused, HostError) as exc:
        module.fail_json(msg=str(exc))
    except OSError as exc:
        module.fail_json(msg="%s: %s; needed a place that root can change" % (exc.filename or "binfmt", exc.strerror or exc))
    if module._diff:
        result["diff"] = [{"before_header": path, "after_header": path, "before": before, "after": after} for path, before, after in run.diff]
    module.exit_json(**result)


if __name__ == "__main__":
    main()
