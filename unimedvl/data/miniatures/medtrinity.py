"""MedTrinity-25M in miniature: the demonstration with images inside; the whole with a shard, joined by names.

No shard is compressed here, since Zstandard is no part of Python.
"""

from __future__ import annotations

from pathlib import Path

from unimedvl.data.miniatures.paint import encoded, picture, tarred

# Name, description, source; one image has two descriptions, and the rows are not in the order of the shard.
_ROWS = (
    ("90_b.png", "A section of the brain with a bright lesion.", "brats24"),
    ("90_a.jpg", "A chest X-ray; the heart is large.", "nih_chest"),
    ("90_c.jpg", "Stained section with dense nuclei.", "TCGA"),
    ("90_b.png", "The same lesion in other words.", "brats24"),
)


def write(root: Path) -> None:
    # Parquet takes time to import.
    import pyarrow as pa
    import pyarrow.parquet as pq

    for folder in ("25M_demo", "25M_full", "25M_accessible"):
        (root / folder).mkdir()
    images = [{"bytes": encoded(picture("mri", 460)), "path": "demo_0.jpg"}]
    demo = {"image": images, "id": ["demo_0"], "caption": ["A simulated section."]}
    pq.write_table(pa.table(demo), root / "25M_demo/train-00000-of-00001.parquet")
    # The metadata come in several files.
    for part, rows in enumerate((_ROWS[:3], _ROWS[3:])):
        table = dict(zip(("file_name", "caption", "source"), map(list, zip(*rows, strict=True)), strict=True))
        pq.write_table(pa.table(table), root / f"25M_full/train-{part:05d}-of-00002.parquet")
    shards = ((67, (("90_a.jpg", "cxr"), ("90_b.png", "mri"))), (68, (("90_c.jpg", "his"),)))
    for number, held in shards:
        members = [(f"shard/{name}", encoded(picture(kind, 461 + n), "PNG" if name.endswith("png") else "JPEG"))
                   for n, (name, kind) in enumerate(held)]  # fmt: skip
        (root / f"25M_accessible/dataset_shard_{number}.tar").write_bytes(tarred(members))
