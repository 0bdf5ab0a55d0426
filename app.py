"""The app that people start: `uv run --all-extras app.py`, `gradio app.py`, a Space.

`demo` stands at module level because hot reload and Spaces look for it there.
"""

import atexit
import logging
import sys

import voicelab
from voicelab.cli import end_in_order, parse_settings
from voicelab.engines import engine_names
from voicelab.server import Lab, gr

if gr.NO_RELOAD:
    # Once a process: the data folder is locked, and weights take seconds to load.
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    for name in ("httpx", "httpx2"):  # they log addresses, which may hold passwords
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        started = __name__ == "__main__"
        if started:
            end_in_order()
        settings = parse_settings(None, engine_names()) if started else None
        lab = voicelab.VoiceLab(settings)
    except voicelab.VoicelabError as error:
        sys.exit(f"voicelab: {error.message}")
    # Whoever launches `demo`: the journal is folded, what runs can be resumed.
    atexit.register(lab.close)

demo = Lab(lab)

if __name__ == "__main__":
    try:
        demo.launch()
    except voicelab.VoicelabError as error:
        sys.exit(f"voicelab: {error.message}")
    finally:
        # Hot reload runs this file again in a thread, over the same lab; `launch` returns at once.
        if gr.NO_RELOAD:
            lab.close()
