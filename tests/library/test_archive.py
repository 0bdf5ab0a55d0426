"""Archives of takes: what goes out comes in equal, many at once, and nothing hostile gets in."""

from __future__ import annotations

import contextlib
import io
import json
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import MakeLab
from voicelab.audio.codecs import read
from voicelab.audio.encoding import encode
from voicelab.audio.samples import wav_bytes
from voicelab.errors import BadArchive, Conflict, StoreFull, TooLarge
from voicelab.lab import VoiceLab
from voicelab.library.archives.zips import Budget
from voicelab.records import GenerationRequest
from voicelab.text.names import clean_name

FIXTURES = Path(__file__).parents[1] / "fixtures" / "voicebox"
TAKE_KEYS = (
    *("text", "language", "duration", "seed", "instruct", "engine", "model_size", "parameters"),
    *("chunks", "is_favorited", "tags", "label", "sample_rate", "profile_name"),
)
VERSION_KEYS = ("label", "is_default", "effects_chain", "duration", "seed", "chunks")
GAIN = [{"type": "gain", "params": {"gain_db": -6}}]
words = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=30)
names = words.map(lambda text: clean_name(text, "")).filter(bool)


def made(lab: VoiceLab, text: str = "A short take.", **fields) -> str:
    return lab.drain(lab.stream(GenerationRequest(text, **fields)))["id"]


def take(lab: VoiceLab, id: str) -> dict:
    """A take without ids, times and paths: its sounds in their place."""
    record = lab.history.get(id)
    versions = sorted(record["versions"], key=lambda v: (not v["is_default"], v["created_at"]))
    numbers = {version["id"]: number for number, version in enumerate(versions)}
    return {key: record[key] for key in TAKE_KEYS} | {
        "versions": [
            {key: version[key] for key in VERSION_KEYS}
            | {
                "source": numbers.get(version["source_version_id"]),
                "sound": read(lab.library.files.path(version["audio_path"]))[0].tolist(),
            }
            for version in versions
        ]
    }


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory):
    from voicelab.settings import Settings

    folder = tmp_path_factory.mktemp("archives")
    with VoiceLab(Settings(engine="tone", data_dir=folder, min_free_disk_mb=0)) as lab:
        yield lab


