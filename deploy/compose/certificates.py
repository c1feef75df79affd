"""Make a CA and the certificates of gateway and PostgreSQL, unless they are there: certificates.py
DIRECTORY.

For the Compose setup only: the CA's key is thrown away. Run by root, the keys belong to the users
that the images run as: 65532 (Sallyport) and 999 (PostgreSQL).
"""

import datetime
import ipaddress
import os
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LIFETIME = datetime.timedelta(days=825)
#: name -> (names it answers to, user id that owns its key)
SERVERS = {
    "gateway": (
        (x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))),
        65532,
    ),
    "postgres": ((x509.DNSName("postgres"),), 999),
}


def certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    extension: x509.ExtensionType,
) -> bytes:
    """PEM of a certificate for ``key`` that ``issuer_key`` signs. ``extension``: its names, or that
    it is a CA.
    """
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + LIFETIME)
        .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    return signed.public_bytes(serialization.Encoding.PEM)


def main(directory: Path) -> None:
    """Write ca.crt, and NAME.crt with NAME.key for each server."""
    if (directory / "ca.crt").exists():
        print(f"{directory / 'ca.crt'} is there already")
        return
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Sallyport Compose CA")])
    for name, (names, owner) in SERVERS.items():
        key = ec.generate_private_key(ec.SECP256R1())
        (directory / f"{name}.crt").write_bytes(
            certificate(name, key, authority, authority_key, x509.SubjectAlternativeName(names))
        )
        path = directory / f"{name}.key"
        path.touch(mode=0o600)
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        if os.geteuid() == 0:
            os.chown(path, owner, owner)
    (directory / "ca.crt").write_bytes(
        certificate(
            "Sallyport Compose CA",
            authority_key,
            authority,
            authority_key,
            x509.BasicConstraints(ca=True, path_length=0),
        )
    )
    print(f"made a CA and {len(SERVERS)} certificates in {directory}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: certificates.py DIRECTORY")
    main(Path(sys.argv[1]))
