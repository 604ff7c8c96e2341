# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller-side work of cloudflare_tunnel: nothing of it, least of all the API token, is sent to a host."""

from __future__ import annotations

import os

from ansible.plugins.action import ActionBase

from ansible_collections.dockyard.fleet.plugins.module_utils.tunnel import api, credentials
from ansible_collections.dockyard.fleet.plugins.module_utils.tunnel.options import ARGUMENTS
from ansible_collections.dockyard.fleet.plugins.module_utils.tunnel.reconcile import Refused, Tunnel


class ActionModule(ActionBase):
    """See the documentation of module cloudflare_tunnel."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        unused, params = self.validate_argument_spec(argument_spec=ARGUMENTS)
        check = self._task.check_mode
        tunnel = None
        try:
            if params["return_credentials"] and not self._task.no_log:
                raise Refused(["return_credentials: found a task whose result is shown; needed no_log: true on it; set no_log, or take return_credentials out"])
            client = self._client(params)
            tunnel = Tunnel(client, params, check)
            result.update(tunnel.present() if params["state"] == "present" else tunnel.absent())
            if params["return_credentials"] and (result["tunnel"] or {}).get("id") and params["state"] == "present":
                result["credentials"] = self._credentials(tunnel, result["tunnel"]["id"])
        except Refused as error:
            result.update(failed=True, changed=False, msg=str(error), problems=error.problems)
            return result
        except api.ApiError as error:
            # Cloudflare has no transactions: what was done before is told with the error.
            done = tunnel.done if tunnel else []
            result.update(failed=True, changed=bool(done) and not check, done=done, problems=[str(error)],
                          msg=str(error) + ("; done before: %s" % ", ".join(done) if done else ""))
            return result
        result.update(changed=bool(tunnel.done), done=tunnel.done)
        if self._task.diff:
            result["diff"] = {"before_header": "tunnel %s" % params["name"], "after_header": "tunnel %s" % params["name"],
                              "before": "".join(line + "\n" for line in tunnel.before), "after": "".join(line + "\n" for line in tunnel.after)}
        return result

    @staticmethod
    def _client(params):
        return api.Client(params["api_token"] or os.environ.get("CLOUDFLARE_API_TOKEN", ""), base_url=params["api_url"], timeout=params["timeout"],
                          retries=params["retries"], ca_path=params["ca_path"])

    @staticmethod
    def _credentials(tunnel, identifier):
        token = tunnel.token(identifier)
        try:
            parts = credentials.of_token(token)
        except ValueError as error:
            raise api.ApiError("Cloudflare, token of tunnel %s: found %s; needed one that runs the tunnel; delete the tunnel and let it be made anew"
                               % (identifier, error)) from None
        return {"token": token, "file": credentials.file_of(parts)}
