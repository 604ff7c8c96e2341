# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What /proc/cpuinfo says of the processors, from captured text."""

from __future__ import annotations

import pytest

from ansible_collections.dockyard.fleet.plugins.module_utils.facts import system

PI_4 = "processor\t: 0\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm crc32 cpuid\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n"
PI_5 = ("processor\t: 0\nFeatures\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp\nCPU part\t: 0xd0b\n")
AMD64 = "processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu sse2 avx avx2\nbugs\t\t: spectre_v1\n"


@pytest.mark.parametrize("text, there, missing", [(PI_4, "crc32", "atomics"), (PI_5, "atomics", "sve"), (AMD64, "avx", "spectre_v1")])
def test_features(text, there, missing):
    found = system.parse_cpu_features(text)
    assert there in found and missing not in found and found == sorted(found)


def test_what_one_kind_of_core_lacks_is_not_there():
    assert system.parse_cpu_features(PI_5 + "\n" + PI_4) == ["asimd", "cpuid", "crc32", "evtstrm", "fp"]


def test_a_file_without_features():
    with pytest.raises(ValueError, match="names no features"):
        system.parse_cpu_features("processor : 0\n")
