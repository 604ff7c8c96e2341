"""Upstream's site-packages for Debian's Python 3.11 in /usr/local.

The module `site` is frozen into the binary with Debian's dist-packages folders, so the layout is put right here.
"""

import os
import site
import sys

if sys.prefix == sys.base_prefix:

    def getsitepackages(prefixes=None):
        """Upstream's answer: one site-packages folder a prefix."""
        version = "python%d.%d" % sys.version_info[:2]
        return [os.path.join(prefix, "lib", version, "site-packages") for prefix in dict.fromkeys(prefixes or site.PREFIXES)]

    site.getsitepackages = getsitepackages
    for folder in getsitepackages():
        if os.path.isdir(folder):
            site.addsitedir(folder)
