"""Records lost: made again from the sounds, and what refers to them mended."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.conftest import MakeLab
from voicelab.audio.codecs import read
from voicelab.audio.metadata import Metadata, wav_chunks
from voicelab.audio.samples import WavWriter
from voicelab.cli import main
from voicelab.errors import StoreCorrupt
from voicelab.lab import VoiceLab
from voicelab.library import Policy
from voicelab.library.repair.rebuilding import NO_TEXT, rebuild
from voicelab.library.repair.references import References
from voicelab.records import GenerationRequest
from voicelab.store import MemoryStore

GAIN = [{"type": "gain", "params": {"gain_db": -6}}]
SAID = (
    *("id", "text", "language", "duration", "seed", "engine", "created_at", "parameters"),
    *("chunks", "profile_id", "profile_name", "audio_path", "sample_rate", "size_bytes"),
    *("source", "software", "active_version_id", "status", "voice"),
)
OF_VERSIONS = (
    *("id", "generation_id", "label", "effects_chain", "source_version_id", "is_default"),
    *("seed", "chunks", "duration", "size_bytes", "audio_path"),
)


def made(lab: VoiceLab, text: str = "A short take.", **fields: Any) -> str:
    return lab.drain(lab.stream(GenerationRequest(text, **fields)))["id"]


def repair(folder: Path, *words: str) -> int:
    return main(["db", "repair", "--data-dir", str(folder), *words])


def check(folder: Path) -> int:
    return main(["db", "check", "--data-dir", str(folder)])


def record_fields(lab: VoiceLab, id: str) -> dict[str, Any]:
    record = lab.history.get(id)
    versions = [{name: row[name] for name in OF_VERSIONS} for row in record["versions"]]
    versions.sort(key=lambda row: row["id"])
    return {name: record[name] for name in SAID} | {"versions": versions}


def works(lab: VoiceLab, id: str) -> None:
    """Exported, given effects, made again."""
    assert lab.library.archives.import_takes(io.BytesIO(lab.library.archives.export_take(id)))
    assert lab.library.versions.apply(id, GAIN)["source_version_id"]
    if lab.history.get(id)["seed"] is not None and lab.history.get(id)["engine"] == "tone":
        lab.drain(lab.regenerate(id))


@pytest.fixture
def twenty(make_lab: MakeLab) -> tuple[Path, dict[str, dict[str, Any]]]:
    """The folder of a lab with twenty takes, closed, and its records by id."""
    lab = make_lab()
    lab.library.profiles.create("Anna")
    voices = ("Anna", None)
    ids = [made(lab, f"Take {n}: ü & <b>.", seed=n, voice=voices[n % 2]) for n in range(17)]
    ids.append(made(lab, "With effects.", effects_chain=GAIN))
    lab.drain(lab.regenerate(ids[0], seed=99))
    lab.library.versions.apply(ids[1], GAIN)
    (again,) = lab.library.archives.import_takes(
        io.BytesIO(lab.library.archives.export_take(ids[0]))
    )
    ids += [again["id"], made(lab, "To FLAC.")]
    old = {"created_at": "2020-01-01T00:00:00.000000Z"}
    lab.library.store.patch("versions", lab.history.get(ids[-1])["active_version_id"], old)
    lab.library.storage.set_policy(Policy(flac_after_days=1000))
    assert len(lab.library.storage.cleanup(dry_run=False)["compressed"]) == 1
    records = {id: record_fields(lab, id) for id in ids}
    lab.close()
    return lab.library.files.root, records


@pytest.mark.parametrize("content", [None, b"", b"\0" * 100, b"{}"], ids=str)
def test_takes_come_back_from_their_sounds(twenty, make_lab: MakeLab, content, capsys) -> None:
    folder, before = twenty
    (folder / "db.json").unlink()
    if content is not None:
        (folder / "db.json").write_bytes(content)
    with pytest.raises(StoreCorrupt, match="--from-audio"):
        make_lab()
    assert check(folder) == 1
    assert repair(folder) == 1
    assert repair(folder, "--from-audio", "--dry-run") == 0
    assert "would be made again from sounds: 20 takes (0 of them" in capsys.readouterr().out
    assert check(folder) == 1
    assert repair(folder, "--from-audio") == 0
    assert "made again from sounds: 20 takes (0 of" in capsys.readouterr().out
    assert check(folder) == 0
    lab = make_lab()
    assert {id: record_fields(lab, id) for id in before} == before and len(lab.history) == 20
    assert lab.library.profiles.voice("Anna")["generation_count"] == 10
    for id in list(before)[:2] + list(before)[-3:]:
        works(lab, id)
    assert lab.library.storage.cleanup()["orphan_files"] == []
    lab.close()
    assert repair(folder, "--from-audio") == 0
    assert "sounds: 0 takes (0 of them say nothing of themselves), 0 v" in capsys.readouterr().out


def test_only_what_is_lost_is_made_again(twenty, make_lab: MakeLab) -> None:
    folder, before = twenty
    lab = make_lab()
    first, second, third = list(before)[:3]
    for row in lab.history.get(first)["versions"][:1]:
        lab.library.store.delete("versions", row["id"])
    for row in lab.history.get(second)["versions"]:
        lab.library.store.delete("versions", row["id"])
    lab.library.store.delete("generations", second)
    lab.history.change(third, tags=["mine"])
    lab.close()
    assert repair(folder, "--from-audio") == 0 and check(folder) == 0
    lab = make_lab()
    assert {id: record_fields(lab, id) for id in before} == before
    assert lab.history.get(third)["tags"] == ["mine"]


def test_sounds_that_say_nothing_become_takes_that_say_so(
    make_lab: MakeLab, tmp_path: Path, capsys
) -> None:
    takes = tmp_path / "data" / "generations"
    (tmp_path / "data" / "profiles").mkdir(parents=True)
    takes.mkdir()
    pcm = np.arange(-9000, 9000, dtype=np.int16)
    soundfile.write(takes / "plain.wav", pcm, 16_000)
    soundfile.write(takes / "other.flac", pcm, 24_000)
    soundfile.write(tmp_path / "data" / "profiles" / "voice.wav", pcm, 24_000)
    with WavWriter(takes / "tags only.wav", 24_000) as wav:
        wav.write(pcm)
        wav.commit(wav_chunks(Metadata({"comment": "What a studio wrote."}, b"{broken")))
    (takes / "junk.wav").write_bytes(b"junk")
    (takes / "cut.wav").write_bytes(b"RIFF\0\0\0\0WAVE")
    assert repair(tmp_path / "data", "--from-audio") == 0
    out = capsys.readouterr().out
    assert "3 takes (3 of them say nothing of themselves), 3 versions, 1 profiles, 1 clips" in out
    assert out.count("passed over: generations/") == 2
    assert repair(tmp_path / "data", "--from-audio") == 0
    assert "0 takes (0 of them" in capsys.readouterr().out
    lab = make_lab()
    texts = sorted(record["text"] for record in lab.history)
    assert texts == [NO_TEXT, NO_TEXT, "What a studio wrote."]
    for record in lab.history:
        assert np.array_equal(read(lab.library.audio_path(record["id"]))[0], pcm)
        assert record["seed"] is None and record["engine"] == "imported"
        works(lab, record["id"])
    assert (
        lab.library.profiles.reference(lab.library.profiles.resolve("Recovered voice")["id"])
        is not None
    )


HOSTILE: list[Callable[[dict], object]] = [
    lambda d: d["generation"].update(id="../../etc/passwd"),
    lambda d: d["generation"].update(id="x" * 65),
    lambda d: d["generation"].update(text="a\x00b"),
    lambda d: d["generation"].update(text=""),
    lambda d: d["generation"].update(seed=-1),
    lambda d: d["generation"].update(created_at="tomorrow"),
    lambda d: d["generation"].update(clip="../db.json"),
    lambda d: d["generation"].update(profile_id="a/b"),
    lambda d: d["generation"].update(chunks=[{"index": -1}]),
    lambda d: d["versions"].clear(),
    lambda d: d.update(generation=[]),
]


@pytest.mark.parametrize("spoil", HOSTILE, ids=range(len(HOSTILE)))
def test_what_a_file_says_is_checked(tmp_path: Path, make_lab: MakeLab, spoil) -> None:
    generation = {"id": "take", "text": "Mine.", "engine": "tone"}
    document = {"generation": generation, "versions": [{"id": "v"}]}
    spoil(document)
    (tmp_path / "data" / "generations").mkdir(parents=True)
    with WavWriter(tmp_path / "data" / "generations" / "v.wav", 24_000) as wav:
        wav.write(np.ones(999, np.int16))
        wav.commit(wav_chunks(Metadata({}, json.dumps(document).encode())))
    assert repair(tmp_path / "data", "--from-audio") == 0
    (record,) = make_lab().history
    assert record["text"] == NO_TEXT and record["audio_path"] == "generations/v.wav"
    assert record["profile_id"] == "default" and record["clip"] is None


def test_a_sound_is_never_removed_by_a_repair_that_fails(lab: VoiceLab, monkeypatch) -> None:
    id = made(lab)
    path = lab.library.audio_path(id)
    store = MemoryStore()

    def broken(*_: object, **__: object) -> None:
        raise OSError("broken")

    monkeypatch.setattr(store, "patch", broken)
    with pytest.raises(OSError, match="broken"):
        rebuild(store, lab.library.files)
    assert path.exists() and store.count("generations") == 0


@pytest.fixture(params=["tiny", "postgres"])
def broken(request: pytest.FixtureRequest, make_lab: MakeLab) -> tuple[VoiceLab, list[str]]:
    """A lab over each store, with takes, one of them with effects, and a story."""
    url = request.getfixturevalue("database") if request.param == "postgres" else None
    lab = make_lab(database_url=url)
    lab.library.profiles.create("Anna")
    ids = [made(lab, "One.", voice="Anna"), made(lab, "Two.", effects_chain=GAIN), made(lab)]
    story = lab.library.stories.create("Story")["id"]
    lab.library.stories.append(story, ids)
    return lab, ids


def mended(lab: VoiceLab) -> list[str]:
    references = References(lab.library.store, lab.library.files)
    assert references.dangling()
    done = references.mend()
    assert references.dangling() == []
    return done


def test_a_whole_lab_has_nothing_to_mend(broken) -> None:
    lab, ids = broken
    lab.library.versions.delete(ids[1], lab.history.get(ids[1])["versions"][0]["id"])
    lab.library.delete_many([ids[2]])
    assert References(lab.library.store, lab.library.files).dangling() == []


@pytest.mark.parametrize("metadata", [True, False])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_lost_versions_are_rebuilt_from_the_files_of_their_takes(
    broken, which: int, metadata: bool
) -> None:
    lab, ids = broken
    id = ids[which]
    if not metadata:
        for row in lab.library.versions.of(id):
            path = lab.library.files.path(row["audio_path"])
            soundfile.write(path, *read(path), subtype="PCM_16")
            lab.library.store.patch("versions", row["id"], {"size_bytes": path.stat().st_size})
        lab.library.versions.set_default(id, lab.history.get(id)["active_version_id"])
    before = record_fields(lab, id)
    lost = lab.library.versions.of(id)
    for row in lost:
        lab.library.store.delete("versions", row["id"])
    done = mended(lab)
    assert any("rebuilt from generations/" in sentence for sentence in done)
    after = record_fields(lab, id)
    assert after["audio_path"] == before["audio_path"] and after["chunks"] == before["chunks"]
    if metadata:
        assert after["versions"] == before["versions"]
    works(lab, id)


def test_one_lost_version_of_two_is_rebuilt_with_its_effects(broken) -> None:
    lab, ids = broken
    clean, processed = lab.library.versions.of(ids[1])
    for lost in (clean, processed):
        before = record_fields(lab, ids[1])
        lab.library.store.delete("versions", lost["id"])
        mended(lab)
        assert record_fields(lab, ids[1]) == before
    works(lab, ids[1])


def test_a_take_of_which_nothing_is_left_has_failed(broken) -> None:
    lab, ids = broken
    lab.library.audio_path(ids[0]).unlink()
    for row in lab.library.versions.of(ids[0]):
        lab.library.store.delete("versions", row["id"])
    lab.history.patch(ids[0], audio_path=None)
    (sentence, *_) = mended(lab)
    assert "can be made again" in sentence
    lab.drain(lab.retry(ids[0]))
    works(lab, ids[0])


LOST = [
    ("profiles", "was made again as 'Anna'"),
    ("generations", "was made again from generations/"),
    ("stories", "was made again as 'Recovered story'"),
    ("versions", "was rebuilt from generations/"),
]


@pytest.mark.parametrize(("table", "sentence"), LOST)
def test_a_lost_table_is_mended(broken, table: str, sentence: str) -> None:
    lab, ids = broken
    texts = [lab.history.get(id)["text"] for id in ids]
    for (row,) in lab.library.store.values(table, ("id",)):
        lab.library.store.delete(table, row)
    done = mended(lab)
    assert any(sentence in each for each in done), done
    assert [lab.history.get(id)["text"] for id in ids] == texts
    assert lab.library.profiles.voice("Anna")["generation_count"] == 1
    (story,) = lab.library.stories.list()
    assert len(lab.library.stories.get(story["id"])["items"]) == 3
    for id in ids:
        works(lab, id)


def test_items_of_stories_lose_what_is_not_there(broken) -> None:
    lab, ids = broken
    (story,) = lab.library.stories.list()
    items = lab.library.stories.get(story["id"])["items"]
    lab.library.store.patch("story_items", items[0]["id"], {"version_id": "gone"})
    other = lab.history.get(ids[0])["active_version_id"]
    lab.library.store.patch("story_items", items[1]["id"], {"version_id": other})
    lab.library.store.patch("story_items", items[2]["id"], {"generation_id": "gone"})
    done = mended(lab)
    assert sum("what its take is heard as" in each for each in done) == 2
    assert sum("was removed" in each for each in done) == 1
    assert len(lab.library.stories.get(story["id"])["items"]) == 2


def test_clips_of_a_lost_profile_get_one(lab: VoiceLab, voice: Path) -> None:
    profile = lab.library.profiles.create_from_clip("Bert", voice)["id"]
    lab.library.store.delete("profiles", profile)
    assert "Recovered voice" in mended(lab)[0]
    assert lab.library.profiles.reference(profile) is not None


def test_a_clip_that_no_record_names_is_told(make_lab: MakeLab, voice: Path, capsys) -> None:
    lab = make_lab()
    anna = lab.library.profiles.create("Anna")
    lab.library.profiles.add_sample(anna["id"], voice)
    for sample in lab.library.profiles.samples(anna["id"]):
        lab.library.store.delete("samples", sample["id"])
    lab.close()
    assert main(["db", "check", "--data-dir", str(lab.settings.data_dir)]) == 1
    assert "1 of 1 sounds are in no record" in capsys.readouterr().out


def test_the_commands_check_and_repair_what_dangles(
    make_lab: MakeLab, tmp_path: Path, capsys
) -> None:
    lab = make_lab()
    id = made(lab)
    version = lab.history.get(id)["active_version_id"]
    lab.library.store.delete("versions", version)
    lab.close()
    folder = lab.library.files.root
    assert check(folder) == 1
    assert f"wrong: take {id} is heard as version {version}" in capsys.readouterr().out
    before = (folder / "db.json").read_bytes()
    assert repair(folder, "--dry-run") == 0
    assert "would be mended: the clean version" in capsys.readouterr().out
    assert (folder / "db.json").read_bytes() == before
    assert repair(folder) == 0
    assert "mended: the clean version" in capsys.readouterr().out
    assert check(folder) == 0 and repair(folder) == 0
    assert "nothing to repair" in capsys.readouterr().out
    works(make_lab(), id)


def test_a_line_that_is_damaged_leaves_no_take_half_dead(make_lab: MakeLab, capsys) -> None:
    lab = make_lab()
    ids = [made(lab, f"Take {n}.") for n in range(3)]
    version = lab.history.get(ids[1])["active_version_id"]
    lab.close()
    path = lab.library.files.root / "db.json"
    lines = path.read_bytes().split(b"\n")
    (lost,) = [n for n, line in enumerate(lines) if b'{"id":"%s"' % version.encode() in line]
    lines[lost] = lines[lost][:-9] + b"#"
    path.write_bytes(b"\n".join(lines))
    assert check(lab.library.files.root) == 1
    assert repair(lab.library.files.root) == 0
    out = capsys.readouterr().out
    assert "lost: db.json: a damaged line" in out
    assert f"mended: the clean version {version} of take {ids[1]} was rebuilt from" in out
    assert check(lab.library.files.root) == 0
    lab = make_lab()
    for id in ids:
        works(lab, id)


def test_records_of_a_database_come_back_from_the_sounds(
    make_lab: MakeLab, database: str, server, capsys
) -> None:
    lab = make_lab(database_url=database)
    ids = [made(lab, f"Take {n}.") for n in range(3)]
    before = [record_fields(lab, id) for id in ids]
    lab.close()
    server.clear()
    words = ["--data-dir", str(lab.library.files.root), "--database-url", database]
    assert main(["db", "check", *words]) == 1
    assert main(["db", "repair", *words, "--from-audio", "--dry-run"]) == 0
    assert main(["db", "check", *words]) == 1
    assert main(["db", "repair", *words, "--from-audio"]) == 0
    assert main(["db", "check", *words]) == 0
    lab = make_lab(database_url=database)
    assert [record_fields(lab, id) for id in ids] == before
