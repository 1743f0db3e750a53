"""Who signs manifests: a key and certificate that were given, or a pair of this machine's own.

The own pair is self-signed. It shows that a picture was not changed since it was signed, and that pictures come from
one machine; it doesn't show whose machine that is, for nobody vouches for it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from unimedvl.provenance.error import ProvenanceError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

KEY, CERTIFICATE, TIMESTAMPS = "UNIMEDVL_C2PA_KEY", "UNIMEDVL_C2PA_CERT", "UNIMEDVL_C2PA_TSA"
_KEY_FILE, _CERTIFICATE_FILE = "key.pem", "certificate.pem"
_YEARS = 10


@dataclass(frozen=True)
class Credentials:
    """What signs.

    certificates: PEM, the signer's first, then those that vouch for it. key: PEM of PKCS #8. algorithm: as C2PA calls
    it.
    own: whether they are this machine's own, self-signed. timestamps: URL of an RFC 3161 authority, asked at each
    signing.
    """

    certificates: bytes
    key: bytes = field(repr=False)
    algorithm: str
    own: bool = False
    timestamps: str | None = None


def find_credentials() -> Credentials:
    """Those that the environment names (UNIMEDVL_C2PA_KEY and UNIMEDVL_C2PA_CERT, PEM files), else this machine's own.

    The own pair is made when it is first needed, in the user's data folder. Where nothing can be written there, a
    pair is made for this once, and a warning says so.

    Raises:
        ProvenanceError: a file that can't be read or holds no key or certificate, or a certificate that has expired.
        ModuleNotFoundError: the package cryptography is missing.
    """
    key, certificate = os.environ.get(KEY), os.environ.get(CERTIFICATE)
    timestamps = os.environ.get(TIMESTAMPS) or None
    if key and certificate:
        return from_files(Path(key), Path(certificate), timestamps=timestamps)
    if key or certificate:
        raise ProvenanceError(f"{KEY} and {CERTIFICATE} belong together; {CERTIFICATE if key else KEY} is not set")
    folder = data_folder() / "c2pa"
    try:
        if _expired(folder):
            _make(folder)
    except OSError as error:
        why = error.strerror or error
        warnings.warn(f"{folder}: the signing key can't be kept ({why}); it is made anew each time", stacklevel=2)
        key_pem, certificate_pem = _pair()
        return Credentials(certificate_pem, key_pem, "es256", True, timestamps)
    return from_files(folder / _KEY_FILE, folder / _CERTIFICATE_FILE, own=True, timestamps=timestamps)


def data_folder() -> Path:
    """Where this user's programs keep their data (XDG Base Directory)."""
    given = os.environ.get("XDG_DATA_HOME", "")
    return (Path(given) if os.path.isabs(given) else Path("~/.local/share").expanduser()) / "unimedvl"


def from_files(key: Path, certificate: Path, *, own: bool = False, timestamps: str | None = None) -> Credentials:
    """Credentials of two PEM files; what they hold is checked. Raises ProvenanceError."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key_pem, certificate_pem = _read(key), _read(certificate)
    try:
        private = load_pem_private_key(key_pem, None)
    except (ValueError, TypeError) as error:
        raise ProvenanceError(f"{key}: is no private key in PEM without a password") from error
    try:
        chain = x509.load_pem_x509_certificates(certificate_pem)
    except ValueError as error:
        raise ProvenanceError(f"{certificate}: holds no certificate in PEM") from error
    if chain[0].public_key() != private.public_key():
        raise ProvenanceError(f"{certificate}: its first certificate is not of the key {key}; put the signer's first")
    if chain[0].not_valid_after_utc < datetime.now(UTC):
        raise ProvenanceError(f"{certificate}: expired on {chain[0].not_valid_after_utc:%Y-%m-%d}; renew it")
    return Credentials(certificate_pem, _pkcs8(private), _algorithm(key, private), own, timestamps)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ProvenanceError(f"{file}: cannot be read ({error.strerror or error})") from error


def _algorithm(file: Path, key: PrivateKeyTypes) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return _CURVES[key.curve.name]
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048:
        return "ps256"
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    raise ProvenanceError(f"{file}: C2PA signs with EC P-256, P-384 or P-521, RSA of 2048 bits or more, or Ed25519")


_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}


def _pkcs8(key: PrivateKeyTypes) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _expired(folder: Path) -> bool:
    """Whether a pair of the machine's own has to be made. Raises OSError."""
    from cryptography import x509

    file = folder / _CERTIFICATE_FILE
    if not file.exists():
        return True
    try:
        return x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc < datetime.now(UTC)
    except ValueError:
        return False  # damaged: `from_files` tells


def _make(folder: Path) -> None:
    """Make a pair in a folder of its own, whole or not at all; of several processes one makes it. Raises OSError."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(folder.parent):
        if not _expired(folder):  # another process was faster, and its pair is as good
            return
        key, certificate = _pair()
        made = Path(tempfile.mkdtemp(prefix=".c2pa-", dir=folder.parent))  # for its owner alone
        try:
            (made / _CERTIFICATE_FILE).write_bytes(certificate)
            handle = os.open(made / _KEY_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as stream:
                stream.write(key)
            if folder.exists():
                folder.rename(folder.with_name(f"c2pa-until-{datetime.now(UTC):%Y%m%d%H%M%S}"))
            made.rename(folder)
        finally:
            shutil.rmtree(made, ignore_errors=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time, where the system has such locks; it lets go of one whose holder ends."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _pair() -> tuple[bytes, bytes]:
    """A key (EC P-256) and its self-signed certificate, PEM, in the form that C2PA asks for (specification 2.1, 14.5).

    The certificate names neither the machine nor its user.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([
        x509.NameAttribute(NameOID.COMMON_NAME, "UniMedVL, self-signed"),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "A machine that runs UniMedVL"),
    ])  # fmt: skip
    now, subject = datetime.now(UTC), x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    usage = {"key_cert_sign": False, "crl_sign": False, "encipher_only": False, "decipher_only": False}
    usage |= {"content_commitment": False, "key_encipherment": False, "data_encipherment": False}
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=365 * _YEARS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, key_agreement=False, **usage), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .add_extension(subject, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(subject), critical=False)
        .sign(key, SHA256())
    )
    return _pkcs8(key), certificate.public_bytes(Encoding.PEM)
