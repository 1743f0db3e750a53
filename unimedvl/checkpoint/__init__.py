"""Checkpoints in the published layout: found, checked, loaded and saved.

error       the one exception
tensorfile  a safetensors file, mapped and written in a stream
geometry    the model's geometry out of JSON and tensor shapes, and back
hub         from what the user names to a folder
layout      the files of a folder and the tensors in them
hashing     the hash of all weights, taken when asked for
progress    how far a long read is
read write  a model out of a checkpoint, and into one
"""

from unimedvl.checkpoint.error import CheckpointError
from unimedvl.checkpoint.hashing import Fingerprint, fingerprint
from unimedvl.checkpoint.layout import Checkpoint, open_checkpoint
from unimedvl.checkpoint.read import empty_model, load_model
from unimedvl.checkpoint.write import save_model

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "Fingerprint",
    "empty_model",
    "fingerprint",
    "load_model",
    "open_checkpoint",
    "save_model",
]
