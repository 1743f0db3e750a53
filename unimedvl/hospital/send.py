"""Sending a result to where a rule says: STOW-RS, C-STORE, a FHIR server, or a folder."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pydicom

from unimedvl.data.whole import written_whole
from unimedvl.hospital.connection import Access, Unreachable, attempted, open_session
from unimedvl.hospital.dicomweb import DicomWeb
from unimedvl.hospital.error import HospitalError
from unimedvl.hospital.settings import Destination

# Takes a file; returns when the destination has it. Raises HospitalError where it is refused, Unreachable where
# trying later may help. What it takes twice, the destination has once.
Send = Callable[[Path], None]

_FHIR = "application/fhir+json"
_REASONS = {0x0122: "it does not store this SOP class", 0x0124: "not authorised", 0x0117: "it calls the UID invalid"}


def sender(destination: Destination) -> Send:
    """What sends to a destination. Raises HospitalError for credentials that can't be read."""
    if destination.dicomweb:
        server = DicomWeb(destination.dicomweb, Access.of(destination))
        return lambda file: server.store([pydicom.dcmread(file)])
    if destination.ae:
        return lambda file: _c_store(file, destination)
    if destination.fhir.startswith(("http://", "https://")):
        return _fhir_server(destination.fhir, Access.of(destination))
    folder = destination.folder or Path(destination.fhir)
    return lambda file: _copy(file, folder)


def _fhir_server(url: str, access: Access) -> Send:
    """A transaction is posted to the base of a server; its conditions keep it from making twice what is there."""
    session = open_session(access)

    def post(file: Path) -> None:
        def ask() -> None:
            answer = session.post(
                url.rstrip("/"),
                data=file.read_bytes(),
                headers={"Content-Type": _FHIR, "Accept": _FHIR},
                timeout=(access.connect_seconds, access.read_seconds),
            )
            answer.raise_for_status()

        attempted(ask, "FHIR transaction", url, access)

    return post


def _copy(file: Path, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with written_whole(folder / file.name) as part:
            part.write_bytes(file.read_bytes())
    except (OSError, ValueError) as error:
        raise Unreachable(f"{folder}: can't be written ({getattr(error, 'strerror', None) or error})") from error


def _c_store(file: Path, destination: Destination) -> None:
    """C-STORE as a service class user (PS3.4 annex B)."""
    from pynetdicom import AE

    title, host, port = destination.address
    where = f"C-STORE at {title}@{host}:{port}"
    dataset = pydicom.dcmread(file)
    ae = AE(destination.calling)
    ae.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    ae.connection_timeout, ae.acse_timeout, ae.dimse_timeout, ae.network_timeout = 10, 30, 60, 60
    association = ae.associate(host, port, ae_title=title, tls_args=_tls(destination, host))
    if association.is_rejected:
        answer = association.acceptor.primitive
        if answer is not None and answer.result == 1:  # rejected for good (PS3.8 9.3.4)
            titles = f"check the AE titles (ours is {destination.calling})"
            raise HospitalError(f"{where}: the association was refused; {titles}")
        raise Unreachable(f"{where}: the association was refused for now")
    if not association.is_established:
        if association.is_aborted and association.rejected_contexts:
            raise HospitalError(f"{where}: it does not store {dataset.SOPClassUID.name}")
        raise Unreachable(f"{where}: can't be reached")
    try:
        status = association.send_c_store(dataset).get("Status")
    finally:
        association.release()
    _check_status(status, where)


def _check_status(status: int | None, where: str) -> None:
    """PS3.4 table B.2-1: success and warnings are stored."""
    if status is None:
        raise Unreachable(f"{where}: no answer to what was sent")
    if status == 0 or status & 0xF000 == 0xB000:
        return
    if status & 0xFF00 == 0xA700:
        raise Unreachable(f"{where}: it has no room now (0x{status:04X})")
    reason = _REASONS.get(status, "it does not accept the data set")
    raise HospitalError(f"{where}: refused, {reason} (0x{status:04X})")


def _tls(destination: Destination, host: str) -> tuple[ssl.SSLContext, str] | None:
    if not destination.tls:
        return None
    try:
        return ssl.create_default_context(cafile=destination.ca_file), host
    except (OSError, ssl.SSLError) as error:
        raise HospitalError(f"{destination.ca_file}: no PEM of certificates ({error})") from error


def shown(destination: Destination) -> str:
    """A destination in words, without what stands behind its host."""
    if destination.dicomweb or destination.fhir.startswith(("http://", "https://")):
        url = destination.dicomweb or destination.fhir
        return f"{'DICOMweb' if destination.dicomweb else 'FHIR'} {urlsplit(url).netloc}"
    return f"AE {destination.ae}" if destination.ae else f"folder {destination.folder or destination.fhir}"
