#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_facts
short_description: Everything a run asks of a Docker host, in one call
version_added: 0.1.0
description:
  - Reads what the roles of this collection decide from, in one process on the target, from files of the system and the API of the Docker daemon.
  - It changes nothing, in check mode or not. A daemon that is stopped is not started by it, even where a connection to its socket would do so.
  - A fact that could not be read is V(null) and its path is a key of RV(ansible_facts.dockyard_facts.unknown), with the reason.
    A fact that is V(null) and is not named there does not exist on this host (no Raspberry Pi, no Compose plugin, no engine).
  - Environment variables of containers are never read. The content of C(daemon.json) and the kernel's command line are returned as they are,
    so that roles can merge them; use C(no_log) on the task when you keep credentials there.
author:
  - dockyard.fleet contributors (@dockyard)
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    details: It changes nothing.
  platform:
    platforms: posix
options:
  gather:
    description:
      - Sections to read; all of them when it is not given. The facts of the other sections are V(null).
      - V(packages) fills C(dpkg_interrupted) too; V(memory) fills C(cpus), C(cpu_features) and C(load) too. C(time) and C(user) are always there.
      - Published ports are mapped to containers by V(ports) only together with V(containers) or V(docker).
    type: list
    elements: str
    choices:
      - os
      - architecture
      - pi
      - kernel
      - boot
      - init
      - cgroup
      - packages
      - apt
      - ca_certificates
      - docker
      - images
      - containers
      - networks
      - volumes
      - ports
      - binfmt
      - artifacts
      - bluetooth
      - disk
      - memory
      - releases
      - stacks
      - schedules
  timeout_seconds:
    description:
      - Seconds that all requests to the Docker daemon together may take. What it has not answered by then is unknown.
      - Raise it for hosts whose daemon is slow to answer, such as a Raspberry Pi that is building an image.
    type: float
    default: 5
notes:
  - Run it with C(become), else the Docker socket, C(daemon.json) and the owners of listening sockets may be unreadable, and are reported so.
  - Other programs are started only where a file or the daemon does not tell - the Compose and Buildx plugins for their metadata when no package brought them,
    C(docker --version) when no package brought C(docker), C(rpm -qa) on systems with RPM, C(sw_vers) on macOS.
"""

EXAMPLES = r"""
- name: Read everything
  dockyard.fleet.host_facts:
  become: true

- name: Say what could not be read
  ansible.builtin.debug:
    msg: "{{ item.key }}: {{ item.value }}"
  loop: "{{ dockyard_facts.unknown | dict2items }}"

- name: Read only what a decision about images needs
  dockyard.fleet.host_facts:
    gather: [architecture, docker, images, disk]
    timeout_seconds: 15
  become: true

- name: Refuse a host without memory limits
  ansible.builtin.assert:
    that: dockyard_facts.cgroup.controllers.memory
