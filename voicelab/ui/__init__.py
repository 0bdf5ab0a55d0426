"""The page: one file for each tab."""

from voicelab.ui import importing  # first: it decides how gradio is imported

# isort: split
from voicelab.ui import tools
from voicelab.ui.appearance import appearance
from voicelab.ui.page import build

__all__ = ["appearance", "build", "importing", "tools"]
