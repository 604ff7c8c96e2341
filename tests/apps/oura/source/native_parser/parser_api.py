# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-in of the parser's API: the same routes, answers and failure modes, own code."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from oura.analysis.sleep import SleepAnalyzer
from oura.data.reader import RingDataReader
from oura.native.parser import check_parser_available, parse_events_sync

app = FastAPI(title="Parser API (stand-in)")
INPUT_DIR = Path("/app/input_data")
DATA_FILE = INPUT_DIR / "ring_data.pb"


class Health(BaseModel):
    status: str
    parser_available: bool
    parser_message: str
    data_file_exists: bool


class Parsed(BaseModel):
    success: bool
    input_events: int
    output_size: int
    output_path: str
    error: str | None
    duration_sec: float


@app.get("/health", response_model=Health)
async def health():
    """200 whatever happens; the truth is in the body."""
    available, message = check_parser_available()
    return Health(status="healthy", parser_available=available, parser_message=message, data_file_exists=DATA_FILE.exists())


@app.post("/parse", response_model=Parsed)
async def parse():
    """Events file to protocol buffer, beside it. An output of nothing but the header is called a success."""
    available, message = check_parser_available()
    if not available:
        raise HTTPException(status_code=503, detail=f"Parser not available: {message}")
    if not (INPUT_DIR / "ring_events.txt").exists():
        raise HTTPException(status_code=404, detail="ring_events.txt not found in input_data/")
    result = parse_events_sync()
    return Parsed(success=result.success, input_events=result.input_events, output_size=result.output_size,
                  output_path=str(result.output_path), error=result.error, duration_sec=result.duration_sec)


@app.post("/ml/sleep-stages")
async def sleep_stages(night: int = -1):
    """500 without torch or without the model."""
    if not DATA_FILE.exists():
        raise HTTPException(status_code=404, detail="ring_data.pb not found. Run /parse first.")
    try:
        analyzer = SleepAnalyzer(RingDataReader(str(DATA_FILE)), night_index=night)
        return {"night_index": night, "epochs": [int(stage) for stage in analyzer.stages], "uses_ml": analyzer.uses_ml}
    except Exception as error:
        raise HTTPException(status_code=500, detail=str(error)) from error


@app.get("/nights")
async def nights():
    """500 as in the real one, which calls a method that is not there."""
    if not DATA_FILE.exists():
        raise HTTPException(status_code=404, detail="ring_data.pb not found")
    try:
        return {"nights": RingDataReader(str(DATA_FILE)).get_sleep_data()}
    except Exception as error:
        raise HTTPException(status_code=500, detail=str(error)) from error
