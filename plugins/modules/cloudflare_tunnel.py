#!/usr/bin/python
# -*- coding: utf-8 -*-

# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cloudflare_tunnel
short_description: A Cloudflare tunnel and its DNS routes exist as declared
version_added: 0.1.0
author:
  - dockyard.fleet contributors (@dockyard)
description:
  - Finds a tunnel by its name or creates it, and routes hostnames to it by proxied CNAME records to C(<tunnel id>.cfargotunnel.com),
    through Cloudflare's API v4.
  - Runs wholly on the controller and needs no connection to the host. The API token reaches neither the host, nor a command line, log or result.
  - Everything is looked at, and everything that is refused is refused, before the first change.
  - A record of a hostname that is something else (an address, an alias to elsewhere) is refused, unless O(replace) is set.
    A record that this module wrote carries a comment with the tunnel's name; when somebody has changed its target or switched its proxying off, it is repaired.
  - Requests are repeated after status 429 (as long as C(Retry-After) says, at most a minute), 5xx and broken connections.
  - Running the tunnel is the work of role C(tunnel).
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    description: Asks the API, and changes nothing. A tunnel that would be created has no id yet.
    support: full
  diff_mode:
    description: The tunnel, its records and rules, one a line.
    support: full
  platform:
    platforms: posix
options:
  name:
    description: Name of the tunnel in its account.
    type: str
    required: true
  account_id:
    description: Id of the Cloudflare account, 32 hexadecimal digits.
    type: str
    required: true
  api_token:
    description:
      - API token with the rights C(Account > Cloudflare Tunnel > Edit) and C(Zone > DNS > Edit); C(Zone > Zone > Read) too unless O(zone_ids) names the zones.
      - Without it, E(CLOUDFLARE_API_TOKEN) of the controller's environment is used.
    type: str
  state:
    description:
      - V(absent) deletes the tunnel and the records that point to it or carry its comment, in the zones of O(hostnames) and O(zone_ids).
        Nothing else ever deletes a tunnel.
    type: str
    choices: [present, absent]
    default: present
  config:
    description:
      - Where the tunnel's ingress rules are. With V(local), cloudflared reads them from its own file. With V(cloudflare), Cloudflare keeps them,
        and cloudflared needs nothing but a token.
      - Cloudflare can't change this of a tunnel that exists; such a one is refused.
    type: str
    choices: [local, cloudflare]
    default: local
  hostnames:
    description:
      - Names that are routed to the tunnel, in lower case. The first label may be C(*).
    type: list
    elements: str
    default: []
  ingress:
    description:
      - Ingress rules that Cloudflare keeps, for O(config=cloudflare). Each has C(hostname) and C(service), and may have C(path), C(no_tls_verify), C(ca_pool),
        C(server_name), C(host_header), C(connect_timeout) and C(http2). The catch-all C(http_status:404) is added as the last.
      - Without it the rules at Cloudflare are left alone.
    type: list
    elements: dict
  zone_ids:
    description:
      - Ids of the zones by name. A zone that is not among them is asked for by its name.
    type: dict
    default: {}
  replace:
    description:
      - Replace records of the hostnames that are something else. NS records are refused nevertheless.
    type: bool
    default: false
  purge:
    description:
      - Remove records in the zones concerned that point to this tunnel and whose names are not among O(hostnames). Without it they are told in RV(stale).
    type: bool
    default: false
  force:
    description: With O(state=absent), delete a tunnel that cloudflared is connected to.
    type: bool
    default: false
  return_credentials:
    description:
      - Return what runs the tunnel, its token and its credentials file, in RV(credentials).
      - Needs C(no_log=true) on the task, else it is refused.
    type: bool
    default: false
  api_url:
    description: Address of the API. Plain HTTP is refused, except to the controller itself.
    type: str
    default: https://api.cloudflare.com/client/v4
  ca_path:
    description: PEM file on the controller with the certificates of authorities that are trusted for O(api_url). Default are the controller's own.
    type: path
  timeout:
    description: Seconds that one request may take.
    type: int
    default: 30
  retries:
    description: Further tries of a request after a passing failure, 1, 2, 4 and so on seconds apart.
    type: int
    default: 5
seealso:
  - name: Cloudflare API, tunnels
    description: Reference of the requests that this module makes.
    link: https://developers.cloudflare.com/api/resources/zero_trust/subresources/tunnels/
"""

EXAMPLES = r"""
- name: A tunnel with one route
  dockyard.fleet.cloudflare_tunnel:
    name: home-pi
    account_id: 0123456789abcdef0123456789abcdef
    api_token: "{{ vault_cloudflare_token }}"
    hostnames: [things.example.com]
  register: tunnel

- name: Read what runs it
  dockyard.fleet.cloudflare_tunnel:
    name: home-pi
    account_id: 0123456789abcdef0123456789abcdef
    api_token: "{{ vault_cloudflare_token }}"
    hostnames: [things.example.com]
    return_credentials: true
  register: secret_tunnel
  no_log: true

- name: A tunnel whose rules Cloudflare keeps
  dockyard.fleet.cloudflare_tunnel:
    name: kiosk
    account_id: 0123456789abcdef0123456789abcdef
    config: cloudflare
    hostnames: [kiosk.example.com]
    ingress:
      - hostname: kiosk.example.com
        service: http://web:8080

- name: Delete a tunnel and its routes
  dockyard.fleet.cloudflare_tunnel:
    name: home-pi
    account_id: 0123456789abcdef0123456789abcdef
    api_token: "{{ vault_cloudflare_token }}"
    hostnames: [things.example.com]
    state: absent
"""

RETURN = r"""
tunnel:
  description: The tunnel; without an C(id) when it would be created (check mode), and nothing when O(state=absent) found none.
  type: dict
  returned: success
  sample: {id: f70ff985-a4ef-4643-bbbc-4a0ed4fc8415, name: home-pi, config: local, status: healthy, action: found}
target:
  description: What the records point to.
  type: str
  returned: success
  sample: f70ff985-a4ef-4643-bbbc-4a0ed4fc8415.cfargotunnel.com
routes:
  description: The routed hostnames; C(action) is C(keep), C(create), C(update) or C(recreate).
  type: list
  elements: dict
  returned: success
  sample:
    - {hostname: things.example.com, zone: example.com, zone_id: 023e105f4ecef8ad9ca31a8372d0c353, record_id: 372e67954025e0ba6aaa6d586b9e0b59, action: keep}
stale:
  description: Names in the zones concerned that are routed to this tunnel and are not among O(hostnames).
  type: list
  elements: str
  returned: success
done:
  description: What was (check mode - would be) changed, one sentence each.
  type: list
  elements: str
  returned: success
  sample: ["tunnel home-pi created"]
problems:
  description: What was refused, one sentence each with where, found, needed and the setting that changes it. Nothing was changed.
  type: list
  elements: str
  returned: failure
credentials:
  description: With O(return_credentials), the C(token) and the text of the credentials C(file); secrets.
  type: dict
  returned: when asked for, and the tunnel exists
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dockyard.fleet.plugins.module_utils.tunnel.options import ARGUMENTS


def main():
    """The work is done by the action plugin of the same name; this half only carries the documentation and the argument spec."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    module.fail_json(msg="cloudflare_tunnel works on the controller: call it as dockyard.fleet.cloudflare_tunnel from a playbook, "
                         "where its action plugin is found")


if __name__ == "__main__":
    main()
