"""Pictures of profiles: whatever comes in, small and as PNG."""

from __future__ import annotations

import io

from voicelab.errors import InvalidInput

__all__ = ["check_picture"]

MAX_AVATAR_BYTES = 10 << 20
AVATAR_PIXELS = 512


def check_picture(content: bytes) -> bytes:
    """PNG of at most 512 pixels a side; raises InvalidInput."""
    from PIL import Image, UnidentifiedImageError

    if len(content) > MAX_AVATAR_BYTES:
        raise InvalidInput("An avatar has at most 10 MiB.", param="file")
    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG", "WEBP", "GIF")) as image:
            if image.width * image.height > 50_000_000:
                raise InvalidInput("The picture has too many pixels.", param="file")
            small = image.convert("RGBA")
            small.thumbnail((AVATAR_PIXELS, AVATAR_PIXELS))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise InvalidInput("The file is not a picture that can be read.", param="file") from error
    sink = io.BytesIO()
    small.save(sink, "PNG")
    return sink.getvalue()
