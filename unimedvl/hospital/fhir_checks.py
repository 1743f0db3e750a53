"""What `fhir.resources` lets pass: codes that are none, references to nowhere, attached data that is no base64."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from unimedvl.hospital.error import HospitalError

# Codes that a field may have, where the standard binds it to a value set (required, or whole in R4).
_CODES = {
    ("Bundle", "type"): {"collection", "transaction"},
    ("DiagnosticReport", "status"): {
        "registered", "partial", "preliminary", "final", "amended", "corrected", "appended", "cancelled",
        "entered-in-error", "unknown",
    },
    ("ImagingStudy", "status"): {"registered", "available", "cancelled", "entered-in-error", "unknown"},
    ("Device", "status"): {"active", "inactive", "entered-in-error", "unknown"},
    ("Endpoint", "status"): {"active", "suspended", "error", "off", "entered-in-error", "test"},
    ("deviceName", "type"): {
        "udi-label-name", "user-friendly-name", "patient-reported-name", "manufacturer-name", "model-name", "other",
    },
    ("entity", "role"): {"derivation", "revision", "quotation", "source", "removal"},
    ("request", "method"): {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"},
    ("text", "status"): {"generated", "extensions", "additional", "empty"},
}  # fmt: skip


def check(resource: dict[str, Any]) -> None:
    """What the library does not: codes against their value sets, references inside a bundle, attached data.

    Raises:
        HospitalError: naming the field and what it accepts.
    """
    known = {entry["fullUrl"] for entry in resource.get("entry", [])}
    for owner, field, value in _walk(resource, resource.get("resourceType", "")):
        accepted = _CODES.get((owner, field))
        if accepted is not None and value not in accepted:
            raise HospitalError(f"{owner}.{field} is {value!r}; it must be one of {', '.join(sorted(accepted))}")
        if field == "reference" and str(value).startswith("urn:uuid:") and value not in known:
            raise HospitalError(f"a reference names {value}, which is not in the bundle")
        if owner == "presentedForm" and field == "data":
            try:
                base64.b64decode(value, validate=True)
            except ValueError as error:
                raise HospitalError("presentedForm.data is not base64") from error


def _walk(node: Any, owner: str) -> Iterator[tuple[str, str, Any]]:
    """Every field with the element or resource that it stands in."""
    if isinstance(node, dict):
        owner = node.get("resourceType", owner)
        for field, value in node.items():
            if isinstance(value, dict | list):
                yield from _walk(value, field)
            else:
                yield owner, field, value
    elif isinstance(node, list):
        for item in node:
            yield from _walk(item, owner)
