# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gives a serial port to the kernel as a Bluetooth controller, as a Raspberry Pi's device tree does, and keeps it.

    modprobe hci_uart; python3 attach.py /dev/ttyS0
"""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import sys
import tty

N_HCI = 15
TIOCSETD = 0x5423
HCIUARTSETPROTO = 0x400455C8
H4 = 0


def attach(path):
    """The line discipline of Bluetooth, with the protocol that every controller at a serial port speaks."""
    port = os.open(path, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(port)
    fcntl.ioctl(port, TIOCSETD, struct.pack("i", N_HCI))
    fcntl.ioctl(port, HCIUARTSETPROTO, H4)


if __name__ == "__main__":
    attach(sys.argv[1])
    print("attached", flush=True)
    signal.pause()
