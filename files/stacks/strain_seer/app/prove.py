# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the page's script once, as Streamlit does for a visitor, and refuses one that raises: `prove.py SCRIPT RESULT`, beside start.py.

Run in the build, as the user and with the packages of the image: a library that is missing would otherwise be seen by the first visitor.
"""

import os
import sys


def main(script, result):
    """Exit code 0 and a line in the file `result` when the script runs."""
    import start
    from streamlit import net_util
    from streamlit.testing.v1 import AppTest
    from streamlit.version import STREAMLIT_VERSION_STRING

    start.silence(net_util)
    # As `streamlit run` does.
    sys.path.insert(0, os.path.dirname(script))
    page = AppTest.from_file(script, default_timeout=180).run()
    for error in page.exception:
        print("strain_seer recipe: %s raises %s" % (script, error.message or error.value), file=sys.stderr)
        print("\n".join(error.stack_trace), file=sys.stderr)
    if page.exception:
        return 1
    elements = len(page.main)
    if not elements:
        print("strain_seer recipe: %s makes an empty page" % script, file=sys.stderr)
        return 1
    with open(result, "w", encoding="ascii") as stream:
        stream.write("streamlit %s, %d elements\n" % (STREAMLIT_VERSION_STRING, elements))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