"""

RETURN = r"""
ansible_facts:
  description: The facts, under one name.
  returned: success
  type: dict
  contains:
    dockyard_facts:
      description: Facts of the host.
      type: dict
      contains:
        schema:
          description: Version of this structure.
          type: int
          sample: 1
        os:
          description: Operating system.
          type: dict
          contains:
            id:
              description: Key C(ID) of os-release; V(macos) on a Mac.
              type: str
              sample: debian
            version_id:
              description: Key C(VERSION_ID).
              type: str
              sample: "13"
            codename:
              description: Key C(VERSION_CODENAME).
              type: str
              sample: trixie
            pretty_name:
              description: Name for people.
              type: str
              sample: Debian GNU/Linux 13 (trixie)
            id_like:
              description: Key C(ID_LIKE).
              type: list
              elements: str
              sample: [debian]
            family:
              description: One of V(debian), V(redhat), V(darwin), V(other).
              type: str
              sample: debian
            raspberry_pi_os:
              description: Whether the system has C(/etc/rpi-issue).
              type: bool
        architecture:
          description: What runs here.
          type: dict
          contains:
            machine:
              description: Machine as the kernel names it.
              type: str
              sample: aarch64
            dpkg:
              description: Architecture of the userland.
              type: str
              sample: arm64
            docker_platform:
              description: Platform that images are pulled for; the daemon's word, else that of the userland, else that of the kernel.
              type: str
              sample: linux/arm64
            native:
              description:
                - Platforms that run without emulation, the host's own first.
                - V(linux/arm/v7) and V(linux/arm/v6) are named on an arm64 host only when it is certain. All cores are of a kind that is known to
                  run 32-bit programs (Cortex-A53 of the Pi 3, A72 of the Pi 4, A76 of the Pi 5, Neoverse N1 of Graviton 2 and some more),
                  memory pages have 4 KiB (the Pi 5's own kernel has pages of 16 KiB), and the kernel shows its 32-bit interface.
              type: list
              elements: str
              sample: [linux/arm64, linux/arm/v7, linux/arm/v6]
            emulated:
              description: Platforms that run in containers by an enabled binfmt handler with flag F. V(null) when the handlers can't be seen.
              type: list
              elements: str
              sample: [linux/amd64]
        pi:
          description: Raspberry Pi; V(null) on any other machine.
          type: dict
          contains:
            model:
              description: Model in the device tree.
              type: str
              sample: Raspberry Pi 4 Model B Rev 1.4
        kernel:
          description: Kernel.
          type: dict
          contains:
            release:
              description: Release.
              type: str
              sample: 6.12.47+rpt-rpi-v8
            cmdline:
              description: Command line that it was started with.
              type: str
        boot:
          description: Boot configuration of a Raspberry Pi; V(null) where no such file is in use.
          type: dict
          contains:
            cmdline_file:
              description:
                - The file that the next kernel command line is made from, C(/boot/firmware/cmdline.txt) or C(/boot/cmdline.txt).
                - The note in C(/boot/cmdline.txt) that the file has moved does not count.
              type: dict
              contains:
                path:
                  description: Path.
                  type: str
                  sample: /boot/firmware/cmdline.txt
                content:
                  description: Content.
                  type: str
        init:
          description: V(systemd) or V(other).
          type: str
          sample: systemd
        cgroup:
          description: Control groups.
          type: dict
          contains:
            version:
              description: One of V(v1), V(v2), V(hybrid).
              type: str
              sample: v2
            controllers:
              description: Whether C(memory), C(cpu), C(pids), C(cpuset) and C(io) can be used. With v1, a controller must be enabled and mounted.
              type: dict
              sample: {memory: true, cpu: true, pids: true, cpuset: true, io: true}
        packages:
          description:
            - Docker related packages that the package manager knows about, by name.
            - A package that was removed but not purged is there with status V(config-files).
          type: dict
          sample: {docker-ce: {version: "5:28.5.1-1~debian.13~trixie", hold: true, status: installed}}
        dpkg_interrupted:
          description: Whether dpkg was stopped in the middle of something, so that C(dpkg --configure -a) is due. V(false) where there is no dpkg.
          type: bool
        apt:
          description: APT's configuration for Docker; V(null) on systems without APT.
          type: dict
          contains:
            sources:
              description: Entries of the files whose name has C(docker) or C(dockyard) in it.
              type: list
              elements: dict
              contains:
                file:
                  description: Path of the file.
                  type: str
                  sample: /etc/apt/sources.list.d/docker.sources
                types:
                  description: C(deb) and C(deb-src).
                  type: list
                  elements: str
                  sample: [deb]
                uris:
                  description: URIs.
                  type: list
                  elements: str
                suites:
                  description: Suites.
                  type: list
                  elements: str
                  sample: [trixie]
                components:
                  description: Components.
                  type: list
                  elements: str
                  sample: [stable]
                architectures:
                  description: Architectures that the entry is limited to.
                  type: list
                  elements: str
                signed_by:
                  description: Path of the key; V(inline) when the key is in the file itself.
                  type: str
                enabled:
                  description: Whether the entry is in use.
                  type: bool
            other_sources:
              description: Number of the other source files.
              type: int
              sample: 1
            keyrings:
              description: SHA-256 of the key files of these entries or with such a name, by path.
              type: dict
            pins:
              description: SHA-256 of the files with such a name in C(/etc/apt/preferences.d), by path.
              type: dict
        ca_certificates:
          description: SHA-256 of the CA certificates that were added to the system, by path.
          type: dict
        docker:
          description: Docker.
          type: dict
          contains:
            cli:
              description: Command line client.
              type: dict
              contains:
                version:
                  description: Version.
                  type: str
                  sample: 28.5.1
                path:
                  description: Path.
                  type: str
                  sample: /usr/bin/docker
            engine:
              description: The engine, as it answers. V(null) when there is none, and when it does not answer (then it is named in C(unknown)).
              type: dict
              contains:
                version:
                  description: Version.
                  type: str
                  sample: 28.5.1
                api_version:
                  description: Newest API version.
                  type: str
                  sample: "1.51"
                storage_driver:
                  description: Storage driver.
                  type: str
                  sample: overlay2
                data_root:
                  description: Data root.
                  type: str
                  sample: /var/lib/docker
                cgroup_driver:
                  description: Cgroup driver.
                  type: str
                  sample: systemd
                cgroup_version:
                  description: Cgroup version as the engine names it.
                  type: str
                  sample: "2"
                live_restore:
                  description: Whether containers survive the daemon.
                  type: bool
                memory_limit:
                  description: Whether memory limits work.
                  type: bool
                warnings:
                  description: The engine's own warnings.
                  type: list
                  elements: str
                registry_mirrors:
                  description: Mirrors of Docker Hub.
                  type: list
                  elements: str
            compose:
              description: Compose plugin of the client; V(null) when there is none.
              type: dict
              contains:
                version:
                  description: Version.
                  type: str
                  sample: 2.40.0
                path:
                  description: Path.
                  type: str
                  sample: /usr/libexec/docker/cli-plugins/docker-compose
            buildx:
              description: Buildx plugin of the client; V(null) when there is none.
              type: dict
              contains:
                version:
                  description: Version.
                  type: str
                  sample: 0.29.1
                path:
                  description: Path.
                  type: str
                  sample: /usr/libexec/docker/cli-plugins/docker-buildx
            service:
              description: The daemon's unit. V(active) and V(enabled) are V(null) where systemd is not the init.
              type: dict
              contains:
                unit:
                  description: Name.
                  type: str
                  sample: docker.service
                active:
                  description: Whether its control group has a running dockerd.
                  type: bool
                enabled:
                  description: Whether it is started at boot by its own name.
                  type: bool
            dropins:
              description: SHA-256 of the drop-in files of docker.service, docker.socket and containerd.service, by path.
              type: dict
            daemon_config:
              description: The daemon's configuration file.
              type: dict
              contains:
                path:
                  description: Path.
                  type: str
                  sample: /etc/docker/daemon.json
                exists:
                  description: Whether it exists.
                  type: bool
                raw:
                  description: Content.
                  type: str
                parsed:
                  description: Content, parsed. V(null) when there is no file or it is malformed.
                  type: dict
                error:
                  description: Why it could not be read or parsed.
                  type: str
                mode:
                  description: Permissions.
                  type: str
                  sample: "0644"
                owner:
                  description: Name of the owner.
                  type: str
                  sample: root
        images:
          description: Images, newest first; an empty list when there is no engine.
          type: list
          elements: dict
          contains:
            id:
              description: ID.
              type: str
            tags:
              description: Tags.
              type: list
              elements: str
            digests:
              description: Repository digests.
              type: list
              elements: str
            created:
              description: Seconds since 1970.
              type: int
            size_bytes:
              description: Size in bytes.
              type: int
            architecture:
              description: Architecture, with the variant if it has one. Asked for the 64 newest images at most; V(null) for the others.
              type: str
              sample: arm64
            labels:
              description: Labels.
              type: dict
        containers:
          description: Containers, running or not, sorted by name; an empty list when there is no engine.
          type: list
          elements: dict
          contains:
            id:
              description: ID.
              type: str
            name:
              description: Name.
              type: str
            image:
              description: Image as it was named.
              type: str
            image_id:
              description: ID of the image.
              type: str
            state:
              description: State.
              type: str
              sample: running
            health:
              description: One of V(healthy), V(unhealthy), V(starting), V(none) (no health check); V(null) when it does not run or is paused.
              type: str
              sample: healthy
            status:
              description: State for people.
              type: str
              sample: Up 2 minutes (healthy)
            project:
              description: Compose project.
              type: str
            service:
              description: Compose service.
              type: str
            config_hash:
              description: Hash of the service's configuration that Compose noted.
              type: str
            oneoff:
              description: Whether C(compose run) made it.
              type: bool
            ports:
              description: Published ports.
              type: list
              elements: dict
              contains:
                ip:
                  description: Address on the host.
                  type: str
                  sample: 0.0.0.0
                host_port:
                  description: Port on the host.
                  type: int
                container_port:
                  description: Port in the container.
                  type: int
                protocol:
                  description: Protocol.
                  type: str
                  sample: tcp
            networks:
              description: Names of its networks.
              type: list
              elements: str
        networks:
          description: Networks; an empty list when there is no engine.
          type: list
          elements: dict
          contains:
            name:
              description: Name.
              type: str
            driver:
              description: Driver.
              type: str
            internal:
              description: Whether it has no way out.
              type: bool
            project:
              description: Compose project.
              type: str
        volumes:
          description: Volumes; an empty list when there is no engine.
          type: list
          elements: dict
          contains:
            name:
              description: Name.
              type: str
            driver:
              description: Driver.
              type: str
            project:
              description: Compose project.
              type: str
            mountpoint:
              description: Folder on the host.
              type: str
        ports:
          description:
            - TCP sockets that listen, IPv4 and IPv6.
            - A container's port that the daemon publishes without a program that listens is only in RV(ansible_facts.dockyard_facts.containers).
          type: list
          elements: dict
          contains:
            protocol:
              description: Always V(tcp).
              type: str
              sample: tcp
            address:
              description: Address; C(0.0.0.0) and C(::) are all of them.
              type: str
            port:
              description: Port.
              type: int
            process:
              description: Name of the program.
              type: str
              sample: docker-proxy
            pid:
              description: Its process.
              type: int
            container:
              description: Name of the container that publishes the port; V(null) when another program holds it.
              type: str
        binfmt:
          description: Handlers of binary formats.
          type: dict
          contains:
            mounted:
              description: Whether C(/proc/sys/fs/binfmt_misc) is mounted.
              type: bool
            enabled:
              description: Whether it is switched on.
              type: bool
            handlers:
              description: Handlers.
              type: list
              elements: dict
              contains:
                name:
                  description: Name.
                  type: str
                  sample: qemu-aarch64
                enabled:
                  description: Whether it is switched on.
                  type: bool
                interpreter:
                  description: Program that runs such files.
                  type: str
                flags:
                  description: Flags.
                  type: str
                  sample: POF
                platforms:
                  description: Platforms whose programs it runs; none when it is for other files.
                  type: list
                  elements: str
                  sample: [linux/arm64]
            at_boot:
              description: What the kernel gets at each boot, by systemd-binfmt and binfmt-support.
              type: dict
              contains:
                blocked:
                  description: Why systemd-binfmt registers nothing; V(null) when nothing is in its way.
                  type: str
                rules:
                  description: Rules for programs of platforms whose interpreter is there.
                  type: list
                  elements: dict
                  contains:
                    name:
                      description: Name of the handler.
                      type: str
                    file:
                      description: The file that it stands in.
                      type: str
                    interpreter:
                      description: Program that runs such files.
                      type: str
                    flags:
                      description: Flags.
                      type: str
                    platforms:
                      description: Platforms whose programs it runs.
                      type: list
                      elements: str
            proven:
              description:
                - What M(dockyard.fleet.binfmt) has seen running, C(handler) and C(interpreter) by platform.
                - Without a handler it was the hardware, under the kernel whose release C(kernel) is; under that kernel C(architecture.native) names it.
              type: dict
        artifacts:
          description: Store of artifacts.
          type: dict
          contains:
            path:
              description: Path.
              type: str
              sample: /var/lib/dockyard/artifacts
            present:
              description: Whether it exists.
              type: bool
            files:
              description: Number of files.
              type: int
            bytes:
              description: Their size.
              type: int
            sets:
              description:
                - Placed sets, by owner, name and id.
                - A set is complete when every required file is, by its size, times and inode, the one that was verified.
              type: dict
              sample: {oura: {models: {af8e4825608b4c16: {complete: true, missing_optional: []}}}}
            manifests:
              description: Version and digest of the last manifest of each set that has a version, by owner and name.
              type: dict
              sample: {oura: {models: {version: 3, digest: "sha256:5b1f..."}}}
        bluetooth:
          description: Bluetooth.
          type: dict
          contains:
            adapters:
              description: Adapters of the kernel.
              type: list
              elements: str
              sample: [hci0]
            powered:
              description: Those of them that are on.
              type: list
              elements: str
              sample: [hci0]
            blocked:
              description: Adapters that rfkill keeps off.
              type: list
              elements: dict
              contains:
                name:
                  description: Name of the switch.
                  type: str
                  sample: hci0
                how:
                  description: V(soft), which a program can take back, or V(hard), a switch of the hardware.
                  type: str
            installed:
              description: Whether BlueZ is installed.
              type: bool
            apparmor:
              description: Whether the kernel has AppArmor switched on.
              type: bool
            bus_socket:
              description: Whether the system bus has its socket.
              type: bool
            service_active:
              description: Whether bluetoothd runs as bluetooth.service.
              type: bool
        disk:
          description: Space for V(/), V(/var), Docker's data root, containerd's root and the state folder of this collection.
          type: list
          elements: dict
          contains:
            path:
              description: Path; need not exist yet.
              type: str
            mount:
              description: Mount point that it is or would be on.
              type: str
            total_bytes:
              description: Size.
              type: int
            free_bytes:
              description: Free space for ordinary users.
              type: int
            free_inodes:
              description: Free inodes; V(null) on file systems that do not count them.
              type: int
        memory:
          description: Memory.
          type: dict
          contains:
            total_bytes:
              description: All of it.
              type: int
            available_bytes:
              description: What programs can still get without swapping.
              type: int
            swap_total_bytes:
              description: Swap space.
              type: int
        cpus:
          description: Number of processors.
          type: int
        cpu_features:
          description: What all processors can do, in the kernel's words (flags of x86, features of Arm).
          type: list
          elements: str
          sample: [asimd, atomics, crc32]
        load:
          description: Load of the last 1, 5 and 15 minutes.
          type: list
          elements: float
        releases:
          description:
            - Last entry of the release ledger of each stack, by stack.
            - Its C(outcome) is V(released), V(failed), V(stopped) or V(removed); the latter two mean that somebody did that on purpose.
          type: dict
        stacks:
          description: Source, creation and end of each secret of a stack, by stack and secret; never a value.
          type: dict
          sample: {inventory: {secrets: {tls_key: {source: tls_key, created_epoch_s: 1795169182, expires_epoch_s: 1866449182}}}}
        schedules:
          description: The schedules of each stack, by stack and schedule, also of a stack that the inventory does not name any more.
          type: dict
          sample: {stream_checker: {check: {calendar: "*:0/15", enabled: true, last: {started: "2026-11-20T16:15:03Z", success: true}}}}
        time:
          description: The host's clock.
          type: dict
          contains:
            epoch_s:
              description: Seconds since 1970.
              type: int
        user:
          description: User that the facts were read as.
          type: str
          sample: root
        unknown:
          description: Reasons, by the dotted path of the fact that could not be read or not wholly.
          type: dict
          sample: {images: "/run/docker.sock: permission denied (use become, or put the user into the group docker)"}
        seconds:
          description: Seconds that reading took.
          type: float
          sample: 0.21
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.dockyard.fleet.plugins.module_utils.facts.collect import SECTIONS, Collector


def main():
    module = AnsibleModule(
        argument_spec={
            "gather": {"type": "list", "elements": "str", "choices": list(SECTIONS)},
            "timeout_seconds": {"type": "float", "default": 5},
        },
        supports_check_mode=True,
    )
    if not module.params["timeout_seconds"] > 0:
        module.fail_json(msg="timeout_seconds: found %s, needed: a number above 0" % module.params["timeout_seconds"])
    facts = Collector(gather=module.params["gather"], timeout=module.params["timeout_seconds"]).run()
    module.exit_json(changed=False, ansible_facts={"dockyard_facts": facts})


if __name__ == "__main__":
    main()
