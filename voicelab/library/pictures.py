"""Pictures of profiles: any format is converted to a small PNG."""

from __future__ import annotations

import io

from voicelab.errors import InvalidInput

__all__ = ["check_picture"]

MAX_AVATAR_BYTES = 10 << 20
AVATAR_PIXELS = 512
MAX_PIXELS = 50_000_000
SCALABLE = ("RGB", "RGBA", "L", "CMYK")


def check_picture(content: bytes) -> bytes:
    """PNG of at most 512 pixels a side; raises InvalidInput."""
    from PIL import Image, UnidentifiedImageError  # start-up time: 60 ms, and only pictures need it

    # Pillow's own limit, which it tells by an error of neither kind, or by a warning before it.
    bombs = (Image.DecompressionBombError, Image.DecompressionBombWarning)

    if len(content) > MAX_AVATAR_BYTES:
        raise InvalidInput("An avatar has at most 10 MiB.", param="file")
    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG", "WEBP", "GIF")) as image:
            if image.width * image.height > MAX_PIXELS:
                raise InvalidInput("The picture has too many pixels.", param="file")
            # Made small first where it can be: an RGBA copy of all pixels takes 200 MB.
            small = image if image.mode in SCALABLE else image.convert("RGBA")
            small.thumbnail((AVATAR_PIXELS, AVATAR_PIXELS))
            small = small.convert("RGBA")
    except bombs as error:
        raise InvalidInput("The picture has too many pixels.", param="file") from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError) as error:
        raise InvalidInput("The file is not a picture that can be read.", param="file") from error
    sink = io.BytesIO()
    small.save(sink, "PNG")
    return sink.getvalue()
