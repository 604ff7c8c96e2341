# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-in of the web backend: the same routes, the parser's address written into the code, and the built pages served by itself."""

from __future__ import annotations

import sys
from pathlib import Path

from fastapi import FastAPI, HTTPException, WebSocket, WebSocketDisconnect
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
import httpx

# Docker Parser API URL (parser + ML run in Docker with QEMU)
PARSER_API_URL = "http://localhost:8001"

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from oura import RingDataReader
from oura.analysis.sleep import SleepAnalyzer

try:
    from oura.ble import bonding
    from webapp.backend.ble_handler import ble_manager
    BLE_AVAILABLE = True
except ImportError:
    BLE_AVAILABLE = False
    ble_manager = bonding = None

app = FastAPI(title="Ring data (stand-in)")
app.add_middleware(CORSMiddleware, allow_origins=["http://localhost:3000", "http://localhost:5173"], allow_credentials=True,
                   allow_methods=["*"], allow_headers=["*"])
INPUT_DIR = Path(__file__).parent.parent.parent / "input_data"
DATA_FILE = INPUT_DIR / "ring_data.pb"
_reader = None


def get_reader():
    """Read once and kept, until it is told to forget."""
    global _reader
    if _reader is None:
        if not DATA_FILE.exists():
            raise HTTPException(status_code=404, detail=f"Data file not found: {DATA_FILE}")
        _reader = RingDataReader(str(DATA_FILE))
    return _reader


@app.get("/health")
async def health():
    return {"status": "healthy", "ble_available": BLE_AVAILABLE}


@app.get("/")
async def root():
    index = Path(__file__).parent.parent / "frontend" / "dist" / "index.html"
    return FileResponse(index) if index.exists() else {"name": "Ring data API"}


@app.get("/summary")
async def summary():
    events = get_reader().events
    return {"temperature_samples": events.get(0x46, 0), "motion_samples": events.get(0x47, 0), "heart_rate_samples": events.get(0x80, 0)}


@app.get("/dashboard/sleep-stages")
async def sleep_stages(night: int = -1):
    """Asks the parser's API for the stages, after it has parsed what is newer than the parsed data."""
    events = INPUT_DIR / "ring_events.txt"
    async with httpx.AsyncClient(timeout=60.0) as client:
        if events.exists() and (not DATA_FILE.exists() or events.stat().st_mtime > DATA_FILE.stat().st_mtime):
            await client.post(f"{PARSER_API_URL}/parse")
        answer = await client.post(f"{PARSER_API_URL}/ml/sleep-stages?night={night}")
    analyzer = SleepAnalyzer(get_reader(), night_index=night)
    return {"ml_status": answer.status_code, "ml": answer.json(), "score": analyzer.score}


@app.websocket("/ble/ws")
async def ble(websocket: WebSocket):
    await websocket.accept()
    if not BLE_AVAILABLE:
        await websocket.send_json({"type": "error", "message": "BLE not available in Docker."})
        await websocket.close()
        return
    ble_manager.websockets.append(websocket)
    try:
        while True:
            command = await websocket.receive_json()
            if command.get("action") == "connect":
                await ble_manager.connect_ring(command.get("adapter"))
            elif command.get("action") == "auth":
                await ble_manager.authenticate()
            elif command.get("action") == "get-data":
                await ble_manager.get_data()
            elif command.get("action") == "disconnect":
                await ble_manager.disconnect_ring()
            else:
                await websocket.send_json({"type": "error", "message": f"Unknown action: {command.get('action')}"})
    except WebSocketDisconnect:
        ble_manager.websockets.remove(websocket)


@app.get("/ble/adapters")
async def adapters():
    return {"adapters": bonding.list_bluetooth_adapters() if BLE_AVAILABLE else [], "default": "hci0" if BLE_AVAILABLE else "none"}


@app.post("/ble/reload-data")
async def reload_data():
    global _reader
    _reader = None
    return {"status": "ok"}


# Last, so that no route is hidden by it.
FRONTEND_DIR = Path(__file__).parent.parent / "frontend" / "dist"
if FRONTEND_DIR.exists():
    app.mount("/assets", StaticFiles(directory=FRONTEND_DIR / "assets"), name="assets")

    @app.get("/{full_path:path}")
    async def pages(full_path: str):
        path = FRONTEND_DIR / full_path
        return FileResponse(path if path.is_file() else FRONTEND_DIR / "index.html")
