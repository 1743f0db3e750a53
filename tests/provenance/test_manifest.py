"""The manifest, read back by C2PA's own reader: what it claims, of what it was made, and that changes are seen."""

from __future__ import annotations

import io
import json
import socket
from datetime import UTC, datetime, timedelta

import c2pa
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from PIL import Image

from unimedvl.imaging import read_image
from unimedvl.provenance import Credentials, ProvenanceError, encoded, find_credentials
from unimedvl.provenance.manifest import TYPES, check_signer, read_manifest
from unimedvl.provenance.watermark import detect

SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/"


def read(data: bytes, kind: str = "png") -> dict:
    return json.loads(c2pa.Reader(TYPES[kind], io.BytesIO(data)).json())


def active(store: dict) -> dict:
    return store["manifests"][store["active_manifest"]]


def actions(manifest: dict) -> list[dict]:
    (found,) = [a["data"]["actions"] for a in manifest["assertions"] if a["label"] == "c2pa.actions.v2"]
    return found


def file_of(pixels: np.ndarray, kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_what_words_made_was_created_by_a_trained_model(picture_of, provenance, kind):
    data = encoded(picture_of("ct", 64), provenance, kind)
    store = read(data, kind)
    assert store["validation_state"] == "Valid"
    (created,) = actions(active(store))
    assert created["action"] == "c2pa.created" and created["softwareAgent"]["name"] == "UniMedVL"
    assert created["digitalSourceType"] == SOURCE + "trainedAlgorithmicMedia"
    assert "thumbnail" not in json.dumps(store)
    found = read_manifest(data, kind)
    assert (found.state, found.ours, found.provenance) == ("valid", True, provenance)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "tiff"])
def test_what_an_image_made_was_opened_and_edited(picture_of, provenance, tmp_path, kind):
    secret = tmp_path / f"Doe^Jane.{kind}"
    secret.write_bytes(file_of(picture_of("his", 64), kind.upper()))
    data = encoded(picture_of("ihc", 64), provenance, originals=[read_image(secret).original])
    manifest = active(read(data))
    opened, edited = actions(manifest)
    assert (opened["action"], edited["action"]) == ("c2pa.opened", "c2pa.edited")
    assert edited["digitalSourceType"] == SOURCE + "compositeWithTrainedAlgorithmicMedia"
    (parent,) = manifest["ingredients"]
    assert (parent["relationship"], parent["format"], parent["title"]) == ("parentOf", TYPES[kind], "input 1")
    assert b"Doe" not in data and str(tmp_path).encode() not in data


def test_a_second_image_is_an_input_and_one_that_c2pa_does_not_know_is_named_by_hash(picture_of, provenance, tmp_path):
    from pydicom.data import get_testdata_file

    png, jpeg = (read_image(file_of(picture_of("mri", 64), kind)).original for kind in ("PNG", "JPEG"))
    dicom = read_image(get_testdata_file("CT_small.dcm", download=False)).original
    both = active(read(encoded(picture_of("mri", 64), provenance, originals=[png, jpeg, dicom])))
    assert [i["relationship"] for i in both["ingredients"]] == ["parentOf", "inputTo"]
    (named,) = [a["data"]["inputs"] for a in both["assertions"] if a["label"] == "org.unimedvl.inputs"]
    assert named == [{"kind": "dicom", "sha256": dicom.sha256}]
    alone = active(read(encoded(picture_of("mri", 64), provenance, originals=[dicom])))
    (created,) = actions(alone)
    assert created["digitalSourceType"] == SOURCE + "compositeWithTrainedAlgorithmicMedia"
    assert "ingredients" not in alone or not alone["ingredients"]


def test_an_original_that_is_gone_or_broken_is_named_by_hash(picture_of, provenance, tmp_path):
    file = tmp_path / "in.png"
    file.write_bytes(file_of(picture_of("mri", 64), "PNG"))
    original = read_image(file).original
    file.unlink()
    assert [a["action"] for a in actions(active(read(encoded(picture_of("mri", 64), provenance,
    originals=[original]))))] \
        == ["c2pa.created"]


def test_a_picture_made_of_a_made_one_holds_both_manifests(picture_of, provenance):
    first = encoded(picture_of("cxr", 64), provenance)
    second = encoded(picture_of("cxr", 64), provenance | {"task": "edit"}, originals=[read_image(first).original])
    found = read_manifest(second, "png")
    assert found.state == "valid" and len(found.ancestors) == 1 and found.ancestors[0].startswith("UniMedVL")


