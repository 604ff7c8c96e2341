#!/usr/bin/env bash
# The start program of the Qdrant stand-in.
cd /qdrant && exec ./qdrant "$@"
