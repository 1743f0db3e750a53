"""BCI in miniature: pairs of one name in two folders, of each HER2 level, 0 without its plus sign."""

from __future__ import annotations

from pathlib import Path

from unimedvl.data.miniatures.paint import picture, save

_NAMES = ("00000_train_1+", "00001_train_0", "00002_train_3+", "00000_test_2+")


def write(root: Path) -> None:
    for seed, name in enumerate(_NAMES):
        split = name.split("_")[1]
        for view, stain in enumerate(("HE", "IHC")):
            save(root / f"BCI_dataset/{stain}/{split}/{name}.png", picture("his", 400 + seed, 128, view))