def test_the_same_call_differs_in_the_manifest_alone(picture_of, provenance):
    one, other = (encoded(picture_of("us", 64), provenance) for _ in range(2))
    assert one != other
    one, other = (Image.open(io.BytesIO(data)) for data in (one, other))
    assert one.tobytes() == other.tobytes() and one.text == other.text


def test_a_changed_byte_is_seen(picture_of, provenance):
    data = bytearray(encoded(picture_of("ct", 64), provenance, "jpeg"))
    data[-20] ^= 1
    found = read_manifest(bytes(data), "jpeg")
    assert found.state == "invalid" and "dataHash.mismatch" in found.problems[0]


def test_a_trusted_certificate_is_told(picture_of, provenance):
    data = encoded(picture_of("ct", 64), provenance)
    assert read_manifest(data, "png", find_credentials().certificates).state == "trusted"
    other, _ = _issued(key_usage=True)
    assert read_manifest(data, "png", other.certificates).state == "valid"
    assert read_manifest(data, "png", b"nonsense").state in ("invalid", "valid")


def test_a_chain_of_ones_own_signs_and_its_root_vouches_for_it(picture_of, provenance):
    signer, root = _issued(key_usage=True)
    data = encoded(picture_of("ct", 64), provenance, signer=signer)
    assert read_manifest(data, "png").state == "valid"
    found = read_manifest(data, "png", root)
    assert found.state == "trusted" and "A hospital" in found.signer


def test_a_certificate_that_c2pa_refuses_is_told_beforehand(picture_of, provenance, monkeypatch, tmp_path):
    signer, _ = _issued(key_usage=False)
    with pytest.raises(ProvenanceError, match="could not be signed"):
        encoded(picture_of("ct", 64), provenance, signer=signer)
    for name, data in (("KEY", signer.key), ("CERT", signer.certificates)):
        (tmp_path / name).write_bytes(data)
        monkeypatch.setenv(f"UNIMEDVL_C2PA_{name}", str(tmp_path / name))
    with pytest.raises(ProvenanceError, match="could not be signed"):
        check_signer()


def test_nothing_is_fetched(picture_of, provenance, monkeypatch):
    def connect(*_):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", connect)
    assert read_manifest(encoded(picture_of("ct", 64), provenance), "png").state == "valid"
    check_signer()


def test_without_c2pa_there_are_watermark_and_metadata(picture_of, provenance, monkeypatch):
    whole = encoded(picture_of("cxr", 128), provenance)
    monkeypatch.setattr("unimedvl.provenance.manifest.find_spec", lambda name: None)
    data = encoded(picture_of("cxr", 128), provenance)
    assert len(data) < len(whole) and Image.open(io.BytesIO(data)).text
    assert detect(np.asarray(Image.open(io.BytesIO(data)))).found
    assert (read_manifest(data, "png").state, read_manifest(whole, "png").state) == ("none", "unchecked")
    check_signer()


def _issued(key_usage: bool) -> tuple[Credentials, bytes]:
    """A signer whose certificate another issued, and that other's certificate."""
    now = datetime.now(UTC)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    root_name, name = (
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, n), x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME,
        n)]) for n in ("A root", "A hospital")
    )
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only",
        "decipher_only",
         "crl_sign", "key_cert_sign", "digital_signature"), False,
    )  # fmt: skip

    def issued(subject, key, ca):
        known = x509.SubjectKeyIdentifier.from_public_key(keys[0].public_key())
        made = x509.CertificateBuilder(root_name, subject, key.public_key(), x509.random_serial_number())
        made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=9))
        made = made.add_extension(x509.BasicConstraints(ca, None), True)
        made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        made = made.add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(known), False)
        if ca or key_usage:
            may = {"key_cert_sign" if ca else "digital_signature": True}
            made = made.add_extension(x509.KeyUsage(**usage | may), critical=True)
        if not ca:
            made = made.add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
        return made.sign(keys[0], hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    root, leaf = issued(root_name, keys[0], True), issued(name, keys[1], False)
    key = keys[1].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Credentials(leaf + root, key, "es256"), root
