"""Made pictures say so: by metadata, a signed manifest and an invisible watermark. Written here, and found again."""

from unimedvl.imaging.metadata import read_provenance
from unimedvl.provenance.credentials import Credentials, find_credentials
from unimedvl.provenance.error import ProvenanceError
from unimedvl.provenance.mark import encoded, payload_of, save, watermarked, written
from unimedvl.provenance.watermark import Detected, detect, embed

__all__ = ["Credentials", "Detected", "ProvenanceError", "detect", "embed", "encoded", "find_credentials", "payload_of",
           "read_provenance", "save", "watermarked", "written"]
