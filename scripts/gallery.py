"""Copies the pictures of a results folder, made smaller, to the gallery: gallery.py FIGURES GALLERY."""

import sys
from pathlib import Path

from PIL import Image

from repalign.store import replacing

WIDTH, COLOURS = 1100, 256


def copy_pictures(figures: Path, gallery: Path) -> list[Path]:
    """Writes each png of `figures` at most WIDTH pixels wide and with a palette, so that it stays small."""
    written = []
    for path in sorted(figures.glob("*.png")):
        picture = Image.open(path).convert("RGB")
        height = round(picture.height * min(1.0, WIDTH / picture.width))
        picture = picture.resize((min(WIDTH, picture.width), height), Image.Resampling.LANCZOS)
        with replacing(gallery / path.name) as temporary:
            picture.quantize(COLOURS, dither=Image.Dither.NONE).save(temporary, format="png", optimize=True)
        written.append(gallery / path.name)
    return written


if __name__ == "__main__":
    for made in copy_pictures(Path(sys.argv[1]), Path(sys.argv[2])):
        print(made)
