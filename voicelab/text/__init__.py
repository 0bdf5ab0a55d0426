"""Text before it is spoken: chunks, languages, scripts, names."""

from voicelab.text.chunks import EVENT_TAGS, Chunk, Plan, check_text, halves, plan
from voicelab.text.names import check_name, clean_name, file_name

__all__ = [
    "Chunk",
    "EVENT_TAGS",
    "Plan",
    "check_name",
    "check_text",
    "clean_name",
    "file_name",
    "halves",
    "plan",
]