@given(
    text=words.filter(lambda text: any(c.isalnum() for c in text)),
    profile=names,
    tags=st.lists(names, max_size=4, unique=True),
    versions=st.lists(st.sampled_from(["gain", "again"]), max_size=3),
    default=st.integers(0, 3),
    favorite=st.booleans(),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_goes_out_comes_in_equal(
    shared: VoiceLab, text, profile, tags, versions, default, favorite
) -> None:
    lab = shared
    voice = lab.library.profiles.named(lab.library.profiles.free_name(profile.strip()[:80]))
    id = made(lab, text, voice=voice["id"], seed=3)
    for kind in versions:
        if kind == "gain":
            lab.library.versions.apply(id, GAIN)
        else:
            lab.drain(lab.regenerate(id))
    rows = lab.library.versions.of(id)
    lab.library.versions.set_default(id, rows[default % len(rows)]["id"])
    lab.history.change(id, is_favorited=favorite, tags=tags, label="mine")
    (again,) = lab.library.archives.import_takes(io.BytesIO(lab.library.archives.export_take(id)))
    assert take(lab, again["id"]) == take(lab, id)
    assert again["id"] != id and again["source"] == "import"
    lab.library.delete_many([id, again["id"]])


def test_an_imported_take_can_be_made_again(shared: VoiceLab) -> None:
    id = made(shared, "The same words.", seed=8)
    (again,) = shared.library.archives.import_takes(
        io.BytesIO(shared.library.archives.export_take(id))
    )
    made_again = shared.drain(shared.retry(again["id"]))
    sounds = [read(shared.library.audio_path(each))[0] for each in (id, made_again["id"])]
    assert np.array_equal(*sounds)


def test_many_takes_travel_in_one_zip(make_lab: MakeLab) -> None:
    lab = make_lab()
    ids = [made(lab, text) for text in ("One.", "Two: ünïcode 日本語.", "One.")]
    sink = io.BytesIO()
    lab.library.archives.export_takes(ids, sink)
    with zipfile.ZipFile(sink) as archive:
        names = archive.namelist()
        told = json.loads(archive.read(names.pop()))
        assert len(names) == 3 and all(name.endswith(".voicebox.zip") for name in names)
        assert [(take["id"], take["filename"]) for take in told["takes"]] == list(
            zip(ids, names, strict=True)
        )
        assert told["missing"] == []
        single = archive.read(names[1])
    again = lab.library.archives.import_takes(sink)
    assert [record["text"] for record in again] == ["One.", "Two: ünïcode 日本語.", "One."]
    assert lab.library.archives.import_takes(io.BytesIO(single))[0]["text"].startswith("Two")
    lab.history.patch(ids[0], status="failed")
    lab.library.versions._store.delete("versions", lab.library.versions.of(ids[0])[0]["id"])
    with pytest.raises(Conflict, match="no audio"):
        lab.library.archives.export_takes(ids[:1], io.BytesIO())
    assert lab.library.archives.export_takes(ids, io.BytesIO()).ids == ids[:1]


@pytest.mark.parametrize("kind", ["take", "story"])
def test_an_import_lets_nobody_wait_for_its_files(
    make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    lab = make_lab()
    id, sink = made(lab), io.BytesIO()
    if kind == "story":
        story = lab.library.stories.create("A story")["id"]
        lab.library.stories.add_item(story, id)
        lab.library.archives.export_story(story, sink)
    else:
        sink.write(lab.library.archives.export_take(id))
    bring = (
        lab.library.archives.import_story if kind == "story" else lab.library.archives.import_takes
    )
    alone, batch, publish = [], lab.library.store.batch, lab.library.files.publish

    @contextlib.contextmanager
    def watched() -> Iterator[None]:
        with batch():
            alone.append(True)
            try:
                yield
            finally:
                alone.pop()

    def published(relative: str) -> None:
        assert not alone
        publish(relative)

    def full(*_: object) -> None:
        raise StoreFull("The disk is full.")

    monkeypatch.setattr(lab.library.store, "batch", watched)
    monkeypatch.setattr(lab.library.files, "publish", published)
    bring(sink)
    assert len(lab.history) == 2
    files = sorted(lab.library.files.root.rglob("*.wav"))
    assert len(files) == 2
    monkeypatch.setattr(lab.library.store, "insert", full)
    with pytest.raises(StoreFull):
        bring(sink)
    assert sorted(lab.library.files.root.rglob("*.wav")) == files


def test_one_bad_take_among_many_refuses_all(make_lab: MakeLab) -> None:
    lab = make_lab()
    good = lab.library.archives.export_take(made(lab))
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("1.voicebox.zip", good)
        archive.writestr("2.voicebox.zip", b"junk")
    files = sorted(path.name for path in lab.library.files.root.rglob("*"))
    with pytest.raises(BadArchive):
        lab.library.archives.import_takes(sink)
    assert len(lab.history) == 1
    assert sorted(path.name for path in lab.library.files.root.rglob("*")) == files


def test_an_archive_within_an_archive_within_an_archive_is_no_take(shared: VoiceLab) -> None:
    content = shared.library.archives.export_take(made(shared))
    for _ in range(2):
        sink = io.BytesIO()
        with zipfile.ZipFile(sink, "w") as archive:
            archive.writestr("inner.voicebox.zip", content)
        content = sink.getvalue()
    with pytest.raises(BadArchive, match="manifest"):
        shared.library.archives.import_takes(io.BytesIO(content))


MANIFEST = {
    "version": "1.0",
    "generation": {"text": "Hi.", "language": "en", "seed": 1, "duration": 0.1},
    "profile": {"name": "Default", "language": "en"},
    "versions": [{"id": "v", "label": "original", "is_default": True, "filename": "a.wav"}],
}
WRONG = (None, 5, -1, 1.5, True, "x" * 300_000, "a\x00b", [], {}, [1], {"a": 1}, "NaN")


def fields() -> list[tuple[str, str]]:
    return [
        (part, name)
        for part, names in {
            "": ("version", "generation", "profile", "versions"),
            "generation": (
                *("text", "language", "duration", "seed", "instruct", "created_at", "engine"),
                *("model_size", "parameters", "chunks", "is_favorited", "tags", "label"),
            ),
            "profile": ("name", "language"),
            "versions": (
                *("id", "label", "is_default", "effects_chain", "filename", "sha256"),
                *("source_version_id", "seed", "chunks"),
            ),
        }.items()
        for name in names
    ]


def archive(manifest: object, audio: bytes | None = None) -> io.BytesIO:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("manifest.json", json.dumps(manifest))
        sound = wav_bytes(np.full(2400, 900, np.int16), 24_000) if audio is None else audio
        file.writestr("audio/a.wav", sound)
    return sink


@pytest.mark.parametrize(("part", "name"), fields(), ids=lambda value: value or "manifest")
def test_a_wrong_type_in_any_field_is_refused_or_harmless(
    shared: VoiceLab, part: str, name: str
) -> None:
    """Whatever stands there: one clear error and nothing left, or a take that every list shows."""
    for wrong in WRONG:
        manifest = json.loads(json.dumps(MANIFEST))
        target = manifest[part] if part else manifest
        (target[0] if isinstance(target, list) else target)[name] = wrong
        before = sorted(path.name for path in shared.library.files.root.rglob("*.wav"))
        count = len(shared.history)
        try:
            records = shared.library.archives.import_takes(archive(manifest))
        except BadArchive as error:
            assert "manifest.json" in error.message or "archive" in error.message
            assert len(shared.history) == count
            assert sorted(path.name for path in shared.library.files.root.rglob("*.wav")) == before
        else:
            assert shared.history.list(limit=500)[1] == count + 1
            assert shared.history.stats()["total_generations"] == count + 1
            shared.library.archives.export_take(records[0]["id"])
            shared.library.delete(records[0]["id"])


def test_a_seed_that_is_a_word_does_not_break_every_list(shared: VoiceLab) -> None:
    manifest = {**MANIFEST, "generation": {**MANIFEST["generation"], "seed": "abc"}}
    with pytest.raises(BadArchive, match="seed"):
        shared.library.archives.import_takes(archive(manifest))
    assert isinstance(shared.history.list()[1], int)


@pytest.mark.parametrize("kind", ["junk", "empty", "text", "mp3 cut", "wav lies", "nothing"])
def test_audio_that_is_none_is_refused(shared: VoiceLab, kind: str) -> None:
    whole = wav_bytes(np.full(2400, 900, np.int16), 24_000)
    audio = {
        "junk": bytes(range(256)) * 20,
        "empty": b"",
        "text": b"This is a text.",
        "mp3 cut": encode(np.full(2400, 900, np.int16), 24_000, "mp3")[:40],
        "wav lies": whole[:24] + struct.pack("<I", 1) + whole[28:],
        "nothing": whole[:44],
    }[kind]
    with pytest.raises(BadArchive, match=r"a\.wav"):
        shared.library.archives.import_takes(archive(MANIFEST, audio))


def test_an_exported_flac_can_be_imported_again(shared: VoiceLab) -> None:
    pcm = np.arange(-3000, 3000, dtype=np.int16)
    manifest = json.loads(json.dumps(MANIFEST))
    manifest["versions"][0]["filename"] = "a.flac"
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as file:
        file.writestr("manifest.json", json.dumps(manifest))
        file.writestr("audio/a.flac", encode(pcm, 24_000, "flac"))
    (record,) = shared.library.archives.import_takes(sink)
    assert np.array_equal(read(shared.library.audio_path(record["id"]))[0], pcm)


@given(st.binary(max_size=300))
@settings(max_examples=60, deadline=None)
def test_random_bytes_are_refused(shared: VoiceLab, content: bytes) -> None:
    with pytest.raises(BadArchive):
        shared.library.archives.import_takes(io.BytesIO(content))


@given(st.integers(0, 10**6), st.integers(0, 255))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_flipped_byte_is_refused_or_harmless(shared: VoiceLab, place: int, value: int) -> None:
    content = bytearray((FIXTURES / "generation_single.voicebox.zip").read_bytes())
    content[place % len(content)] = value
    try:
        records = shared.library.archives.import_takes(io.BytesIO(bytes(content)))
    except (BadArchive, TooLarge):
        return
    assert records[0]["status"] == "completed"
    shared.library.delete_many([record["id"] for record in records])


@pytest.mark.parametrize("cut", [1, 10, 100, 1000, 10_000])
def test_a_cut_archive_is_refused(shared: VoiceLab, cut: int) -> None:
    content = (FIXTURES / "generation_versions.voicebox.zip").read_bytes()
    with pytest.raises(BadArchive):
        shared.library.archives.import_takes(io.BytesIO(content[:-cut]))


def test_silence_that_unpacks_a_thousandfold_is_refused(
    shared: VoiceLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    minute = encode(np.ones(60 * 24_000, np.int16), 24_000, "flac")
    manifest = json.loads(json.dumps(MANIFEST))
    names = [f"{n}.flac" for n in range(8)]
    manifest["versions"] = [{"filename": name} for name in names]
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as file:
        file.writestr("manifest.json", json.dumps(manifest))
        for name in names:
            file.writestr(f"audio/{name}", minute)
    assert len(sink.getvalue()) < 200_000
    many = io.BytesIO()
    with zipfile.ZipFile(many, "w") as file:
        for n in range(3):
            file.writestr(f"{n}.voicebox.zip", sink.getvalue())
    # Eight minutes are 22 MiB of samples: one take fits into 40 MiB, three do not.
    monkeypatch.setattr(Budget.__init__, "__defaults__", (40 * 2**20,))
    count = len(shared.history)
    with pytest.raises(TooLarge, match="40 MiB of sound"):
        shared.library.archives.import_takes(many)
    assert len(shared.history) == count
    shared.library.delete(shared.library.archives.import_takes(sink)[0]["id"])
