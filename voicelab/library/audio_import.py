"""Import of audio files as takes, such as music and noises for stories."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from voicelab.audio import decode, to_pcm16
from voicelab.errors import BadClip
from voicelab.library.files.local import Files
from voicelab.library.profiles import Profiles
from voicelab.library.versions import GENERATIONS, VERSIONS, version_row
from voicelab.records import Generation, now
from voicelab.store import Store
from voicelab.text import clean_name

__all__ = ["import_audio"]

IMPORTED = "Imported Audio"
"""Name of the profile that imported takes belong to."""


def import_audio(
    path: Path,
    name: str,
    *,
    store: Store,
    files: Files,
    profiles: Profiles,
    check_quota: Callable[[str], None],
) -> str:
    """Save the audio of a file as a take, and return its id.

    Args:
        path: the file, of at most ten minutes.
        name: file name; without its suffix it becomes the text of the take.
        store, files, profiles: of the lab.
        check_quota: raises TooLarge when a profile has reached its quota.

    Raises:
        BadClip: it cannot be decoded, or is empty; StoreFull, StorageError: nothing was saved.
    """
    samples, rate = decode(path)
    if not len(samples):
        raise BadClip("The file holds no sound.", param="file")
    profile = profiles.named(IMPORTED, "Audio files that became takes.")
    check_quota(profile["id"])
    version_id, pcm = str(uuid4()), to_pcm16(samples)
    record = Generation(
        id=str(uuid4()),
        profile_id=profile["id"],
        text=clean_name(Path(name).stem[:200], IMPORTED),
        language="en",
        audio_path=files.take_path(version_id),
        duration=round(len(pcm) / rate, 4),
        seed=None,
        instruct=None,
        engine="import",
        model_size=None,
        status="completed",
        error=None,
        is_favorited=False,
        created_at=now(),
        sample_rate=rate,
        size_bytes=44 + pcm.nbytes,
        source="import",
        voice=profile["name"],
        active_version_id=version_id,
    )
    document = record.document()
    with files.kept(document["audio_path"]):
        with files.writer(document["audio_path"], rate) as wav:
            wav.write(pcm)
            wav.commit()
        with store.batch():
            store.insert(GENERATIONS, document)
            store.insert(VERSIONS, version_row(document))
    return record.id
