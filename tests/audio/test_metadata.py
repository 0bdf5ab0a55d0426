"""What sound files say of themselves, and that their sound is what it was."""

from __future__ import annotations

import json
import struct
import subprocess
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fastapi.testclient import TestClient

from tests.conftest import samples
from voicelab.audio.metadata import MAX_BYTES, Metadata, read_metadata, tag_flac, wav_chunks
from voicelab.audio.samples import WavWriter
from voicelab.lab import VoiceLab
from voicelab.library import Policy
from voicelab.records import GenerationRequest

TEXTS = [
    "Hello.",
    "",
    'Quotes " and <tags> & ]]> &lt; &amp;',
    "\x01 control \x1b\x7f \ufffe \uffff",
    "עברית 🎙️ e\u0301 \u202e",
    "line\nline\ttab",
    "long " * 20_000,
]
PCM = np.arange(-1000, 1001, dtype=np.int16)


def wav(path: Path, metadata: Metadata) -> Path:
    with WavWriter(path, 24_000) as file:
        file.write(PCM)
        file.commit(wav_chunks(metadata))
    return path


def flac(path: Path, metadata: Metadata) -> Path:
    soundfile.write(path, PCM, 24_000, format="FLAC", subtype="PCM_16")
    tag_flac(path, metadata)
    return path


KINDS = pytest.mark.parametrize(("made", "name"), [(wav, "a.wav"), (flac, "a.flac")])


def probed(path: Path) -> dict:
    words = ["ffprobe", "-v", "error", "-show_format", "-show_streams", "-of", "json", str(path)]
    return json.loads(subprocess.run(words, check=True, capture_output=True).stdout)


@KINDS
@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_what_is_written_is_read_and_the_sound_is_the_same(
    tmp_path: Path, made, name: str, text: str
) -> None:
    document = json.dumps({"text": text}, ensure_ascii=False).encode()
    path = made(tmp_path / name, Metadata({"title": "T", "comment": text}, document))
    found = read_metadata(path)
    assert json.loads(found.document) == {"text": text}
    assert found.tags["title"] == "T"
    printable = "".join(c for c in text if (c >= " " and c != "\x7f") or c in "\n\t")
    if "\ufffe" not in text and "\x01" not in text:
        assert found.tags.get("comment", "") == printable
    read, rate = soundfile.read(path, dtype="int16")
    assert rate == 24_000 and np.array_equal(read, PCM)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_every_reader_of_wav_files_takes_it(tmp_path: Path) -> None:
    said = Metadata({"title": "Odd", "artist": "Anna", "comment": "x"}, b'{"a": 1}')
    path = wav(tmp_path / "a.wav", said)
    with wave.open(str(path)) as file:
        assert file.getnframes() == len(PCM) and file.readframes(9999) == PCM.tobytes()
    content = path.read_bytes()
    assert struct.unpack("<I", content[4:8])[0] == len(content) - 8
    assert samples(content) == PCM.tobytes()
    tags = probed(path)["format"]["tags"]
    assert tags["title"] == "Odd" and tags["artist"] == "Anna"
    words = ["ffmpeg", "-v", "error", "-i", str(path), "-f", "s16le", "-"]
    done = subprocess.run(words, check=True, capture_output=True)
    assert done.stdout == PCM.tobytes() and not done.stderr


def test_every_reader_of_flac_files_takes_it(tmp_path: Path) -> None:
    path = flac(tmp_path / "a.flac", Metadata({"title": "Even", "comment": "é"}, b"{}"))
    tags = {name.lower(): text for name, text in probed(path)["format"]["tags"].items()}
    assert tags["title"] == "Even" and "é" in tags.values() and tags["voicelab"] == "{}"
    words = ["ffmpeg", "-v", "error", "-i", str(path), "-f", "s16le", "-"]
    assert subprocess.run(words, check=True, capture_output=True).stdout == PCM.tobytes()


@KINDS
def test_what_is_too_long_is_left_out(tmp_path: Path, made, name: str) -> None:
    said = Metadata({"title": "T"}, b'{"a": "' + b"x" * MAX_BYTES + b'"}')
    assert read_metadata(made(tmp_path / name, said)) == Metadata({"title": "T"})


@KINDS
def test_a_file_cut_or_changed_anywhere_is_read_without_a_fault(
    tmp_path: Path, made, name: str
) -> None:
    path = made(tmp_path / name, Metadata({"title": "T", "comment": "C"}, b'{"a": 1}'))
    content = path.read_bytes()
    head = 4040 if name == "a.wav" else 0
    draw = np.random.default_rng(1)
    for _ in range(400):
        changed = bytearray(content)
        for _ in range(3):
            changed[int(draw.integers(head, min(len(content), head + 400)))] = draw.integers(256)
        path.write_bytes(bytes(changed))
        read_metadata(path)
    for size in range(0, len(content), 7):
        path.write_bytes(content[:size])
        read_metadata(path)


@pytest.mark.parametrize("content", [b"", b"RIFF", b"RIFF\0\0\0\0WAVE", b"fLaC", b"OggS" * 99])
def test_other_files_say_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    assert read_metadata(path) == Metadata()
    if content != b"fLaC":
        with pytest.raises(ValueError, match="not a FLAC"):
            tag_flac(path, Metadata())
    assert path.read_bytes() == content


def test_each_file_of_a_take_says_what_it_is(lab: VoiceLab, client: TestClient) -> None:
    chain = [{"type": "gain", "params": {"gain_db": -6}}]
    request = GenerationRequest("The fjord <was> quiet & cold.", seed=7, effects_chain=chain)
    id = lab.drain(lab.stream(request))["id"]
    lab.drain(lab.regenerate(id, seed=9))
    record = lab.history.get(id)
    assert len(record["versions"]) == 4
    for version in record["versions"]:
        path = lab.library.files.path(version["audio_path"])
        said = read_metadata(path)
        document = json.loads(said.document)
        assert said.tags["comment"] == record["text"] and said.tags["artist"] == "Default"
        assert document["generation"]["id"] == id and document["generation"]["engine"] == "tone"
        (own,) = document["versions"]
        for name in ("id", "label", "effects_chain", "seed", "source_version_id"):
            assert own.get(name) == version[name], name
        assert version["size_bytes"] == path.stat().st_size
    whole = client.get(f"/audio/{id}")
    part = client.get(f"/audio/{id}", headers={"Range": "bytes=40-99"})
    assert part.status_code == 206 and part.content == whole.content[40:100]
    lab.library.storage.set_policy(Policy(flac_after_days=0))
    assert len(lab.library.storage.cleanup(dry_run=False)["compressed"]) == 4
    for version in lab.library.versions.of(id):
        path = lab.library.files.path(version["audio_path"])
        assert path.suffix == ".flac" and version["size_bytes"] == path.stat().st_size
        assert json.loads(read_metadata(path).document)["versions"][0]["id"] == version["id"]
