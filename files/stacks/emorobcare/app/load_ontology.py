# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one-shot job: puts the ontology into Fuseki, counts what arrived, and fails when anything is not as it should be.

The ontology is kept in a graph of its own, and copied from there into the default graph, where the application's queries look. So the next
release takes exactly the former ontology out again and leaves the application's own triples alone. A plain PUT to the default graph would
remove them; a plain POST would add the ontology's nodes without a name once more each time.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

GRAPH = "urn:dockyard:emorobcare:ontology"
REQUEST_SECONDS = 60
IN_DEFAULT = "GRAPH <%s> { ?s ?p ?o } ?s ?p ?o" % GRAPH


class LoadError(Exception):
    """The ontology is not in Fuseki."""


def parse(path):
    """The number of triples of the ontology, and its text.

    :raises LoadError: it is no Turtle, or has no triples.
    """
    import rdflib
    try:
        with open(path, encoding="utf-8") as stream:
            text = stream.read()
        count = len(rdflib.Graph().parse(data=text, format="turtle"))
    except OSError as error:
        raise LoadError("%s: cannot be read: %s" % (path, error)) from error
    except Exception as error:  # pylint: disable=broad-except  # the parser has errors of its own kinds
        raise LoadError("%s: found no valid Turtle: %s; mend ontology/memoria.ttl in the source that dockyard_source_emorobcare names"
                        % (path, " ".join(str(error).split())[:300])) from error
    if count == 0:
        raise LoadError("%s: found 0 triples; needed at least one; mend ontology/memoria.ttl in the source that dockyard_source_emorobcare names" % path)
    return count, text


class Fuseki:
    """One dataset, with a login."""

    def __init__(self, url, dataset, user, password):
        self.base = "%s/%s" % (url.rstrip("/"), dataset)
        self.authorization = "Basic " + base64.b64encode(("%s:%s" % (user, password)).encode()).decode()
        # Never by a proxy of the environment: the server is a neighbour.
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def request(self, method, path, body, headers):
        """The answer's body. Raises LoadError with what the server said."""
        request = urllib.request.Request(self.base + path, data=body, method=method, headers=dict(headers, Authorization=self.authorization))
        try:
            with self.opener.open(request, timeout=REQUEST_SECONDS) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            said = " ".join(error.read(2000).decode("utf-8", "replace").split())[:300]
            raise LoadError("%s %s%s: found status %d (%s); needed 2xx" % (method, self.base, path.partition("?")[0], error.code, said)) from error
        except OSError as error:
            raise LoadError("%s %s: %s" % (method, self.base, error)) from error

    def update(self, text):
        self.request("POST", "/update", text.encode(), {"Content-Type": "application/sparql-update"})

    def put(self, graph, text):
        self.request("PUT", "/data?" + urllib.parse.urlencode({"graph": graph}), text.encode(), {"Content-Type": "text/turtle; charset=utf-8"})

    def count(self, pattern):
        """The number of triples that a pattern finds."""
        query = "SELECT (COUNT(*) AS ?n) WHERE { %s }" % pattern
        answer = self.request("POST", "/query", urllib.parse.urlencode({"query": query}).encode(),
                              {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/sparql-results+json"})
        try:
            return int(json.loads(answer)["results"]["bindings"][0]["n"]["value"])
        except (ValueError, KeyError, IndexError) as error:
            raise LoadError("%s/query: found an answer that is no count: %.200r" % (self.base, answer)) from error


def expect(what, found, needed):
    if found != needed:
        raise LoadError("%s: found %d triples; needed %d" % (what, found, needed))


def load(fuseki, path):
    """Replace the ontology by that of a file.

    :returns: dict with what is there now.
    """
    count, text = parse(path)
    fuseki.update("DELETE { ?s ?p ?o } WHERE { GRAPH <%s> { ?s ?p ?o } }" % GRAPH)
    fuseki.put(GRAPH, text)
    expect("graph of the ontology", fuseki.count("GRAPH <%s> { ?s ?p ?o }" % GRAPH), count)
    fuseki.update("INSERT { ?s ?p ?o } WHERE { GRAPH <%s> { ?s ?p ?o } }" % GRAPH)
    return check(fuseki, path)


def check(fuseki, path):
    """Whether the ontology of a file is what Fuseki has, triple by triple as far as they can be told apart."""
    count, unused = parse(path)
    expect("ontology in the default graph", fuseki.count(IN_DEFAULT), count)
    return {"status": "loaded", "ontology": count, "triples": fuseki.count("?s ?p ?o")}


def wait(fuseki, seconds):
    """Return when Fuseki answers a query; it may still be starting when the job is run by hand."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return fuseki.count("?s ?p ?o . FILTER(false)")
        except LoadError:
            if time.monotonic() > deadline:
                raise
        time.sleep(1)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["load", "check"], help="load the ontology, or only look whether it is there")
    parser.add_argument("--file", default="/opt/dockyard/ontology.ttl")
    parser.add_argument("--wait-seconds", type=int, default=30)
    options = parser.parse_args(argv)
    environment = os.environ
    try:
        path = environment.get("FUSEKI_PASSWORD_FILE", "/run/secrets/fuseki_admin_password")
        try:
            with open(path, encoding="utf-8") as stream:
                password = stream.read().strip()
        except OSError as error:
            raise LoadError("%s: no password of Fuseki can be read: %s" % (path, error)) from error
        fuseki = Fuseki(environment.get("FUSEKI_URL", "http://fuseki:3030"), environment.get("FUSEKI_DATASET", "emorobcare"),
                        environment.get("FUSEKI_USER", "admin"), password)
        parse(options.file)
        wait(fuseki, options.wait_seconds)
        print(json.dumps({"load": load, "check": check}[options.action](fuseki, options.file)))
    except LoadError as error:
        print("fuseki-job: %s" % error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
