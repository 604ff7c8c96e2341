# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A version that does not get well goes away by itself, and says why."""

from __future__ import annotations

import json

from fleet import copy_source


def test_a_sick_version_makes_room_for_the_last_good_one(converged, tmp_path):
    host = converged.a
    good = host.sh("docker inspect -f '{{.Config.Image}}' inventory-app-1")
    source = copy_source(tmp_path, {"src/routes/admin_routes.py": (
        'return jsonify(dict(answer, status="healthy", database="ok"))',
        'print("the flux capacitor is cold", flush=True); return jsonify(dict(answer, status="unhealthy", error="no flux")), 503')})
    run = converged.deploy("-e", f"dockyard_source_inventory={source}", "-e", "stack_timeout_seconds=25")
    assert run.code != 0 and run.failures == 1, run.output[-6000:]
    run.says("app", "not healthy within 25 s", "stack_timeout_seconds", "health check said", "503", "no flux", "last log lines", "the flux capacitor is cold")

    host.wait_healthy()
    assert host.sh("docker inspect -f '{{.Config.Image}}' inventory-app-1") == good
    host.whole()
    entry = json.loads(host.sh("tail -n 1 /var/lib/dockyard/releases/inventory.jsonl"))
    assert entry["outcome"] == "failed"

    converged.deploy().good()
    assert host.healthy()
    converged.unchanged()


def test_a_setting_that_breaks_the_stack(converged):
    host = converged.a
    run = converged.deploy("-e", '{"dockyard_env_inventory": {"app": {"WEB_WORKERS": "many"}}}', "-e", "stack_timeout_seconds=20")
    assert run.code != 0 and run.failures == 1, run.output[-6000:]
    run.says("app: state restarting", "restarted ", "last log lines", "invalid int value: 'many'")
    host.wait_healthy()
    converged.deploy().good()
    assert host.healthy()
