"""Who signs: what was given, else a pair of the machine's own, kept where only its owner reads it."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from unimedvl.provenance import ProvenanceError, find_credentials
from unimedvl.provenance.credentials import _pair, _pkcs8, from_files


@pytest.fixture(autouse=True)
def own_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data" / "unimedvl"


def test_the_own_pair_is_made_once_and_is_its_owners_alone(own_folder):
    one, other = find_credentials(), find_credentials()
    assert one == other and one.own and one.algorithm == "es256"
    assert stat.S_IMODE((own_folder / "c2pa" / "key.pem").stat().st_mode) == 0o600
    assert [f.name for f in own_folder.iterdir()] == ["c2pa"]
    assert "PRIVATE" not in repr(one)


def test_the_own_certificate_is_of_the_form_that_c2pa_asks_for_and_names_nobody():
    (certificate,) = x509.load_pem_x509_certificates(find_credentials().certificates)
    extensions = certificate.extensions
    assert extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert x509.ExtendedKeyUsageOID.EMAIL_PROTECTION in extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    assert os.uname().nodename not in certificate.subject.rfc4514_string()


def test_many_at_once_get_one_pair():
    with ThreadPoolExecutor(8) as pool:
        assert len({c.key for c in pool.map(lambda _: find_credentials(), range(16))}) == 1


def test_where_nothing_can_be_kept_a_pair_is_made_for_once_and_told(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="made anew each time"):
        made = find_credentials()
    assert made.own and b"PRIVATE KEY" in made.key


def test_an_own_pair_that_expired_is_replaced_and_kept(own_folder, monkeypatch):
    old = find_credentials()

    class Later(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(days=365 * 11)

    monkeypatch.setattr("unimedvl.provenance.credentials.datetime", Later)
    assert find_credentials().key != old.key
    assert len(list(own_folder.iterdir())) == 2


def given(tmp_path, key, certificate):
    (tmp_path / "k.pem").write_bytes(key)
    (tmp_path / "c.pem").write_bytes(certificate)
    return tmp_path / "k.pem", tmp_path / "c.pem"


def test_the_environment_names_key_and_certificate(monkeypatch, tmp_path):
    key, certificate = given(tmp_path, *_pair())
    monkeypatch.setenv("UNIMEDVL_C2PA_KEY", str(key))
    with pytest.raises(ProvenanceError, match="UNIMEDVL_C2PA_CERT is not set"):
        find_credentials()
    monkeypatch.setenv("UNIMEDVL_C2PA_CERT", str(certificate))
    monkeypatch.setenv("UNIMEDVL_C2PA_TSA", "http://127.0.0.1:1/tsa")
    found = find_credentials()
    assert not found.own and found.key == key.read_bytes() and found.timestamps == "http://127.0.0.1:1/tsa"


def test_what_is_no_key_or_certificate_is_told_by_its_name(tmp_path):
    key, certificate = given(tmp_path, *_pair())
    other = given(tmp_path / "data2", *_pair()) if (tmp_path / "data2").mkdir() is None else None
    for pair, why in (
        ((certificate, certificate), "no private key"), ((key, key), "no certificate"),
        ((tmp_path / "none", certificate), "cannot be read"), ((key, other[1]), "is not of the key"),
    ):  # fmt: skip
        with pytest.raises(ProvenanceError, match=why) as caught:
            from_files(*pair)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("key", "algorithm"), [
    (ec.generate_private_key(ec.SECP384R1()), "es384"), (ec.generate_private_key(ec.SECP521R1()), "es512"),
    (rsa.generate_private_key(65537, 2048), "ps256"), (ed25519.Ed25519PrivateKey.generate(), "ed25519"),
    (ec.generate_private_key(ec.SECP256K1()), None),
])  # fmt: skip
def test_keys_of_every_kind_that_c2pa_knows_are_taken(tmp_path, key, algorithm):
    from cryptography.hazmat.primitives import hashes, serialization

    name, now = x509.Name([]), datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1)
    made = made.not_valid_before(now).not_valid_after(now + timedelta(days=1))
    made = made.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    files = given(tmp_path, _pkcs8(key), made.public_bytes(serialization.Encoding.PEM))
    if algorithm is None:
        with pytest.raises(ProvenanceError, match="P-256"):
            from_files(*files)
    else:
        assert from_files(*files).algorithm == algorithm
