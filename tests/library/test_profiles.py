"""Profiles: made, changed, spoken with, exported, deleted with everything that is theirs."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from tests.conftest import MakeLab, samples, write_clip
from voicelab.errors import (
    BadArchive,
    BadClip,
    Conflict,
    InvalidInput,
    NotFound,
    Protected,
    StoreFull,
    UnknownVoice,
)
from voicelab.lab import VoiceLab
from voicelab.records import GenerationRequest

FIXTURES = Path(__file__).parents[1] / "fixtures" / "voicebox"


def made(lab: VoiceLab, text: str = "A short take.", **fields) -> dict:
    return lab.drain(lab.stream(GenerationRequest(text, **fields)))


def picture(kind: str = "PNG", side: int = 700) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (side, side // 2), "teal").save(sink, kind)
    return sink.getvalue()


def files(lab: VoiceLab, folder: str) -> list[str]:
    return sorted(path.name for path in (lab.library.files.root / folder).glob("*"))


def test_there_is_always_the_default(lab: VoiceLab) -> None:
    (profile,) = lab.library.profiles.list()
    assert profile["name"] == "Default" and profile["voice_type"] == "default"
    with pytest.raises(Protected):
        lab.library.delete_profile("default")


def test_a_profile_counts_its_takes_and_clips(lab: VoiceLab, voice: Path) -> None:
    anna = lab.library.profiles.create("Anna", description="Calm", language="de")
    assert anna["voice_type"] == "preset" and anna["generation_count"] == 0
    lab.library.profiles.add_sample(anna["id"], voice, "What she says.")
    record = made(lab, voice="anna")
    assert record["profile_name"] == "Anna" and record["voice_source"] == "profile"
    found = lab.library.profiles.get(anna["id"])
    assert found["voice_type"] == "cloned"
    assert (found["generation_count"], found["sample_count"]) == (1, 1)
    assert lab.library.profiles.samples(anna["id"])[0]["reference_text"] == "What she says."
    assert lab.library.profiles.list()[0]["generation_count"] == 0


def test_nobody_counts_all_takes_to_speak_or_to_look(
    lab: VoiceLab, voice: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = lab.library.profiles.create("Anna")["id"]
    sample = lab.library.profiles.add_sample(anna, voice)["id"]
    made(lab, voice="Anna")

    def read_whole(table: str, *_: object, **__: object) -> list[tuple]:
        assert table not in ("generations", "samples")
        return values(table, *_, **__)

    values = lab.library.store.values
    monkeypatch.setattr(lab.library.store, "values", read_whole)
    lab.check(GenerationRequest("Again.", voice="Anna"))
    lab.check(GenerationRequest("Again."))
    counts = ("voice_type", "generation_count", "sample_count")
    found = {
        profile["name"]: [profile[key] for key in counts] for profile in lab.library.profiles.list()
    }
    assert found == {"Default": ["default", 0, 0], "Anna": ["cloned", 1, 1]}
    assert [clip["id"] for clip in lab.library.profiles.samples(anna)] == [sample]
    for ask in (
        lab.library.profiles.get,
        lab.library.profiles.samples,
        lab.library.profiles.reference,
    ):
        with pytest.raises(NotFound, match="no profile nobody"):
            ask("nobody")


def test_its_clips_make_its_voice(lab: VoiceLab, tmp_path: Path) -> None:
    anna = lab.library.profiles.create("Anna")
    assert lab.library.profiles.reference(anna["id"]) is None
    for number in range(2):
        clip = write_clip(tmp_path / f"{number}.wav", 2.5)
        lab.library.profiles.add_sample(anna["id"], clip)
    reference = lab.library.profiles.reference(anna["id"])
    assert reference is not None and len(reference) == pytest.approx(5.2 * 24_000, abs=2000)
    plain, cloned = made(lab, seed=1), made(lab, seed=1, voice="Anna")
    assert cloned["clip"] and not plain["clip"]
    sound = [
        samples(lab.library.audio_path(record["id"]).read_bytes()) for record in (plain, cloned)
    ]
    assert sound[0] != sound[1]
    # The reference is kept with the take, so it can be made again when the profile changes.
    lab.library.profiles.delete_sample(lab.library.profiles.samples(anna["id"])[0]["id"])
    again = lab.drain(lab.retry(cloned["id"]))
    assert samples(lab.library.audio_path(again["id"]).read_bytes()) == sound[1]


def test_an_engine_that_cannot_imitate_says_so_in_the_record(
    make_lab: MakeLab, voice: Path
) -> None:
    lab = make_lab(engine="espeak")
    anna = lab.library.profiles.create("Anna")
    lab.library.profiles.add_sample(anna["id"], voice)
    record = made(lab, voice="Anna")
    assert any("cannot imitate Anna" in warning for warning in record["warnings"])


def test_its_language_and_engine_are_used_where_a_request_names_none(make_lab: MakeLab) -> None:
    lab = make_lab(engine="espeak")
    lab.library.profiles.create("Greta", language="de")
    lab.library.profiles.create("Tony", default_engine="tone", language="sv")
    assert made(lab, voice="Greta")["language"] == "de"
    assert made(lab, voice="Greta", language="fr")["language"] == "fr"
    tony = made(lab, voice="Tony")
    assert tony["engine"] == "tone" and tony["language"] == "en"


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"name": ""}, "name takes 1 to 100"),
        ({"name": " \t "}, "name takes 1 to 100"),
        ({"name": "x" * 101}, "name takes 1 to 100"),
        ({"name": "a\x00b"}, "cannot be seen"),
        ({"name": "a\ud800"}, "cannot be seen"),
        ({"name": 5}, "name takes"),
        ({"description": "x" * 501}, "description takes"),
        ({"language": ""}, "language takes"),
    ],
)
def test_bad_fields_are_named(lab: VoiceLab, fields: dict, match: str) -> None:
    with pytest.raises(InvalidInput, match=match):
        lab.library.profiles.create(**{"name": "Fine", **fields})
    assert len(lab.library.profiles.list()) == 1


def test_a_name_is_given_once(lab: VoiceLab) -> None:
    one = lab.library.profiles.create("École \U0001f469\u200d\U0001f680 فاطمة")
    with pytest.raises(Conflict):
        lab.library.profiles.create(one["name"])
    with pytest.raises(Conflict):
        lab.library.profiles.create("DEFAULT")
    with pytest.raises(Conflict, match="OpenAI"):
        lab.library.profiles.create("Alloy")
    two = lab.library.profiles.create("Two")
    with pytest.raises(Conflict):
        lab.library.profiles.update(two["id"], {"name": one["name"]})
    assert lab.library.profiles.resolve(one["name"].upper())["id"] == one["id"]
    other = lab.library.profiles.create(one["name"].upper())
    assert lab.library.profiles.resolve(one["name"].upper())["id"] == other["id"]
    assert lab.library.profiles.update(two["id"], {"name": "two"})["name"] == "two"
    with pytest.raises(UnknownVoice, match="two"):
        lab.library.profiles.resolve("three")


@pytest.mark.parametrize(
    ("duration_s", "level", "match"),
    [(0.2, 0.3, "0.2 s"), (31, 0.3, "31.0 s"), (3, 0.0, "silent")],
)
def test_a_clip_that_cannot_be_used_says_why(
    lab: VoiceLab, tmp_path: Path, duration_s: float, level: float, match: str
) -> None:
    anna = lab.library.profiles.create("Anna")
    with pytest.raises(BadClip, match=match):
        lab.library.profiles.add_sample(
            anna["id"], write_clip(tmp_path / "c.wav", duration_s, level)
        )
    assert (
        lab.library.profiles.get(anna["id"])["sample_count"] == 0 and files(lab, "profiles") == []
    )


def test_deleting_a_profile_takes_all_that_is_its_own(lab: VoiceLab, voice: Path) -> None:
    anna = lab.library.profiles.create("Anna")
    lab.library.profiles.add_sample(anna["id"], voice)
    lab.library.profiles.set_avatar(anna["id"], picture())
    made(lab, voice="Anna")
    mine = made(lab)
    assert lab.library.delete_profile(anna["id"]) == {"generations": 1, "samples": 1, "moved": 0}
    assert [record["id"] for record in lab.history] == [mine["id"]]
    assert lab.history.stats()["total_generations"] == 1
    assert files(lab, "profiles") == [] and files(lab, "clips") == []
    assert len(files(lab, "generations")) == 1
    with pytest.raises(NotFound):
        lab.library.profiles.get(anna["id"])


def test_its_takes_can_be_kept_as_unassigned(lab: VoiceLab) -> None:
    for name in ("Anna", "Ben"):
        profile = lab.library.profiles.create(name)
        made(lab, voice=name)
        assert lab.library.delete_profile(profile["id"], keep_generations=True)["moved"] == 1
    assert {record["profile_name"] for record in lab.history} == {"Unassigned"}
    assert len(lab.library.profiles.list()) == 2


def test_a_full_disk_leaves_profile_and_files_as_they_were(
    lab: VoiceLab, voice: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = lab.library.profiles.create("Anna")

    def full(*_: object) -> None:
        raise StoreFull("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(lab.library.store, "insert", full)
        with pytest.raises(StoreFull):
            lab.library.profiles.add_sample(anna["id"], voice)
    assert files(lab, "profiles") == []


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_an_avatar_becomes_a_small_png(lab: VoiceLab, kind: str) -> None:
    anna = lab.library.profiles.create("Anna")
    first = lab.library.profiles.set_avatar(anna["id"], picture(kind))["avatar_path"]
    with Image.open(lab.library.files.path(first)) as image:
        assert image.format == "PNG" and image.size == (512, 256)
    second = lab.library.profiles.set_avatar(anna["id"], picture())["avatar_path"]
    assert files(lab, "profiles") == [Path(second).name]
    assert lab.library.profiles.delete_avatar(anna["id"])["avatar_path"] is None
    assert files(lab, "profiles") == []


@pytest.mark.parametrize("content", [b"", b"junk", b"<svg onload='x()'/>", picture()[:60]])
def test_what_is_no_picture_is_refused(lab: VoiceLab, content: bytes) -> None:
    anna = lab.library.profiles.create("Anna")
    with pytest.raises(InvalidInput, match="picture"):
        lab.library.profiles.set_avatar(anna["id"], content)
    assert files(lab, "profiles") == []


def test_a_clip_that_compresses_a_hundredfold_goes_out_and_comes_in(
    lab: VoiceLab, tmp_path: Path
) -> None:
    """A square wave repeats itself to the sample."""
    clip = tmp_path / "square.wav"
    soundfile.write(clip, np.tile(np.repeat([0.3, -0.3], 60), 1200).astype("float32"), 24_000)
    anna = lab.library.profiles.create("Anna")
    lab.library.profiles.add_sample(anna["id"], clip)
    _, content = lab.library.archives.export_profile(anna["id"])
    back = lab.library.archives.import_profile(io.BytesIO(content))
    assert back["sample_count"] == 1


def test_a_profile_goes_out_and_comes_in(lab: VoiceLab, make_lab: MakeLab, voice: Path) -> None:
    anna = lab.library.profiles.create("Anna", description="Calm", language="de")
    lab.library.profiles.add_sample(anna["id"], voice, "Größer, 日本語.")
    lab.library.profiles.set_avatar(anna["id"], picture())
    name, content = lab.library.archives.export_profile(anna["id"])
    assert name == "profile-Anna.voicebox.zip"
    again = lab.library.archives.import_profile(io.BytesIO(content))
    assert again["name"] == "Anna (2)" and again["id"] != anna["id"]
    assert (again["description"], again["language"]) == ("Calm", "de")
    assert again["avatar_path"] and again["sample_count"] == 1
    assert lab.library.profiles.samples(again["id"])[0]["reference_text"] == "Größer, 日本語."
    pair = [lab.library.profiles.reference(profile["id"]) for profile in (anna, again)]
    assert pair[0] is not None and pair[1] is not None and np.array_equal(*pair)


@pytest.mark.parametrize(
    ("name", "samples"),
    [("profile_one_sample", 1), ("profile_two_samples_avatar", 2)],
)
def test_the_studios_profiles_come_in(lab: VoiceLab, name: str, samples: int) -> None:
    with (FIXTURES / f"{name}.voicebox.zip").open("rb") as file:
        profile = lab.library.archives.import_profile(file)
    assert profile["name"] == "Synthetic Voice" and profile["sample_count"] == samples
    assert bool(profile["avatar_path"]) == (samples == 2)
    texts = [sample["reference_text"] for sample in lab.library.profiles.samples(profile["id"])]
    assert "Reference sentence number one." in texts


def changed(**entries: bytes | None) -> io.BytesIO:
    sink = io.BytesIO()
    with (
        zipfile.ZipFile(FIXTURES / "profile_two_samples_avatar.voicebox.zip") as source,
        zipfile.ZipFile(sink, "w") as target,
    ):
        content = {name: source.read(name) for name in source.namelist()} | entries
        for name, data in content.items():
            if data is not None:
                target.writestr(name, data)
    sink.seek(0)
    return sink


def manifest(**fields: object) -> bytes:
    profile = {"name": "X", "description": "", "language": "en"} | fields
    return json.dumps({"version": "1.0", "profile": profile}).encode()


CLIP = "samples/3c402ad0-ea86-42bf-93ee-23d77bc7baae.wav"


@pytest.mark.parametrize(
    "entries",
    [
        {"manifest.json": None},
        {"manifest.json": b"[]"},
        {"manifest.json": b"{"},
        {"manifest.json": manifest(name="")},
        {"manifest.json": manifest(name=5)},
        {"manifest.json": manifest(name="a\x00b")},
        {"manifest.json": manifest(language=None)},
        {"manifest.json": manifest(effects_chain=[{"type": "explode"}])},
        {"manifest.json": json.dumps({"version": "3.0", "profile": {"name": "X"}}).encode()},
        {"samples.json": b"[1]"},
        {"samples.json": b'{"a": 5}'},
        {CLIP: b"junk"},
        {CLIP: b""},
        {"avatar.png": b"junk"},
        {"../evil.wav": b"x"},
        {f"samples/{n}.wav": b"x" for n in range(25)},
    ],
    ids=str,
)
def test_a_bad_profile_archive_leaves_nothing(lab: VoiceLab, entries: dict) -> None:
    with pytest.raises(BadArchive):
        lab.library.archives.import_profile(changed(**entries))
    assert len(lab.library.profiles.list()) == 1 and files(lab, "profiles") == []
