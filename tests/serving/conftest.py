"""What tests of the server share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@pytest.fixture(scope="session")
def make_certificate(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Path, Path]]:
    """Files of a certificate that is signed by its own key, and of that key, in PEM.

    names: host names and addresses. days: that it is valid from now on; below 0 it has ended. password: of the key.
    """

    def make(*names: str, days: float = 1, password: str | None = None) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        end = datetime.now(UTC) + timedelta(days=days)
        others = [x509.DNSName(n) if n[-1].isalpha() else x509.IPAddress(ip_address(n)) for n in names]
        certificate = (
            x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(end - timedelta(days=400)).not_valid_after(end)
            .add_extension(x509.SubjectAlternativeName(others), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )  # fmt: skip
        locked = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
        folder = tmp_path_factory.mktemp("tls")
        (folder / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
        (folder / "key.pem").write_bytes(pem)
        return folder / "certificate.pem", folder / "key.pem"

    return make
