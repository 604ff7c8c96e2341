# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Speech routes of the API, which pretend; the speech service is another one."""

from fastapi import APIRouter

from ..core.config import settings

router = APIRouter()


@router.get("/formats")
async def formats():
    return {"success": True, "formats": ["wav", "mp3"], "language": settings.default_language}
