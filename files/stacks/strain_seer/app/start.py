# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`streamlit run` without Streamlit's question for its public address.

For each websocket from another origin Streamlit asks a server on the internet who it is itself, and serves nobody until it has the
answer: ten seconds of silence for everybody at each such request on a host without internet, which any page in the web can bring about.
"""

import sys


def silence(net_util):
    """Have the public address known, and be nobody's: it is compared with host names only.

    :arg net_util: Streamlit's module of that name.
    """
    if not hasattr(net_util, "_external_ip") or not hasattr(net_util, "get_external_ip"):
        sys.exit("strain_seer recipe: this Streamlit looks for its public address in another way; mend silence() of start.py")
    net_util._external_ip = ""
    if net_util.get_external_ip() != "":
        sys.exit("strain_seer recipe: this Streamlit still looks for its public address; mend silence() of start.py")


def main(script):
    from streamlit import net_util
    from streamlit.web import cli

    silence(net_util)
    cli.main(args=["run", script], prog_name="streamlit")


if __name__ == "__main__":
    main("streamlit_app.py")
