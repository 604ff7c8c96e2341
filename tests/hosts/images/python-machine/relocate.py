# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the new prefix over the one that the interpreter was built for, in what sysconfig reads."""

import importlib
import re
import sys

data = importlib.import_module("_sysconfigdata_%s_%s_%s" % (sys.abiflags, sys.platform, sys.implementation._multiarch))
built_for = data.build_time_vars["prefix"]
with open(data.__file__, encoding="utf-8") as stream:
    text = stream.read()
with open(data.__file__, "w", encoding="utf-8") as stream:
    # Whole paths only: a Python that was built for /install must not change /usr/bin/install.
    stream.write(re.sub(r"(?<![\w.-])" + re.escape(built_for) + r"(?![\w.-])", sys.prefix, text))
print("%s names %s" % (data.__file__, sys.prefix))
