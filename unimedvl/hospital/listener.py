"""A storage service class provider (PS3.4 annex B): receives instances into an inbox.

An instance is acknowledged (0x0000) only when it is on the disk and recorded. When the disk is full it is refused with
0xA700 and the sender keeps it. C-ECHO is answered. There is no storage commitment.
"""

from __future__ import annotations

import logging
import ssl
import threading
import time
from io import BytesIO

import pydicom
from pydicom.dataset import Dataset
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification

from unimedvl.hospital.disk import NoRoom
from unimedvl.hospital.error import HospitalError
from unimedvl.hospital.inbox import Inbox, study_hash
from unimedvl.hospital.settings import Listen, Tls
from unimedvl.hospital.study import is_own

log = logging.getLogger("unimedvl.hospital")

SUCCESS, OUT_OF_RESOURCES, MISMATCH, NOT_UNDERSTOOD, FAILED = 0x0000, 0xA700, 0xA900, 0xC000, 0x0110
# Of a header: what is needed to know where an instance belongs and whether it is a result of ours.
_NEEDED = ["SOPInstanceUID", "SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID", "Manufacturer",
           "ContributingEquipmentSequence"]  # fmt: skip


class Listener:
    """Listens from `start` to `stop`, in threads of its own."""

    def __init__(self, inbox: Inbox, settings: Listen) -> None:
        self.inbox, self.settings = inbox, settings
        self._ae = AE(settings.aet)
        self._ae.require_called_aet = True
        self._ae.require_calling_aet = list(settings.allowed)
        self._ae.maximum_associations, self._ae.maximum_pdu_size = settings.max_associations, settings.max_pdu
        self._ae.acse_timeout = self._ae.dimse_timeout = self._ae.network_timeout = settings.timeout_seconds
        for context in AllStoragePresentationContexts:
            self._ae.add_supported_context(context.abstract_syntax, ALL_TRANSFER_SYNTAXES)
        self._ae.add_supported_context(Verification)
        self._writing, self._closing = threading.Condition(), False
        self._writes = 0
        self._taken: dict[int, int] = {}
        self._server = None

    @property
    def port(self) -> int:
        """The one that is listened on; the system's choice where the settings say 0."""
        return self.settings.port if self._server is None else self._server.server_address[1]

    def start(self) -> None:
        """Raises HospitalError where the port is taken, or a certificate can't be used."""
        handlers = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_DATA_RECV, self._count),
            (evt.EVT_CONN_CLOSE, lambda event: self._taken.pop(id(event.assoc), None)),
            (evt.EVT_REJECTED, lambda event: log.warning("an association was refused")),
        ]
        address = (self.settings.host, self.settings.port)
        context = None if self.settings.tls is None else _server_tls(self.settings.tls)
        try:
            self._server = self._ae.start_server(address, block=False, evt_handlers=handlers, ssl_context=context)
        except OSError as error:
            where = f"{self.settings.host}:{self.settings.port}"
            raise HospitalError(f"{where}: can't listen there ({error.strerror}); give another port") from error

    def stop(self, patience: float = 10) -> None:
        """Accept nothing more, let writes that began end for so many seconds, and close."""
        with self._writing:
            self._closing = True
            self._writing.wait_for(lambda: not self._writes, patience)
        server, self._server = self._server, None
        if server is not None:
            time.sleep(0.05)  # for the answers to the last of them
            server.shutdown()
            self._ae.shutdown()

    def _store(self, event: evt.Event) -> int:
        with self._writing:
            if self._closing:
                return OUT_OF_RESOURCES
            self._writes += 1
        try:
            self._taken[id(event.assoc)] = 0
            return self._kept(event)
        except Exception as error:  # noqa: BLE001 - an error here would end the association without an answer
            log.error("an instance could not be taken: %s", type(error).__name__)  # its words may quote a header
            return FAILED
        finally:
            with self._writing:
                self._writes -= 1
                self._writing.notify_all()

    def _kept(self, event: evt.Event) -> int:
        data = event.encoded_dataset()
        header = _header(data)
        if header is None or not header.get("StudyInstanceUID") or not header.get("SeriesInstanceUID"):
            log.warning("an instance was refused: it is damaged, or says no study or series")
            return NOT_UNDERSTOOD
        uid, study = str(header.get("SOPInstanceUID", "")), str(header.StudyInstanceUID)
        if uid != str(event.request.AffectedSOPInstanceUID):
            log.warning("an instance was refused: its UID is not the one it was announced with")
            return MISMATCH
        name = f"study {study_hash(study)}"
        try:
            outcome = self.inbox.receive(data, uid, study, is_own(header))
        except NoRoom as error:
            log.error("%s: an instance was refused: %s", name, error)
            return OUT_OF_RESOURCES
        except HospitalError as error:
            log.error("%s: an instance was refused: %s", name, error)
            return FAILED
        if outcome == "own":
            log.info("%s: a result of ours came back and was passed over", name)
        elif outcome == "late":
            log.warning("%s: an instance came after its results were begun; it is kept and not handled", name)
        return SUCCESS

    def _count(self, event: evt.Event) -> None:
        """End an association that sends an instance without end, before it fills the memory."""
        key, limit = id(event.assoc), self.settings.max_instance_mb * 2**20
        self._taken[key] = self._taken.get(key, 0) + len(event.data)
        if self._taken[key] > limit + 2**20:
            log.error("an association was ended: an instance larger than %d MiB", self.settings.max_instance_mb)
            event.assoc.abort()


def _header(data: bytes) -> Dataset | None:
    try:
        header = pydicom.dcmread(BytesIO(data), specific_tags=_NEEDED, stop_before_pixels=True)
        list(header)  # values are read now
        return header
    except Exception:  # noqa: BLE001 - pydicom raises every type there is on damaged data
        return None


def _server_tls(tls: Tls) -> ssl.SSLContext:
    """Raises HospitalError."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(tls.certificate, tls.key)
        if tls.ca_file is not None:
            context.load_verify_locations(tls.ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise HospitalError(f"{tls.certificate}: certificate, key or ca_file can't be used ({error})") from error
    return context
