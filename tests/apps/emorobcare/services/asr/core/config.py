# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of the speech service, of the same names."""

from pydantic_settings import BaseSettings


class Settings(BaseSettings):
    default_language: str = "es"
    models: dict[str, str] = {"fast": "medium", "balanced": "large-v2", "accurate": "large-v3"}
    gpu_enabled: bool = True
    device: str = "cuda"

    class Config:
        env_file = ".env"
        case_sensitive = False


settings = Settings()
