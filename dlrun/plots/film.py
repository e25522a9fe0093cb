"""Pictures one after another: as a GIF, and as an MP4 where ffmpeg is installed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image

from dlrun.folder.names import films_of

PAUSE, HOLD = 50, 2000  #: milliseconds between two pictures, and after the last one
SHADES = 160  #: colours of a GIF; with fewer, paths are hard to tell from contours
PATIENCE = 120  #: seconds that ffmpeg may take, which needs one or two
QUALITY = 18  #: of x264, from 0 (lossless) to 51: no difference is seen


def gif(pictures: Sequence[Image.Image], colours: Sequence[str]) -> bytes:
    """The pictures, which play for ever.

    colours: that it must have, though they are few of a picture's points.
    """
    width, height = pictures[-1].size
    patches = Image.new("RGB", (width, height + 225))
    patches.paste(pictures[-1], (0, 0))
    for place, colour in enumerate(colours):
        patches.paste(colour, (place * 100, height + 25, place * 100 + 100, height + 225))
    palette = patches.quantize(SHADES, dither=Image.Dither.NONE)
    first, *others = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    file = BytesIO()
    pauses = [PAUSE] * len(others) + [HOLD]
    first.save(file, "GIF", save_all=True, append_images=others, duration=pauses, loop=0)
    return file.getvalue()


def films(name: str, pictures: Sequence[Image.Image], colours: Sequence[str]) -> dict[str, bytes]:
    """By the names of their files, what can be made here."""
    contents = gif(pictures, colours), mp4(pictures)
    return {file: content for file, content in zip(films_of(name), contents, strict=True) if content}


def mp4(pictures: Sequence[Image.Image]) -> bytes | None:
    """The pictures as H.264, which slides and browsers play; None where no ffmpeg is on PATH, or it cannot do this."""
    program = shutil.which("ffmpeg")
    if program is None:
        return None
    width, height = (side // 2 * 2 for side in pictures[0].size)  # colours have half as many points, in both directions
    shown = [*pictures, *[pictures[-1]] * (HOLD // PAUSE - 1)]
    with tempfile.TemporaryDirectory(prefix="dlrun-") as folder:
        film = Path(folder, "film.mp4")
        command = [
            program, "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}",
            "-r", str(1000 // PAUSE), "-i", "-", "-c:v", "libx264", "-crf", str(QUALITY), "-pix_fmt", "yuv420p",
            # one thread and no name of the program: the same pictures give the same bytes
            "-threads", "1", "-flags", "+bitexact", "-fflags", "+bitexact", "-movflags", "+faststart", str(film),
        ]  # fmt: skip
        content = b"".join(picture.crop((0, 0, width, height)).tobytes() for picture in shown)
        try:
            subprocess.run(command, input=content, capture_output=True, timeout=PATIENCE, check=True, cwd=folder)
            return film.read_bytes()
        except (OSError, subprocess.SubprocessError):
            return None
