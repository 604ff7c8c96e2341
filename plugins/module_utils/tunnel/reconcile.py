# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One tunnel and its routes brought to what they shall be, through the API's door.

Everything is looked at, and everything that is refused is refused, before the first change.
"""

from __future__ import annotations

import re

from ansible_collections.dockyard.fleet.plugins.module_utils.tunnel import api, credentials, ingress, routes

TARGET = "%s.cfargotunnel.com"
NAME_TAKEN = 1013
RECORD_TAKEN = (81053, 81054, 81057, 81058)


class Refused(Exception):
    """Nothing was changed. ``problems`` is a list of str."""

    def __init__(self, problems):
        super().__init__("; ".join(problems))
        self.problems = problems


class Tunnel:
    """One tunnel of one account.

    :arg client: :class:`api.Client`. :arg params: dict, the module's options. :arg check: bool, whether nothing may be changed.
    """

    def __init__(self, client, params, check):
        self.client = client
        self.check = check
        self.account = params["account_id"]
        self.name = params["name"]
        self.config = params["config"]
        self.hostnames = list(dict.fromkeys(params["hostnames"]))
        self.rules = params["ingress"]
        self.replace = params["replace"]
        self.purge = params["purge"]
        self.force = params["force"]
        self.zone_ids = dict(params["zone_ids"])
        self.mark = routes.mark_of(self.name)
        self.base = "/accounts/%s/cfd_tunnel" % self.account
        self.done, self.before, self.after, self.kept = [], [], [], {}

    # ---- what is there -----------------------------------------------------------------------------------------------

    def check_options(self):
        """:raises Refused: all that can be seen without asking."""
        problems = []
        if not re.match(r"^[0-9a-f]{32}\Z", self.account or ""):
            problems.append("account_id: found %r; needed 32 hexadecimal digits (the dashboard's Overview page shows it); set account_id" % self.account)
        if not self.name or re.match(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z", self.name) or len(self.name) > 100:
            problems.append("name: found %r; needed 1 to 100 characters that are no tunnel's id; set name" % self.name)
        for hostname in self.hostnames:
            trouble = routes.hostname_problem(hostname)
            if trouble:
                problems.append("hostnames: found %s; needed the name under which a service is reached; correct hostnames" % trouble)
        for zone, identifier in sorted(self.zone_ids.items()):
            if not re.match(r"^[0-9a-f]{32}\Z", str(identifier)):
                problems.append("zone_ids.%s: found %r; needed 32 hexadecimal digits; correct zone_ids" % (zone, identifier))
        if self.rules is not None:
            if self.config != "cloudflare":
                problems.append("ingress: found rules for a tunnel with config: local, which reads them from its own file; needed config: cloudflare; "
                                "set config, or take ingress out")
            problems += ingress.problems_of([dict({"from": "ingress[%d]" % index}, **rule) for index, rule in enumerate(self.rules)])
        if problems:
            raise Refused(problems)

    def find(self):
        """The tunnel of that name, or None. :returns: dict of the API."""
        listed = self.client.listed(self.base, {"name": self.name, "is_deleted": "false"})
        found = [tunnel for tunnel in listed if tunnel.get("name") == self.name and not tunnel.get("deleted_at")]
        return found[0] if found else None

    def zones(self, names):
        """Which zone each hostname is in.

        :returns: (dict of hostname to (zone name, zone id), list of str problems)
        """
        asked, found, problems = {}, {}, []
        for hostname in names:
            candidates = routes.zone_names(hostname)
            given = [name for name in candidates if name in self.zone_ids]
            if given:
                found[hostname] = (given[0], self.zone_ids[given[0]])
                continue
            for name in candidates:
                if name not in asked:
                    listed = [zone["id"] for zone in self.client.listed("/zones", {"name": name}) if zone.get("name") == name]
                    asked[name] = listed[0] if listed else None
                if asked[name]:
                    found[hostname] = (name, asked[name])
                    break
            else:
                problems.append("%s: found no zone of it that the API token may read; needed one of %s in this account; "
                                "set zone_ids (role: tunnel_zone_ids), or give the token the right Zone > Zone > Read" % (hostname, ", ".join(candidates)))
        return found, problems

    def records(self, zone, query):
        # A record that somebody makes while the pages are read moves the others on, so that one may stand on two of them.
        return list({record["id"]: record for record in self.client.listed("/zones/%s/dns_records" % zone, query)}.values())

    def records_of(self, zone, hostname):
        """The records of one name; the filter is Cloudflare's, the comparison ours."""
        return [record for record in self.records(zone, {"name": hostname}) if record.get("name", "").lower() == hostname]

    # ---- changes -----------------------------------------------------------------------------------------------------

    def change(self, sentence, method, path, body=None):
        """Do one thing, or only say it in check mode. :returns: the ``result``, or None in check mode."""
        result = None if self.check else self.client.call(method, path, body=body).get("result")
        self.done.append(sentence)
        return result

    def create_tunnel(self):
        """:returns: dict of the API, or None in check mode."""
        sentence = "tunnel %s created" % self.name
        if self.check:
            self.done.append(sentence)
            return None
        body = {"name": self.name, "config_src": self.config}
        if self.config == "local":
            body["tunnel_secret"] = credentials.new_secret()
        try:
            found = self.client.call("POST", self.base, body=body)["result"]
        except api.ApiError as error:
            # Made by a first try whose answer was lost, or by another run in this very moment.
            found = self.find() if NAME_TAKEN in error.codes or error.status == 409 else None
            if found is None:
                raise
        self.done.append(sentence)
        return found

    def create_record(self, zone, record):
        try:
            return self.change("%s created" % routes.shown(record), "POST", "/zones/%s/dns_records" % zone, record)
        except api.ApiError as error:
            if self.client.repeated and set(error.codes) & set(RECORD_TAKEN):
                for found in self.records_of(zone, record["name"]):
                    if all(found.get(key) == record[key] for key in ("type", "content", "proxied")):
                        self.done.append("%s created" % routes.shown(record))
                        return found
            raise

    def delete(self, sentence, path):
        """Delete one thing; that a repeated question finds it gone is the answer that was lost."""
        try:
            self.change(sentence, "DELETE", path)
        except api.ApiError as error:
            if not (self.client.repeated and error.status == 404):
                raise
            self.done.append(sentence)

    def remove_record(self, zone, record):
        self.before.append(routes.shown(record))
        self.delete("%s removed" % routes.shown(record), "/zones/%s/dns_records/%s" % (zone, record["id"]))

    def route(self, hostname, zone, decision, target):
        """Carry out one decision of :func:`routes.decide`. :returns: dict for the result."""
        wanted = routes.wanted_record(hostname, target or TARGET % "(a new tunnel)", self.mark)
        action, record = decision["action"], decision["record"]
        for other in decision["remove"]:
            self.remove_record(zone[1], other)
        if action in ("create", "recreate"):
            self.after.append(routes.shown(wanted))
            record = self.create_record(zone[1], wanted) or {}
        else:
            self.before.append(routes.shown(record))
            after = dict(record, **decision["changes"])
            self.after.append(routes.shown(after))
            if decision["changes"]:
                self.change("%s becomes %s" % (routes.shown(record), routes.shown(after)), "PATCH",
                            "/zones/%s/dns_records/%s" % (zone[1], record["id"]), decision["changes"])
        return {"hostname": hostname, "zone": zone[0], "zone_id": zone[1], "record_id": record.get("id"), "action": action}

    # ---- the two states ----------------------------------------------------------------------------------------------

    def present(self):
        """:returns: dict, the result without ``changed``."""
        self.check_options()
        zones, problems = self.zones(self.hostnames)
        tunnel = self.find()
        target = TARGET % tunnel["id"] if tunnel else None
        if tunnel and tunnel.get("remote_config") is not None and tunnel["remote_config"] != (self.config == "cloudflare"):
            problems.append("tunnel %s: found one that is configured %s; needed config: %s, which Cloudflare can't change of a tunnel that is there; "
                            "set config, or name another tunnel"
                            % (self.name, "at Cloudflare (remotely)" if tunnel["remote_config"] else "locally", self.config))
        decisions = {}
        for hostname in self.hostnames:
            if hostname in zones:
                decision = routes.decide(hostname, target, self.mark, self.records_of(zones[hostname][1], hostname), self.replace)
                decisions[hostname] = decision
                if decision["action"] == "refuse":
                    problems.append(routes.refusal(hostname, decision["foreign"], not any(record["type"] == "NS" for record in decision["foreign"])))
        stale = self.stale(target, zones)
        if problems:
            raise Refused(problems)
        if tunnel:
            self.before.append("tunnel %s" % self.name)
        self.after.append("tunnel %s" % self.name)
        created = tunnel is None
        if created:
            tunnel = self.create_tunnel()
            target = TARGET % tunnel["id"] if tunnel else None
            for decision in decisions.values():
                if "content" in decision["changes"]:
                    decision["changes"]["content"] = target or TARGET % "(a new tunnel)"
        self.configure(tunnel)
        found = [self.route(hostname, zones[hostname], decisions[hostname], target) for hostname in self.hostnames]
        for zone, record in stale:
            if self.purge:
                self.remove_record(zone, record)
        return {"tunnel": self.shown(tunnel, "created" if created else "found"), "routes": found, "target": target,
                "stale": [] if self.purge else sorted(record["name"] for unused, record in stale)}

    def stale(self, target, zones):
        """Aliases to this tunnel in the zones concerned whose names are not wanted. :returns: list of (zone id, record)."""
        if target is None:
            return []
        found = []
        for zone in sorted(set(identifier for unused, identifier in zones.values()) | set(self.zone_ids.values())):
            for record in self.records(zone, {"type": "CNAME", "content": target}):
                if record.get("type") == "CNAME" and record.get("content") == target and record.get("name") not in self.hostnames:
                    found.append((zone, record))
        return found

    def configure(self, tunnel):
        """The ingress rules of a tunnel that Cloudflare keeps them for."""
        if self.rules is None:
            return
        wanted = ingress.entries(self.rules)
        path = "%s/%s/configurations" % (self.base, tunnel["id"] if tunnel else "")
        answer = (self.client.get(path) or {}) if tunnel else {}
        config = answer.get("config") or {}
        found = [{key: value for key, value in rule.items() if value not in (None, {}, "")} for rule in config.get("ingress") or []]
        self.before += ["rule %s" % rule for rule in found]
        self.after += ["rule %s" % rule for rule in wanted]
        if found != wanted:
            # What else is in it (the tunnel's originRequest, warp-routing) stays.
            self.change("%d ingress rules written to Cloudflare" % len(wanted), "PUT", path, {"config": dict(config, ingress=wanted)})

    def absent(self):
        """:returns: dict, the result without ``changed``."""
        self.rules = None
        self.check_options()
        zones, problems = self.zones(self.hostnames)
        if problems:
            raise Refused(problems)
        tunnel = self.find()
        target = TARGET % tunnel["id"] if tunnel else None
        # In check mode whoever stops cloudflared before has not stopped it.
        if tunnel and tunnel.get("connections") and not self.force and not self.check:
            raise Refused(["tunnel %s: found %d connections of running cloudflared; needed none; stop it first, or set force (role: tunnel_force) to true"
                           % (self.name, len(tunnel["connections"]))])
        going = {}
        for hostname in self.hostnames:
            for record in self.records_of(zones[hostname][1], hostname):
                if record.get("type") in routes.ADDRESSES and routes.is_ours(record, target, self.mark):
                    going[record["id"]] = (zones[hostname][1], record)
        for zone, record in self.stale(target, zones):
            going[record["id"]] = (zone, record)
        for zone, record in going.values():
            self.remove_record(zone, record)
        if tunnel:
            self.before.append("tunnel %s" % self.name)
            if self.force and (tunnel.get("connections") or not self.check):
                self.change("connections of tunnel %s ended" % self.name, "DELETE", "%s/%s/connections" % (self.base, tunnel["id"]))
            self.delete("tunnel %s deleted" % self.name, "%s/%s" % (self.base, tunnel["id"]))
        return {"tunnel": self.shown(tunnel, "deleted") if tunnel else None, "routes": [], "target": None, "stale": []}

    def token(self, tunnel):
        """The token that runs a tunnel. :returns: str, a secret."""
        return self.client.get("%s/%s/token" % (self.base, tunnel))

    def shown(self, tunnel, action):
        """What the result tells of a tunnel: never its token or credentials, which the answer to its creation holds."""
        tunnel = tunnel or {}
        return {"id": tunnel.get("id"), "name": self.name, "config": self.config, "status": tunnel.get("status"), "action": action}
