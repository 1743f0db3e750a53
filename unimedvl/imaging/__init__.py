"""Files in and out: pictures, DICOM and NIfTI to float RGB, what a made picture says of itself, and where it goes."""

from unimedvl.imaging.errors import ImagingError
from unimedvl.imaging.image import Image, ReadOptions, read_image
from unimedvl.imaging.metadata import read_provenance
from unimedvl.imaging.output import check_output
from unimedvl.imaging.resize import fit, resize
from unimedvl.imaging.source import Bounds
from unimedvl.imaging.windowing import PRESETS, parse_window

__all__ = ["PRESETS", "Bounds", "Image", "ImagingError", "ReadOptions", "check_output", "fit", "parse_window",
           "read_image", "read_provenance", "resize"]
