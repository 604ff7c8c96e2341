# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`--check --diff` tells what would happen, and does nothing."""

from __future__ import annotations

from fleet import copy_source


def test_nothing_to_do(converged):
    before = converged.a.state()
    converged.unchanged("--check", "--diff")
    assert converged.a.state() == before
    converged.clean = True


def test_one_edited_value(converged):
    before = converged.a.state()
    run = converged.deploy("--check", "--diff", "-e", '{"dockyard_env_inventory": {"app": {"WEB_WORKERS": "3"}}}').good()
    assert run.changed == {converged.a.name: 1}, run.output
    run.says("app.env", "WEB_WORKERS", "files: app.env", "services: app (changed)")
    # Values in env files may be somebody's secrets.
    assert "GUNICORN_TIMEOUT=600" not in run.output
    assert converged.a.state() == before
    converged.clean = True


def test_a_new_version(converged, tmp_path):
    source = copy_source(tmp_path, {"src/templates/home.html": ("<h1>", "<h1>Checked version: ")})
    before = converged.a.state()
    run = converged.deploy("--check", "--diff", "-e", f"dockyard_source_inventory={source}").good()
    run.says("inventory/app", "services: app (changed)")
    assert converged.a.state() == before
    converged.clean = True
