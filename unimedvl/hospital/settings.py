"""Where results go, how studies are received, and how long they are kept: the settings beside the rules."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

# A title of an application entity (VR AE, PS3.5 6.2): not only spaces, no backslash.
AeTitle = Annotated[str, Field(min_length=1, max_length=16, pattern=r"^[ -\[\]-~]*[!-\[\]-~][ -\[\]-~]*$")]
Port = Annotated[int, Field(ge=0, le=65535)]  # 0: any that is free
Hours = Annotated[float, Field(ge=0)]


def listed(value: object) -> object:
    """One word where several may stand."""
    return (value,) if isinstance(value, str) else value


Listed = Annotated[tuple[str, ...], BeforeValidator(listed)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Destination(Strict):
    """Where results go; one of dicomweb (URL), ae (TITLE@host:port), fhir (URL or folder) and folder.

    user with password_file, or token_file: credentials of a URL. ca_file: of who signed its certificate, or that of an
    AE. tls: speak TLS to an AE. calling: our title there.
    """

    dicomweb: str = ""
    ae: str = ""
    fhir: str = ""
    folder: Path | None = None
    user: str = ""
    password_file: Path | None = None
    token_file: Path | None = None
    ca_file: Path | None = None
    tls: bool = False
    calling: AeTitle = "UNIMEDVL"

    @model_validator(mode="after")
    def _one(self) -> Destination:
        given = [name for name in ("dicomweb", "ae", "fhir", "folder") if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(f"give one of dicomweb, ae, fhir and folder, not {' and '.join(given) or 'none'}")
        if self.dicomweb and not self.dicomweb.startswith(("http://", "https://")):
            raise ValueError(f"dicomweb is {self.dicomweb!r}; write a URL such as http://pacs:8042/dicom-web")
        if "://" in self.fhir and not self.fhir.startswith(("http://", "https://")):
            raise ValueError(f"fhir is {self.fhir!r}; write a URL such as https://fhir.example.org/r4, or a folder")
        if self.ae:
            self.address  # noqa: B018 - raises where it is none
        if bool(self.user) != (self.password_file is not None):
            raise ValueError("user and password_file belong together")
        if self.user and self.token_file:
            raise ValueError("give user with password_file, or token_file, not both")
        return self

    @property
    def address(self) -> tuple[str, str, int]:
        """Title, host and port of an AE. Raises ValueError."""
        match = re.fullmatch(r"([^@\\]{1,16})@(\[[0-9a-fA-F:]+\]|[^:@\s]+):(\d{1,5})", self.ae)
        if match is None or not 0 < int(match[3]) < 65536:
            raise ValueError(f"ae is {self.ae!r}; write TITLE@host:port, such as ORTHANC@127.0.0.1:4242")
        return match[1], match[2].strip("[]"), int(match[3])

    @property
    def takes_fhir(self) -> bool:
        return bool(self.fhir)


class Tls(Strict):
    """certificate, key: our own, PEM. ca_file: callers must show a certificate that it signed."""

    certificate: Path
    key: Path
    ca_file: Path | None = None


class Listen(Strict):
    """How studies are received. allowed: calling AE titles; any where empty. max_instance_mb: of one instance."""

    aet: AeTitle = "UNIMEDVL"
    host: str = "127.0.0.1"
    port: Port = 11112
    allowed: Annotated[tuple[AeTitle, ...], BeforeValidator(listed)] = ()
    max_associations: int = Field(default=10, ge=1)
    max_pdu: int = Field(default=65536, ge=4096)
    max_instance_mb: int = Field(default=2048, ge=1)
    timeout_seconds: float = Field(default=60, gt=0)
    tls: Tls | None = None


class Queue(Strict):
    """quiet_seconds: a study is whole when nothing of it came for so long.

    attempts: how often a study is tried before it is set aside; first_wait_seconds doubles from one to the next, up to
    longest_wait_seconds. originals_hours, results_hours: how long files are kept when all is done; 0 deletes at once,
    null never. reserve_mb: of the disk that received files must leave free.
    """

    quiet_seconds: float = Field(default=30, ge=0)
    attempts: int = Field(default=10, ge=1)
    first_wait_seconds: float = Field(default=5, ge=0)
    longest_wait_seconds: float = Field(default=600, ge=0)
    originals_hours: Hours | None = 24
    results_hours: Hours | None = 24
    reserve_mb: int = Field(default=256, ge=0)

    def wait(self, attempts: int) -> float:
        """Seconds until the next attempt."""
        return min(self.first_wait_seconds * 2 ** max(attempts - 1, 0), self.longest_wait_seconds)
