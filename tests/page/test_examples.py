"""The commands of the READMEs, as somebody would copy them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.conftest import wait_for, write_clip
from voicelab.lab import VoiceLab

ROOT = Path(__file__).parents[2]
TEXT = (
    "This sentence is long enough to be a chunk of its own. "
    "The second one is long enough for it as well. "
    "And so is the third sentence of this text."
)


def commands(document: str) -> list[str]:
    text = (ROOT / document).read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = re.findall(r"```bash\n(.*?)```", text, re.S)
    return [line for block in blocks for line in block.splitlines() if line.startswith("curl")]


def with_ids(command: str, lab: VoiceLab) -> str:
    """The command with ids of a take of three chunks, of the newest profile and story."""
    take = next(record["id"] for record in lab.history if len(record["chunks"]) == 3)
    stories = [story["id"] for story in lab.library.stories.list()]
    ids = {
        "history": take,
        "generations": take,
        "profiles": lab.library.profiles.list()[-1]["id"],
        "stories": stories[0] if stories else "",
    }
    return re.sub(r"(\w+)/ID", lambda found: f"{found[1]}/{ids[found[1]]}", command)


def test_every_curl_of_the_readmes_is_answered(
    page_lab: VoiceLab, url: str, tmp_path: Path
) -> None:
    page_lab.generate(TEXT, progress=False)
    write_clip(tmp_path / "anna.wav", 3)
    examples = [*commands("README.md"), *commands("voicelab/rest/README.md")]
    assert len(examples) >= 16
    for example in examples:
        wait_for(lambda: page_lab.status.current()["status"] == "idle")
        command = with_ids(example, page_lab).replace("localhost:7860", url.split("//")[1])
        command += " -s -w '%{stderr}%{http_code}'"
        done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True)
        assert done.stderr == "200", f"{example}: {done.stderr} {done.stdout}"
    assert (tmp_path / "take.wav").read_bytes()[:4] == b"RIFF"
    assert b"ftyp" in (tmp_path / "wind.m4b").read_bytes()[:12]
