"""Names that show what they are, at every door."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from voicelab.errors import InvalidInput
from voicelab.lab import VoiceLab
from voicelab.text.names import check_name, clean_name, file_name

UNSEEN = [
    *(
        "a\u202eb",
        "a\u202ab",
        "a\u2066b",
        "a\u2069b",
        "a\u200bb",
        "a\u200eb",
        "a\u200fb",
        "a\u061cb",
    ),
    *(
        "a\ufffeb",
        "a\ufdd0b",
        "a\U0001ffffb",
        "a\ufeffb",
        "a\u00adb",
        "a\u2060b",
        "a\u180eb",
        "a\x00b",
        "a\x07b",
        "a\x9bb",
        "a\nb",
        "a\tb",
    ),
    *("a\u2028b", "a\u3164b", "a\u115fb", "a\u034fb", "a\ue000b", "a\ufff9b", "a\U000e0041b"),
    *("a\u200db", "a\u200cb", "\u0645\u200c", "a\ud800b", "\u2800"),
]
SEEN = [
    *("Anna", "Zoë Çelik-Ω", "李小龍", "Ёлка 2", "\u0639\u0628\u062f \u0627\u0644\u0644\u0647"),
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",  # Persian, with its joiner
    "\u0915\u094d\u200d\u0937",  # Devanagari, with its joiner
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 family",
    "\u2764\ufe0f\u200d\U0001f525",
    "e\u0301",
]
CHAIN = [{"type": "reverb"}]


@pytest.mark.parametrize("name", UNSEEN, ids=ascii)
def test_what_cannot_be_seen_is_refused_in_a_name(name: str) -> None:
    with pytest.raises(InvalidInput, match=r"cannot be seen, U\+") as caught:
        check_name("name", name, 1, 100)
    caught.value.message.encode()
    cleaned = clean_name(name, "none")
    assert check_name("name", cleaned, 1, 100) == cleaned


@pytest.mark.parametrize("name", SEEN)
def test_names_of_all_scripts_are_kept(name: str) -> None:
    assert check_name("name", f" {name} ", 1, 100) == clean_name(name, "none") == name


@pytest.mark.parametrize("name", ["a\u202eb", "a\u200bb", "a\x07b"], ids=ascii)
def test_every_route_and_the_library_refuse_it(
    client: TestClient, lab: VoiceLab, voice: Path, name: str
) -> None:
    lab.library.profiles.create("Anna")
    take = lab.generate("A short take.", progress=False).id
    before = json.dumps(
        [lab.library.profiles.list(), lab.library.stories.list(), lab.history.get(take)]
    )
    preset = {"name": name, "effects_chain": CHAIN}
    effects = {"label": name, "effects_chain": CHAIN}
    clip = {"voice_name": (None, name), "voice_file": ("a.wav", voice.read_bytes())}
    anna = client.get("/voices/Anna").json()["voice"]["id"]
    for method, path, body in (
        ("POST", "/profiles", {"json": {"name": name}}),
        ("PUT", f"/profiles/{anna}", {"json": {"name": name}}),
        ("POST", "/voices", {"files": clip}),
        ("PUT", "/voices/Anna", {"data": {"new_name": name}}),
        ("POST", "/voices/Anna/aliases", {"data": {"alias": name}}),
        ("POST", "/stories", {"json": {"name": name}}),
        ("POST", "/effects/presets", {"json": preset}),
        ("PATCH", f"/history/{take}", {"json": {"label": name}}),
        ("PATCH", f"/history/{take}", {"json": {"tags": ["good", name]}}),
        ("PATCH", "/history", {"json": {"ids": [take], "add_tags": [name]}}),
        ("POST", f"/generations/{take}/versions/apply-effects", {"json": effects}),
    ):
        answer = client.request(method, path, **body)
        assert answer.status_code == 422 and "seen" in answer.text, (path, answer.text)
    for attempt in (
        lambda: lab.library.profiles.create(name),
        lambda: lab.library.stories.create(name, ""),
        lambda: lab.library.presets.create(name, CHAIN),
        lambda: lab.history.change(take, label=name),
    ):
        with pytest.raises(InvalidInput):
            attempt()
    after = json.dumps(
        [lab.library.profiles.list(), lab.library.stories.list(), lab.history.get(take)]
    )
    assert after == before


def test_what_comes_in_an_archive_is_cleaned(client: TestClient, lab: VoiceLab) -> None:
    anna = lab.library.profiles.create("Anna")["id"]
    take = lab.generate("A short take.", voice="Anna", progress=False).id
    lab.history.change(take, label="one", tags=["wind"])
    evil = {"Anna": "A\u202enn\u200ba", "one": "\u2066one", "wind": "w\u200bind\x07"}
    for path, name in (
        (f"/profiles/{anna}/export", "Anna (2)"),
        (f"/history/{take}/export", "Anna"),
    ):
        archive = _rewritten(client.get(path).content, evil)
        family = path.split("/")[1]
        came = client.post(f"/{family}/import", files={"file": archive}).json()
        record = came if family == "profiles" else client.get(f"/history/{came['id']}").json()
        assert record["name" if family == "profiles" else "profile_name"] == name
    assert (record["label"], record["tags"]) == ("one", ["wind"])


def _rewritten(archive: bytes, names: dict[str, str]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as before, zipfile.ZipFile(sink, "w") as after:
        for name in before.namelist():
            content = before.read(name)
            if name == "manifest.json":
                text = json.dumps(json.loads(content), ensure_ascii=False)
                for old, new in names.items():
                    text = text.replace(f'"{old}"', json.dumps(new))
                content = text.encode()
            after.writestr(name, content)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("take.wav", "take.wav"),
        ("a/b\\c.wav", "a b c.wav"),
        ('He said "no": <b>?*|.wav', "He said no b.wav"),
        ("\u202eevil\u2066.wav", "evil.wav"),
        ("../../etc/passwd", "etc passwd"),
        ("日本語 テスト.wav", "日本語 テスト.wav"),
        ("a\nb\0c.wav", "a bc.wav"),
        ("con.wav", "_con.wav"),
        ("LPT1", "_LPT1"),
        ("console.wav", "console.wav"),
        ("///.wav", "fallback"),
        ("", "fallback"),
    ],
)
def test_a_file_name_is_safe_everywhere(text: str, name: str) -> None:
    assert file_name(text, "fallback") == name
