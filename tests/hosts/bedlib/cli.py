# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of `bed`."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys

from . import base_images, docker, engine, hosts, identity, registry, settings, shell

DESCRIPTION = "Test hosts, base images and a registry for dockyard.fleet, built from Debian's packages on this machine."


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="bed", description=DESCRIPTION)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    one = commands.add_parser("engine", help="make sure that a Docker engine answers on this machine")
    one.add_argument("--arm64", action="store_true", help="also let arm64 programs run here (qemu-user-static)")

    one = commands.add_parser("up", help="bring test hosts up (and the registry with its base images)")
    one.add_argument("names", nargs="+", metavar="NAME")
    one.add_argument("--release", choices=settings.RELEASES)
    one.add_argument("--fresh", action="store_true", help="remove the host first, with all that is in it")
    one.add_argument("--with-docker", action="store_true", help="Debian's Docker is already installed in it")
    one.add_argument("--no-images", action="store_true", help="do not look after the registry and the base images")

    one = commands.add_parser("list", help="the hosts that exist")
    one.add_argument("--json", action="store_true")

    one = commands.add_parser("remove", help="remove test hosts")
    one.add_argument("names", nargs="*", metavar="NAME")
    one.add_argument("--all", action="store_true", help="every host, the registry, its data and the network (images stay)")

    one = commands.add_parser("reboot", help="restart a host: its containers come back as after a reboot")
    one.add_argument("name", metavar="NAME")

    one = commands.add_parser("offline", help="cut a host off from everything but incoming connections")
    one.add_argument("name", metavar="NAME")
    one.add_argument("state", choices=("on", "off"))

    one = commands.add_parser("exec", help="run a command in a host, as root")
    one.add_argument("name", metavar="NAME")
    one.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- COMMAND")

    one = commands.add_parser("images", help="the registry and its base images")
    one.add_argument("--manifest", metavar="NAME:TAG", help="put a manifest list under this name")
    one.add_argument("parts", nargs="*", metavar="ARCHITECTURE=REFERENCE",
                     help="with --manifest: a local image, or a tag or digest of the same repository in the registry")

    one = commands.add_parser("inventory", help="print a YAML inventory of hosts (all when none is named)")
    one.add_argument("names", nargs="*", metavar="NAME")

    for name, text in (("pi", "the arm64 machine that plays a Raspberry Pi"), ("apt-repo", "the signed APT repository")):
        one = commands.add_parser(name, help=text, add_help=False)
        one.add_argument("argv", nargs=argparse.REMAINDER)
    return top


def _delegate(relative: str, argv) -> int:
    """Run main(argv) of a program that lives beside this package and shares its modules."""
    path = settings.HERE / relative
    if not path.is_file():
        raise shell.BedError(f"this checkout has no {path.relative_to(settings.HERE.parent.parent)}")
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(f"bed_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.main(list(argv)) or 0


def _list(as_json: bool) -> None:
    found = hosts.known()
    if as_json:
        print(json.dumps(found, indent=2))
        return
    for name, about in found.items():
        print(f"{name:16} {about['address']:14} {about['release']:9} {about['user']:6} {about['state']}")


def _exec(name: str, argv) -> int:
    command = argv[1:] if argv[:1] == ["--"] else argv
    if not command:
        raise shell.BedError("what shall run? bed exec NAME -- COMMAND [ARGUMENT...]")
    hosts.existing(name)
    terminal = ["--tty"] if sys.stdin.isatty() and sys.stdout.isatty() else []
    os.execvp("docker", ["docker", "exec", "--interactive", *terminal, hosts.container(name), *command])


def _remove_all() -> None:
    hosts.remove(list(hosts.known()))
    for name in docker.ours("container"):
        docker.docker("rm", "--force", "--volumes", name)
    for name in docker.ours("volume"):
        docker.docker("volume", "rm", "--force", name)
    network = docker.inspect("network", settings.NETWORK)
    if network and settings.LABEL in network["Labels"]:
        docker.docker("network", "rm", settings.NETWORK)
    registry.distrust()
    shell.say("removed every host, the registry with its data, and the network; the images stay as a cache")


def dispatch(options) -> int:
    command = options.command
    if command == "engine":
        print(f"Docker engine {engine.ensure(options.arm64)} answers")
    elif command == "up":
        engine.ensure()
        hosts.up(options.names, release=options.release, fresh=options.fresh, with_docker=options.with_docker)
        if not options.no_images:
            base_images.ensure(quiet=True)
    elif command == "list":
        _list(options.json)
    elif command == "remove":
        if options.all == bool(options.names):
            raise shell.BedError("remove what? Names of hosts, or --all")
        _remove_all() if options.all else hosts.remove(options.names)
    elif command == "reboot":
        hosts.reboot(options.name)
    elif command == "offline":
        hosts.offline(options.name, options.state == "on")
    elif command == "exec":
        return _exec(options.name, options.argv)
    elif command == "images":
        engine.ensure()
        identity.ensure()
        if options.manifest:
            base_images.put_manifest_list(options.manifest, options.parts)
        else:
            base_images.ensure()
    elif command == "inventory":
        print(hosts.inventory(options.names), end="")
    elif command == "pi":
        return _delegate("pi/machine.py", options.argv)
    elif command == "apt-repo":
        return _delegate("aptrepo/repo.py", options.argv)
    return 0


def main(argv=None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    # argparse's REMAINDER does not take a leading option ("bed pi --help"), so these two are handed on before it looks.
    early = {"pi": "pi/machine.py", "apt-repo": "aptrepo/repo.py"}
    try:
        if argv and argv[0] in early:
            return _delegate(early[argv[0]], argv[1:])
        return dispatch(parser().parse_args(argv))
    except shell.BedError as error:
        shell.say(str(error))
        return 1
    except KeyboardInterrupt:
        shell.say("interrupted")
        return 130
