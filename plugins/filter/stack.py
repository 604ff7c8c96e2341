# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small decisions of role stack, as filters."""

from __future__ import annotations

import time

from ansible.errors import AnsibleFilterError
from ansible_collections.dockyard.fleet.plugins.module_utils.release import ledger
from ansible_collections.dockyard.fleet.plugins.module_utils.stacks.definition import variable_of
from ansible_collections.dockyard.fleet.plugins.module_utils.stacks.proof import problems_of_answer, secrets_for_release, tls_is_due
from ansible_collections.dockyard.fleet.plugins.module_utils.tunnel.service import PROJECT as TUNNEL_PROJECT


def stack_tls_due(plans, facts, given):
    """The plans whose self-signed certificate has to be made now."""
    stacks = (facts or {}).get("stacks") or {}
    now = int(time.time())
    return [plan for plan in plans
            if tls_is_due(plan, (stacks.get(plan["name"]) or {}).get("secrets") or {}, (given or {}).get(plan["name"]) or {}, now)]


def stack_secrets(plan, given, made):
    """The option ``secrets`` of module release for one plan."""
    return secrets_for_release(plan, (given or {}).get(plan["name"]) or {}, (made or {}).get(plan["name"]) or {})


def stack_answer_problems(answer, entry):
    """What is wrong with the answer of ansible.builtin.uri to one entry of ``prove``."""
    return problems_of_answer(entry, int(answer.get("status", -1)), answer.get("content") or "")


def stack_image_variables(plan, images):
    """The Compose variables of a plan's images: ``{APP_IMAGE: reference}``."""
    found = (images or {}).get(plan["name"]) or {}
    # A build's exact reference is known only by role images; its repository alone would be another image, or none.
    references = dict((entry["name"], entry["reference"]) for entry in plan["images"] if entry["how"] == "pull")
    references.update((name, entry["reference"]) for name, entry in found.items() if (entry or {}).get("reference"))
    missing = sorted(set(plan["image_variables"].values()) - set(references))
    if missing:
        raise AnsibleFilterError("%s: found no reference of the built image(s) %s; needed the result of role images; give it as stack_images, "
                                 "and don't leave the tag images out" % (plan["name"], ", ".join(missing)))
    return dict((variable, references[name]) for variable, name in plan["image_variables"].items())


def stack_artifact_variables(plan, artifacts):
    """The Compose variables of a plan's artifacts: ``{OURA_MODELS_DIR: path on the host}``."""
    found = (artifacts or {}).get(plan["name"]) or {}
    missing = sorted(entry["name"] for entry in plan.get("artifacts") or [] if not (found.get(entry["name"]) or {}).get("path"))
    if missing:
        raise AnsibleFilterError("%s: found no path of the artifact(s) %s; needed the result of role artifacts; give it as stack_artifacts, "
                                 "and don't leave the tag artifacts out" % (plan["name"], ", ".join(missing)))
    return dict((entry["variable"], found[entry["name"]]["path"]) for entry in plan.get("artifacts") or [])


def stack_summary(results, plans):
    """The results of the release loop as the report needs them, by stack; secrets and file contents left out."""
    summary = {}
    for result in results:
        plan = [plan for plan in plans if plan["name"] == result["item"]][0]
        services = result.get("services") or {}
        well = [name for name, entry in services.items() if entry.get("health") in ("healthy", "none") or name in plan["jobs"]]
        tools = plan.get("tools") or []
        summary[plan["name"]] = {
            "environment": plan["environment"], "revision": plan["revision"], "urls": plan["urls"], "services": services,
            "healthy": len(well), "wanted": len(plan["services"]) + len(tools), "tools_only": bool(tools) and not plan["services"],
            "changed": bool(result.get("changed")),
            "limits_missing": plan["limits_missing"], "changed_services": result.get("changed_services") or {},
            "release": (result.get("release") or {}).get("number"),
        }
    return summary


