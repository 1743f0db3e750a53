"""The listener as other systems meet it: who may send, what is answered, and that what is answered holds."""

from __future__ import annotations

import datetime
import socket
import ssl
import time
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode

from unimedvl.hospital.error import HospitalError
from unimedvl.hospital.identity import MANUFACTURER
from unimedvl.hospital.inbox import Inbox
from unimedvl.hospital.listener import Listener
from unimedvl.hospital.settings import Listen


@pytest.fixture
def listening(tmp_path: Path):
    opened: list[Listener] = []

    def listen(reserve: int = 0, **settings) -> Listener:
        inbox = Inbox(tmp_path / f"inbox{len(opened)}", owner=True, reserve=reserve)
        opened.append(Listener(inbox, Listen(port=0, **settings)))
        opened[-1].start()
        return opened[-1]

    yield listen
    for one in opened:
        one.stop()
        one.inbox.close()


def echo(port: int, called: str = "UNIMEDVL", calling: str = "SENDER", **tls) -> bool:
    ae = AE(calling)
    ae.add_requested_context("1.2.840.10008.1.1")
    association = ae.associate("127.0.0.1", port, ae_title=called, **tls)
    answered = association.is_established and association.send_c_echo().Status == 0
    if association.is_established:
        association.release()
    return answered


def test_an_instance_is_kept_as_it_was_sent(listening, peer, chest) -> None:
    listener = listening()
    (sent,) = chest(1)
    assert peer.send([sent], listener.port) == [0x0000]
    listener.inbox.settle(0)
    (file,) = listener.inbox.claim().files
    kept = pydicom.dcmread(file)
    assert kept == sent
    assert kept.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID


def test_the_same_instance_again_is_acknowledged_and_ignored(listening, peer, chest) -> None:
    listener = listening()
    assert peer.send(chest(1) * 3, listener.port) == [0x0000] * 3
    listener.inbox.settle(0)
    assert listener.inbox.claim().instances == 1


def test_echo_is_answered_to_callers_that_are_allowed_and_call_us_by_our_title(listening) -> None:
    port = listening(allowed=["SENDER"], aet="HERE").port
    assert echo(port, "HERE")
    assert not echo(port, "THERE")
    assert not echo(port, "HERE", "STRANGER")


def test_associations_beyond_the_most_are_refused(listening) -> None:
    port = listening(max_associations=1).port
    ae = AE("SENDER")
    ae.add_requested_context("1.2.840.10008.1.1")
    first = ae.associate("127.0.0.1", port, ae_title="UNIMEDVL")
    assert first.is_established
    assert not echo(port)
    first.release()


def test_a_full_disk_is_answered_and_nothing_is_kept(listening, peer, chest) -> None:
    listener = listening(reserve=2**60)
    assert peer.send(chest(1), listener.port) == [0xA700]
    assert not listener.inbox.passes()
    listener.inbox.reserve = 0
    assert peer.send(chest(1), listener.port) == [0x0000]


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_an_instance_of_no_study_or_series_is_not_understood(listening, peer, chest, keyword: str) -> None:
    listener = listening()
    (dataset,) = chest(1)
    del dataset[keyword]
    assert peer.send([dataset], listener.port) == [0xC000]
    assert not listener.inbox.passes()


def test_an_instance_announced_as_another_is_refused(listening, peer, chest) -> None:
    listener = listening()
    (dataset,) = chest(1)
    ae = AE("SENDER")
    ae.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    association = ae.associate("127.0.0.1", listener.port, ae_title="UNIMEDVL")
    request = C_STORE()
    request.MessageID, request.AffectedSOPClassUID = 1, dataset.SOPClassUID
    request.AffectedSOPInstanceUID, dataset.SOPInstanceUID = dataset.SOPInstanceUID, "1.2.3"
    request.DataSet = BytesIO(encode(dataset, False, True))
    association._reactor_checkpoint.clear()  # as its own `send_c_store` does
    while not association._is_paused:
        time.sleep(0.01)
    association.dimse.send_msg(request, association.accepted_contexts[0].context_id)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    association.release()
    assert answer.Status == 0xA900
    assert not listener.inbox.passes()


@pytest.mark.parametrize("where", ["Manufacturer", "ContributingEquipmentSequence"])
def test_a_result_of_this_package_is_acknowledged_and_passed_over(listening, peer, chest, where: str) -> None:
    listener = listening()
    (dataset,) = chest(1)
    if where == "Manufacturer":
        dataset.Manufacturer = MANUFACTURER
    else:
        item = Dataset()
        item.Manufacturer = MANUFACTURER
        dataset.ContributingEquipmentSequence = [item]
    assert peer.send([dataset], listener.port) == [0x0000]
    assert not listener.inbox.passes()


def test_what_goes_wrong_is_answered_and_its_words_are_not_told(
    listening, peer, chest, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise TypeError("DOE^JANE is no number")

    listener = listening()
    monkeypatch.setattr(Inbox, "receive", broken)
    assert peer.send(chest(1), listener.port) == [0x0110]
    assert "an instance could not be taken: TypeError" in caplog.text
    assert "JANE" not in caplog.text


def test_an_instance_without_end_ends_its_association_and_no_other(listening, peer, chest) -> None:
    listener = listening(max_instance_mb=1)
    (large,) = chest(1)
    large.Rows = large.Columns = 2048
    large.PixelData = bytes(2048 * 2048)
    assert peer.send([large], listener.port) == []
    assert peer.send(chest(2), listener.port) == [0x0000]
    assert len(listener.inbox.passes()) == 1


def test_after_it_was_stopped_nothing_is_taken(listening, peer, chest) -> None:
    listener = listening()
    port = listener.port
    listener.stop()
    assert peer.send(chest(1), port) == []
    with socket.socket() as attempt:
        assert attempt.connect_ex(("127.0.0.1", port)) != 0


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.socket() as taken, Inbox(tmp_path, owner=True) as inbox:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(HospitalError, match="can't listen there"):
            Listener(inbox, Listen(port=taken.getsockname()[1])).start()


def test_over_tls_callers_show_a_certificate_that_is_trusted(listening, peer, chest, tmp_path: Path) -> None:
    certificate, key = certified(tmp_path)
    listener = listening(tls={"certificate": certificate, "key": key, "ca_file": certificate})
    trusting = ssl.create_default_context(cafile=certificate)
    assert not echo(listener.port)
    assert not echo(listener.port, tls_args=(trusting, "localhost"))
    trusting.load_cert_chain(certificate, key)
    assert peer.send(chest(1), listener.port, tls_args=(trusting, "localhost")) == [0x0000]


def test_a_certificate_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "c.pem").write_text("none")
    with Inbox(tmp_path / "inbox", owner=True) as inbox, pytest.raises(HospitalError, match=r"c\.pem: certificate"):
        Listener(inbox, Listen(port=0, tls={"certificate": tmp_path / "c.pem", "key": tmp_path / "c.pem"})).start()


def certified(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for localhost, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, private = folder / "cert.pem", folder / "key.pem"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    private.write_bytes(key.private_bytes(*form))
    return pem, private
