# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of this machine's bed: an ssh key, a certificate authority, the bundles and known_hosts. All below the cache."""

from __future__ import annotations

import re
import ssl
from pathlib import Path

from . import settings, shell

CERTIFICATE_DAYS = 3650
LOCAL_CAS = Path("/usr/local/share/ca-certificates")


def ssh_key() -> Path:
    return settings.cache() / "ssh" / "id_ed25519"


def known_hosts() -> Path:
    return settings.cache() / "ssh" / "known_hosts"


def ca() -> Path:
    return settings.cache() / "ca" / "ca.crt"


def bundle() -> Path:
    return settings.cache() / "ca" / "bundle.crt"


def machine_bundle() -> bytes:
    """The certificates that this machine trusts, as PEM; OpenSSL's own idea of where they are."""
    paths = ssl.get_default_verify_paths()
    for path in (paths.cafile, paths.openssl_cafile, "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"):
        if path and Path(path).is_file():
            return Path(path).read_bytes()
    return b""


def machine_cas() -> dict:
    """{file name: PEM} of the CAs that somebody added to this machine: hosts need them to reach registries through a gateway."""
    return {path.name: path.read_bytes() for path in sorted(LOCAL_CAS.glob("*.crt"))} if LOCAL_CAS.is_dir() else {}


def ensure() -> None:
    """Make the keys and certificates that are missing, and bring the bundle up to date."""
    with shell.locked("identity"):
        settings.cache().chmod(0o700)
        for folder in ("ssh", "ca"):
            (settings.cache() / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        if not ssh_key().exists():
            shell.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "dockyard-bed", "-f", ssh_key()])
        known_hosts().touch(mode=0o600)
        if not ca().exists():
            shell.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                       "-days", CERTIFICATE_DAYS, "-subj", "/CN=dockyard test bed", "-keyout", ca().with_suffix(".key"), "-out", ca(),
                       "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign"])
        wanted = ca().read_bytes() + machine_bundle()
        if not bundle().exists() or bundle().read_bytes() != wanted:
            shell.write_private(bundle(), wanted, 0o644)


def certificate(name: str, names, addresses) -> tuple:
    """(certificate, key) paths of a TLS server of the bed, signed by its CA; made once per set of names."""
    folder = settings.cache() / "ca"
    crt, key, made_for = (folder / f"{name}{suffix}" for suffix in (".crt", ".key", ".names"))
    alternatives = ",".join([f"DNS:{one}" for one in names] + [f"IP:{one}" for one in addresses])
    with shell.locked(f"certificate-{name}"):
        if crt.exists() and key.exists() and made_for.exists() and made_for.read_text() == alternatives \
                and shell.run(["openssl", "verify", "-CAfile", ca(), crt], check=False).returncode == 0:
            return crt, key
        request, extensions = folder / f"{name}.csr", folder / f"{name}.ext"
        shell.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                   "-subj", f"/CN={name}", "-keyout", key, "-out", request])
        extensions.write_text(f"subjectAltName={alternatives}\nextendedKeyUsage=serverAuth\nbasicConstraints=critical,CA:FALSE\n")
        shell.run(["openssl", "x509", "-req", "-in", request, "-CA", ca(), "-CAkey", ca().with_suffix(".key"), "-CAcreateserial",
                   "-days", CERTIFICATE_DAYS, "-extfile", extensions, "-out", crt])
        made_for.write_text(alternatives)
    return crt, key


def merge_known_hosts(text: str, address: str, keys) -> str:
    """known_hosts with `keys` ("ssh-ed25519 AAAA...") as the only ones of `address`."""
    kept = [line for line in text.splitlines() if line.strip() and line.split()[0] != address]
    return "".join(f"{line}\n" for line in kept + [f"{address} {' '.join(key.split()[:2])}" for key in keys])


def remember_host(address: str, keys) -> None:
    with shell.locked("known_hosts"):
        path = known_hosts()
        wanted = merge_known_hosts(path.read_text() if path.exists() else "", address, keys)
        shell.write_private(path, wanted.encode())


def resolvers(text: str) -> list:
    """Nameservers of a resolv.conf that others than this machine can reach (no loopback)."""
    found = re.findall(r"^\s*nameserver\s+(\S+)", text, re.MULTILINE)
    return [one for one in found if not one.startswith("127.") and one != "::1"]


def machine_resolv_conf() -> str:
    """The machine's resolver configuration as the hosts can use it."""
    for path in (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf")):
        servers = resolvers(path.read_text()) if path.is_file() else []
        if servers:
            return "".join(f"nameserver {one}\n" for one in servers)
    raise shell.BedError("no nameserver in /etc/resolv.conf that a test host could reach (only loopback addresses); "
                         "put a real one there, or into /run/systemd/resolve/resolv.conf")
