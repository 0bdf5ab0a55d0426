from __future__ import annotations

from html.parser import HTMLParser

import pytest

from voicelab.lab import VoiceLab
from voicelab.ui.components.figures import cards
from voicelab.ui.components.takes import chunk_list, take_facts, take_list
from voicelab.ui.components.templates import clock, size

HOSTILE = "<img src=x onerror=alert(1)> \"' ${1+1} {{value}} </article>"


class Tags(HTMLParser):
    def __init__(self, html: str):
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_every_text_of_a_record_is_escaped(lab: VoiceLab) -> None:
    record = lab.generate("Hello.", progress=False).record
    record |= {"text": HOSTILE, "tags": [HOSTILE], "voice": HOSTILE, "warnings": [HOSTILE]}
    record["chunks"][0]["text"] = HOSTILE
    failed = {**record, "status": "failed", "error": HOSTILE, "duration": None, "audio_path": None}
    html = take_list([record, failed], False) + chunk_list(record["chunks"]) + take_facts(record)
    parsed = Tags(html)
    assert "img" not in parsed.tags
    assert parsed.text.count(HOSTILE) == 9


def test_no_takes_say_so() -> None:
    assert "No takes yet" in take_list([], False)
    assert "No take matches" in take_list([], True)


@pytest.mark.parametrize(("value", "text"), [(12, "12 B"), (14_400, "14.4 KB"), (3.2e9, "3.2 GB")])
def test_sizes_read_well(value: float, text: str) -> None:
    assert size(value) == text


def test_times_read_well() -> None:
    assert clock(75.25) == "1:15.2"
    assert "<b>3</b>" in cards([("takes", "3")])
