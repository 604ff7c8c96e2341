# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-in of the source's own job: its update is no SPARQL, it sends no login, and it ends with 0 whatever happens."""

import argparse

import requests

ONTOLOGY = """
@prefix emo: <http://emorobcare.org/ontology#> .
@prefix owl: <http://www.w3.org/2002/07/owl#> .
emo:Child a owl:Class .
"""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--action", choices=["init", "stats"], required=True)
    parser.add_argument("--fuseki-url", default="http://localhost:3030")
    parser.add_argument("--dataset", default="emorobcare")
    options = parser.parse_args()
    try:
        answer = requests.post(f"{options.fuseki_url}/{options.dataset}/update", data={"update": f"INSERT DATA {{ {ONTOLOGY} }}"})
        good = answer.status_code == 200
    except requests.RequestException:
        good = False
    print(f"Ontology initialization: {'SUCCESS' if good else 'FAILED'}")


if __name__ == "__main__":
    main()