def stacks_of_facts(facts, names=None):
    """How the stacks of a host stand by its facts alone, in the form of :func:`stack_summary`.

    A stack that was stopped on purpose has ``ended`` and is well when nothing of it runs; a removed one is there while it has volumes or schedules.

    :kwarg names: the stacks that are wanted, all without.
    """
    summary = {}
    for stack, entry in ((facts.get("releases") or {}).items()):
        if names is not None and stack not in names:
            continue
        volumes = sum(1 for volume in facts.get("volumes") or [] if volume.get("project") == stack)
        services, ended = {}, set()
        for container in facts.get("containers") or []:
            if container.get("project") == stack and not container.get("oneoff"):
                services[container["service"]] = {"state": container["state"], "health": container.get("health") or "none", "image": container["image"]}
                if container["state"] == "exited" and (container.get("status") or "").startswith("Exited (0)"):
                    ended.add(container["service"])
        tools = (entry or {}).get("tools") or []
        known = set(name for image in facts.get("images") or [] for name in (image.get("tags") or []) + (image.get("digests") or []))
        for tool in tools:
            # A tool runs only when somebody wants it; it could, with its image here.
            image = ((entry or {}).get("images") or {}).get(variable_of(tool))
            services[tool] = {"state": "ready" if image in known else "no image", "health": "none", "image": image}
        wanted = sorted(set((entry or {}).get("all_services") or ([] if tools else services)) | set(tools))
        well = [name for name in wanted if services.get(name, {}).get("health") in ("healthy", "none")
                and (services[name]["state"] in ("running", "ready") or (name in ended and name in (entry or {}).get("jobs", [])))]
        schedules = (facts.get("schedules") or {}).get(stack) or {}
        summary[stack] = {
            "environment": (entry or {}).get("environment"), "revision": (entry or {}).get("revision"), "urls": [], "services": services,
            "healthy": len(well), "wanted": len(wanted), "tools_only": bool(tools) and not (entry or {}).get("all_services"), "changed": False,
            "limits_missing": [], "changed_services": {}, "release": (entry or {}).get("number"), "schedules": schedules,
        }
        if ledger.is_ended(entry):
            running = sorted(name for name, service in services.items() if service["state"] in ("running", "restarting", "paused"))
            summary[stack]["ended"] = {"outcome": entry["outcome"], "by": entry.get("by"), "time_epoch_s": entry.get("time_epoch_s"),
                                       "running": running, "volumes": volumes}
            if entry["outcome"] == ledger.REMOVED and not (running or volumes or schedules):
                del summary[stack]
    return summary


def _known(facts):
    """The stacks of which a host has anything, sorted."""
    return sorted(set(facts.get("releases") or {}) | set(facts.get("stacks") or {}) | set(facts.get("schedules") or {}))


def stacks_to_stop(facts, asked, listed, all_facts=None):
    """The stacks of a host that playbooks/stop.yml is asked to stop.

    :arg asked: names with commas, ``all``, or ``unlisted`` (those that are not in ``listed`` any more).
    :arg listed: ``dockyard_stacks`` of the host, a list or names with commas.
        The host's cloudflared is none of them: a name takes it away, or tunnel_state.
    :kwarg all_facts: the facts of all hosts of the run; a name that none of them has is refused.
    """
    known = _known(facts)
    everywhere = sorted(set(name for other in all_facts or [facts] for name in _known(other)))
    names = [name.strip() for name in str(asked or "").split(",") if name.strip()]
    listed = [name.strip() for name in listed.split(",")] if isinstance(listed, str) else listed
    if not names:
        raise AnsibleFilterError("found no stack to stop; needed the name of one: -e stack=..., or stack=all, or stack=unlisted (those that are not in "
                                 "dockyard_stacks any more); the host has: %s" % (", ".join(known) or "none"))
    if names == ["all"]:
        return known
    if names == ["unlisted"]:
        if listed is None:
            raise AnsibleFilterError("found stack=unlisted and no dockyard_stacks for this host, so that each of its stacks would be meant (%s); needed the "
                                     "list of those that stay; set dockyard_stacks, or say -e stack=all" % (", ".join(known) or "none"))
        return [] if listed == ["all"] else [name for name in known if name not in listed and name != TUNNEL_PROJECT]
    unknown = sorted(set(names) - set(everywhere))
    if unknown:
        raise AnsibleFilterError("found the unknown stack %s; needed one of: %s; correct -e stack=..." % (", ".join(unknown), ", ".join(everywhere) or "none"))
    return [name for name in dict.fromkeys(names) if name in known]


class FilterModule:
    """The filters by name."""

    def filters(self):
        return {
            "stack_tls_due": stack_tls_due, "stack_secrets": stack_secrets, "stack_answer_problems": stack_answer_problems,
            "stack_image_variables": stack_image_variables, "stack_artifact_variables": stack_artifact_variables, "stack_summary": stack_summary,
            "stacks_of_facts": stacks_of_facts, "stacks_to_stop": stacks_to_stop,
        }
