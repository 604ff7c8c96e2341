# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be done so that programs of a platform run: pure decisions, no I/O.

Our handlers use three flags of binfmt_misc (Documentation/admin-guide/binfmt-misc.rst of the kernel):
F  the kernel opens the emulator when it is registered, not when a program starts: so containers, which do not have the file, use it too;
P  the program learns by which name it was called (busybox is all its tools by that);
O  the kernel opens the program and hands it over, so that one that may be executed but not read runs as well.
C is not used: it would run the emulator with the rights of a setuid program, and an emulator obeys its caller's environment.
(Debian's own rules have the same three.) So sudo and its like gain no rights in an emulated container.

Others' handlers. The kernel asks the handler that was registered last first, and at boot systemd-binfmt registers in the order of
the files' names. Ours beside another one for the same programs would therefore take its programs over now, and lose them
at the next boot to most names. So:
- one of others that has flag F, runs our probe and comes back at boot is all that is needed;
- one that has flag F and runs our probe, but will be gone after a boot, is left to serve until then; ours is only written for the boot;
- one without flag F can't serve containers. Ours would have to hide it, so this is refused: its owner decides.
"""

from __future__ import annotations

from ansible_collections.dockyard.fleet.plugins.module_utils.binfmt import elf
from ansible_collections.dockyard.fleet.plugins.module_utils.facts import binfmt as facts

FLAGS = "POF"  # in the kernel's own order
PREFIX = "dockyard-"
RULE_FOLDER = "/etc/binfmt.d"
# Debian's and Ubuntu's packages have a name here for each of their static emulators, whatever the release calls the programs
# themselves; QEMU before 6.0 knows by its ending that flag P is set.
EMULATOR = "/usr/libexec/qemu-binfmt/%s-binfmt-P"
# Written before qemu-user-static is installed. That package brings rules for some 30 architectures of its own.
EXCLUDE_FILE = "/etc/dpkg/dpkg.cfg.d/dockyard-binfmt"
EXCLUDE_TEXT = """\
# Written by dockyard.fleet.binfmt when it installed qemu-user-static for its emulators alone: without the package's own rules, which
# would register some 30 architectures at the next boot. To have them, remove this file and reinstall the package.
path-exclude=/usr/lib/binfmt.d/qemu-*.conf
"""

ARCHITECTURES = sorted({entry["arch"] for entry in elf.PLATFORMS.values()})


def handler_name(platform):
    """Name of our handler of a platform (str)."""
    return PREFIX + elf.PLATFORMS[platform]["arch"]


def rule_file(platform):
    """Path of our rule of a platform (str)."""
    return "%s/%s.conf" % (RULE_FOLDER, handler_name(platform))


def is_ours(name):
    """Whether a handler's name is one that this collection registers."""
    return name.startswith(PREFIX) and name[len(PREFIX):] in ARCHITECTURES


def platforms_of(name):
    """Platforms of a handler of ours (list of str)."""
    return sorted(platform for platform in elf.PLATFORMS if handler_name(platform) == name)


def rule_line(platform, interpreter):
    """Our rule as binfmt.d(5) and the kernel's file `register` read it (str, one line without its end)."""
    magic, mask = ("".join("\\x%02x" % byte for byte in data) for data in elf.magic_and_mask(platform))
    return ":%s:M::%s:%s:%s:%s" % (handler_name(platform), magic, mask, interpreter, FLAGS)


def rule_text(platform, interpreter):
    """Content of our rule's file (str)."""
    return "# Written by dockyard.fleet.binfmt, which writes it again: %s by emulation, in containers too.\n%s\n" % (
        " and ".join(platforms_of(handler_name(platform))), rule_line(platform, interpreter))


def line_of(handler):
    """The line (str) that registers a handler of facts.parse_handler() again."""
    def escaped(text):
        return "".join("\\x" + text[at:at + 2] for at in range(0, len(text or ""), 2))

    return ":%s:M:%d:%s:%s:%s:%s" % (
        handler["name"], handler["offset"], escaped(handler["magic"]), escaped(handler["mask"]), handler["interpreter"], handler["flags"])


def same(entry, platform, interpreter):
    """Whether a handler or a rule is ours as it has to be."""
    magic, mask = elf.magic_and_mask(platform)
    return (
        entry["name"] == handler_name(platform) and entry["interpreter"] == interpreter and set(entry["flags"]) == set(FLAGS)
        and entry["offset"] == 0 and entry["magic"] == magic.hex() and entry["mask"] == mask.hex()
    )


def concerned(entries, platform):
    """Those of handlers or rules that the kernel would give a program of the platform to."""
    header = elf.probe(platform)[:128]
    return [entry for entry in entries if entry.get("enabled", True) and facts.matches(entry, header)]


def returns_at_boot(handler, rules):
    """Whether a rule registers the handler again, with flag F (bool)."""
    return any(rule["name"] == handler["name"] and "F" in rule["flags"] for rule in rules)


def without_flag_f(platform, handlers, rules):
    """What others have for a platform that hides or will hide ours and does not reach into containers: a sentence (str), or None."""
    for handler in concerned(handlers, platform):
        if not is_ours(handler["name"]) and "F" not in handler["flags"]:
            return "handler %s (%s) has the flags %r" % (handler["name"], handler["interpreter"], handler["flags"])
    for rule in concerned(rules, platform):
        if not is_ours(rule["name"]) and "F" not in rule["flags"]:
            return "%s will register %s (%s) at the next boot with the flags %r" % (rule["file"], rule["name"], rule["interpreter"], rule["flags"])
    return None


def decide(platform, interpreter, handlers, rules):
    """What a platform needs that the hardware lacks, when nothing of others stands against it (see without_flag_f()).

    :param interpreter: path of the emulator that ours would use.
    :param handlers: all of the kernel, of facts.parse_handler(); :param rules: those that work at the next boot, of facts.read_at_boot().
    :returns: (what, name of the handler that serves)
        "others": theirs is all that is needed; "boot": theirs serves until the next boot, ours from then on, and is written already;
        "write": the same, but ours has to be written; "ours": ours serves and is written; "register": ours has to be registered, and written.
    """
    ours, file = handler_name(platform), rule_file(platform)
    live = concerned(handlers, platform)
    written = any(same(rule, platform, interpreter) and rule["file"] == file for rule in rules)
    if any(same(handler, platform, interpreter) for handler in live):
        return ("ours" if written else "register"), ours
    for handler in live:
        if not is_ours(handler["name"]):
            if returns_at_boot(handler, rules):
                return "others", handler["name"]
            return ("boot" if written else "write"), handler["name"]
    return "register", ours


def leftovers(native, names):
    """Names (sorted list of str) of our handlers that would take programs which the hardware runs itself."""
    return sorted(name for name in set(names) if is_ours(name) and set(platforms_of(name)) & set(native))


def catches_native(platform, native):
    """Native platform (str) whose programs a handler for this one would take as well, or None: an ARMv6 machine can't emulate ARMv7."""
    return next((name for name in native if name in elf.PLATFORMS and handler_name(name) == handler_name(platform)), None)


def package(os_id, version_id, family):
    """Debian package with static emulators (str), or None where there is none.

    They are in qemu-user since QEMU 9.1 (Debian 13, Ubuntu 25.04), in qemu-user-static before.
    """
    if family != "debian":
        return None
    try:
        version = tuple(int(part) for part in str(version_id).split("."))
    except ValueError:
        return "qemu-user"  # testing and unstable have no version
    return "qemu-user-static" if version < ((25, 4) if os_id == "ubuntu" else (13,)) else "qemu-user"


def emulator_problem(data, native):
    """What is wrong with an emulator's file (str), or None.

    :param data: its first bytes; :param native: platforms of the hardware.
    """
    try:
        found = elf.describe(data)
    except ValueError as exc:
        return "it is %s" % exc
    machines = {elf.PLATFORMS[name]["machine"] for name in native if name in elf.PLATFORMS}
    if found["machine"] not in machines:
        return "it is a program for another machine (ELF machine 0x%x)" % found["machine"]
    if found["dynamic"]:
        return "it is linked dynamically, so containers lack its libraries"
    return None


def due(wanted, known, emulators=None):
    """Whether a host has to be asked for the wanted platforms, by facts of it alone: a sentence that says why (str), or "".

    :param wanted: platforms (list of str) as people write them; :param known: facts of host_facts (dict), {} when there are none.
    :param emulators: {platform: path} that the user has given, as people write platforms.
    """
    if ((known or {}).get("os") or {}).get("family") == "darwin":
        return ""  # Docker's virtual machine brings its own emulation
    architecture, binfmt = (known or {}).get("architecture") or {}, (known or {}).get("binfmt") or {}
    native = architecture.get("native") or []
    handlers, boot, proven = binfmt.get("handlers"), binfmt.get("at_boot") or {}, binfmt.get("proven")
    left = leftovers(native, [entry["name"] for entry in (handlers or []) + (boot.get("rules") or [])])
    if left:
        return "%s is left over: the hardware runs such programs" % left[0]
    for name in wanted:
        try:
            platform = elf.canonical(name)
        except ValueError:
            return "%s is not known" % name
        if platform in native:
            continue
        if handlers is None or proven is None or not binfmt.get("enabled"):
            return "what the kernel has is not known"
        given = [path for other, path in (emulators or {}).items() if other in (name, platform)]
        if given and any(is_ours(rule["name"]) and rule["interpreter"] != given[0] for rule in boot.get("rules") or [] if platform in rule["platforms"]):
            return "another emulator is given for %s" % platform
        seen = proven.get(platform) or {}
        live = [entry for entry in handlers if platform in entry["platforms"] and entry["enabled"]]
        rules = [rule for rule in boot.get("rules") or [] if platform in rule["platforms"]]
        if any("F" not in entry["flags"] for entry in live + rules):
            return "a handler for %s has no flag F" % platform
        if not any((entry["name"], entry["interpreter"]) == (seen.get("handler"), seen.get("interpreter")) for entry in live):
            return "no handler for %s that was seen working" % platform
        if not rules:
            return "nothing registers a handler for %s at the next boot" % platform
    return ""
