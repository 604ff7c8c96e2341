# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small decisions of role stack, as filters."""

from __future__ import annotations

import time

from ansible.errors import AnsibleFilterError
from ansible_collections.dockyard.fleet.plugins.module_utils.stacks.definition import variable_of
from ansible_collections.dockyard.fleet.plugins.module_utils.stacks.proof import problems_of_answer, secrets_for_release, tls_is_due


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


def stacks_of_facts(facts):
    """How the stacks of a host stand by its facts alone, in the form of :func:`stack_summary`."""
    summary = {}
    for stack, entry in ((facts.get("releases") or {}).items()):
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
        summary[stack] = {
            "environment": (entry or {}).get("environment"), "revision": (entry or {}).get("revision"), "urls": [], "services": services,
            "healthy": len(well), "wanted": len(wanted), "tools_only": bool(tools) and not (entry or {}).get("all_services"), "changed": False,
            "limits_missing": [], "changed_services": {}, "release": (entry or {}).get("number"),
        }
    return summary


class FilterModule:
    """The filters by name."""

    def filters(self):
        return {
            "stack_tls_due": stack_tls_due, "stack_secrets": stack_secrets, "stack_answer_problems": stack_answer_problems,
            "stack_image_variables": stack_image_variables, "stack_artifact_variables": stack_artifact_variables, "stack_summary": stack_summary,
            "stacks_of_facts": stacks_of_facts,
        }
