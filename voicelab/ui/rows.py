"""Records as HTML, every text escaped. Pure functions: no Gradio, no lab."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from voicelab.library.stories import MAX_TRACKS

__all__ = [
    "bulk_bar",
    "cards",
    "chunk_list",
    "cleanup_refused",
    "cleanup_report",
    "clock",
    "facts",
    "header",
    "item_words",
    "profile_list",
    "sample_list",
    "size",
    "story_exports",
    "take_list",
    "timeline",
    "version_list",
    "waveform",
]

Record = Mapping[str, Any]


def clock(seconds: float) -> str:
    """m:ss.t, for positions in a take."""
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}:{rest:04.1f}"


def size(size_bytes: float) -> str:
    """Bytes in the unit that reads best."""
    for unit in ("B", "KB", "MB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} GB"


def header(label: str, reason: str, state: str, line: str) -> str:
    """Name, engine, why that one, and whether it still loads."""
    loading = {"initializing": f"loading: {line}", "error": "cannot be loaded", "ready": "ready"}
    words = f"{label} ({loading.get(state) or line or 'starting'}) \u2013 {reason}"
    return f"<div class='vl-head'><h1>voicelab</h1><p>{escape(words)}</p></div>"


def take_list(records: Sequence[Record], searched: bool) -> str:
    """The takes of a page, or a sentence when there are none."""
    if not records:
        words = "No take matches." if searched else "No takes yet: make one in the Generate tab."
        return f"<div class='vl-empty'>{words}</div>"
    return f"<div class='vl-list' role='list'>{''.join(_take(r) for r in records)}</div>"


def _take(record: Record) -> str:
    id = escape(record["id"], quote=True)
    words = escape(record["text"][:600])
    return (
        f"<article class='vl-take' role='listitem' tabindex='0' data-id='{id}'>"
        f"<label class='vl-pick'><input type='checkbox' data-pick='{id}' "
        f"aria-label='Select this take'></label>"
        f"<p dir='auto'>{words}</p>"
        f"<div class='vl-facts'>{_spans(_take_facts(record))}</div>"
        f"{_sound(record, id)}"
        f"<div class='vl-acts'>{_acts(record, id)}</div></article>"
    )


def _take_facts(record: Record) -> list[str]:
    mode = (record.get("software") or {}).get("mode", "exact")
    engine = record["engine"] if mode == "exact" else f"{record['engine']}, {mode}"
    words = [record["created_at"][:16].replace("T", " "), engine, record["voice"]]
    if record["duration"]:
        words.append(f"{record['duration']:.1f} s")
    if record["seed"] is not None:
        words.append(f"seed {record['seed']}")
    return [*words, *(f"#{tag}" for tag in record["tags"])]


def _sound(record: Record, id: str) -> str:
    if record["audio_path"]:
        return f"<audio controls preload='none' src='audio/{id}' aria-label='This take'></audio>"
    if record["status"] == "failed":
        return f"<div class='vl-failed'>Failed: {escape(record['error'] or '')}</div>"
    return "<div class='vl-muted'>Being made...</div>"


def _acts(record: Record, id: str) -> str:
    starred = record["is_favorited"]
    pressed = "true" if starred else "false"
    word = "\u2605 Favourite" if starred else "\u2606 Favourite"
    acts = [
        f"<button type='button' data-act='favorite' aria-pressed='{pressed}'>{word}</button>",
        "<button type='button' data-act='reuse'>Use again</button>",
    ]
    if record["status"] == "failed":
        acts.append("<button type='button' data-act='resume'>Resume</button>")
    if record["audio_path"]:
        acts += [
            "<button type='button' data-act='open'>Versions and effects</button>",
            f"<a href='history/{id}/export-audio' download>Download</a>",
            f"<a href='history/{id}/export' download>Export</a>",
        ]
    acts.append("<button type='button' data-act='delete'>Delete</button>")
    return "".join(acts)


def bulk_bar(profiles: Sequence[tuple[str, str]]) -> str:
    """What can be done with the selected takes; shown by the page when there are some.

    Args:
        profiles: (id, name) of each.
    """
    options = "".join(
        f"<option value='{escape(id, quote=True)}'>{escape(name)}</option>" for id, name in profiles
    )
    return (
        "<div class='vl-bulk vl-acts' role='toolbar' aria-label='Selected takes'>"
        "<label><input type='checkbox' data-all aria-label='Select all on this page'> "
        "<span data-count>Select</span></label>"
        "<button type='button' data-bulk='favorite'>Favourite selected</button>"
        "<button type='button' data-bulk='tag'>Tag</button>"
        f"<select data-target aria-label='Profile to move to'>{options}</select>"
        "<button type='button' data-bulk='move'>Move</button>"
        "<button type='button' data-bulk='export'>Export ZIP</button>"
        "<button type='button' data-bulk='delete'>Delete selected</button></div>"
    )


def cleanup_report(report: Record) -> str:
    """What went, or would go, in a clean-up."""
    verb = "would go" if report["dry_run"] else "went"
    counts = [
        f"{len(report['deleted'])} takes {verb}",
        f"{len(report['compressed'])} to FLAC",
        f"{len(report['orphan_files'])} files of no take",
        f"{report['going_files']} of {report['audio_files']} audio files {verb}",
        f"{len(report['missing_files'])} without their file",
        f"{size(report['freed_bytes'])} freed",
    ]
    if report["not_compressed"]:
        counts.append(f"{len(report['not_compressed'])} stay WAV after an error")
    rows = "".join(
        f"<li><time>{escape(take['created_at'][:10])}</time>"
        f"<span dir='auto'>{escape(take['text'])} ({escape(take['reason'])})</span></li>"
        for take in report["deleted"][:100]
    )
    return f"<div class='vl-facts'>{_spans(counts)}</div><ol class='vl-chunks'>{rows}</ol>"


def cleanup_refused(message: str) -> str:
    """Why nothing went."""
    return f"<p role='alert'>{escape(message)}</p>"


def waveform(peaks: Sequence[float]) -> str:
    """An SVG of magnitudes 0..1."""
    bars = "".join(
        f"M{2 * x + 1} {20 - max(0.3, 19 * y):.1f}V{20 + max(0.3, 19 * y):.1f}"
        for x, y in enumerate(peaks)
    )
    return (
        f"<svg class='vl-wave' viewBox='0 0 {2 * len(peaks)} 40' preserveAspectRatio='none' "
        f"aria-hidden='true'><path d='{bars}'/></svg>"
    )


def version_list(versions: Sequence[tuple[Record, Sequence[float]]]) -> str:
    """The versions of a take, each with its waveform (peaks) and player."""
    rows = "".join(_version(version, drawn) for version, drawn in versions)
    return f"<div class='vl-list vl-versions' role='list'>{rows}</div>"


def _version(version: Record, drawn: Sequence[float]) -> str:
    id = escape(version["id"], quote=True)
    label = escape(version["label"])
    words = [f"{version['duration'] or 0:.1f} s", size(version["size_bytes"])]
    acts = "<span class='vl-badge'>heard</span>"
    if not version["is_default"]:
        acts = "<button type='button' data-act='default'>Use this</button>"
    return (
        f"<article class='vl-take' role='listitem' data-id='{id}'>"
        f"<div class='vl-facts'><b>{label}</b>{_spans(words)}</div>{waveform(drawn)}"
        f"<audio controls preload='none' src='audio/version/{id}' aria-label='{label}'></audio>"
        f"<div class='vl-acts'>{acts}"
        "<button type='button' data-act='discard'>Delete</button></div></article>"
    )


def profile_list(profiles: Sequence[Record]) -> str:
    """Each profile with its picture and counts."""
    return f"<div class='vl-list' role='list'>{''.join(_profile(p) for p in profiles)}</div>"


def _profile(profile: Record) -> str:
    id = escape(profile["id"], quote=True)
    picture = f"<img class='vl-face' alt='' src='profiles/{id}/avatar'>"
    if not profile["avatar_path"]:
        picture = f"<span class='vl-face' aria-hidden='true'>{escape(profile['name'][:1])}</span>"
    words = [
        profile["voice_type"],
        profile["language"],
        _counted(profile["sample_count"], "clip"),
        _counted(profile["generation_count"], "take"),
    ]
    acts = (
        f"<button type='button' data-act='edit'>Change</button>"
        f"<a href='profiles/{id}/export' download>Export</a>"
    )
    if profile["id"] != "default":
        acts += "<button type='button' data-act='delete'>Delete</button>"
    return (
        f"<article class='vl-take vl-profile' role='listitem' data-id='{id}'>{picture}"
        f"<div><p dir='auto'><b>{escape(profile['name'])}</b> "
        f"{escape(profile['description'] or '')}</p>"
        f"<div class='vl-facts'>{_spans(words)}</div>"
        f"<div class='vl-acts'>{acts}</div></div></article>"
    )


def _counted(number: int, word: str) -> str:
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def sample_list(samples: Sequence[Record]) -> str:
    """The clips of a profile, to hear and to remove."""
    rows = "".join(
        f"<article class='vl-take' role='listitem' data-id='{escape(s['id'], quote=True)}'>"
        f"<p dir='auto'>{escape(s['reference_text']) or '(no text)'}</p>"
        f"<audio controls preload='none' aria-label='This clip' "
        f"src='profiles/samples/{escape(s['id'], quote=True)}/audio'></audio>"
        "<div class='vl-acts'><button type='button' data-act='remove'>Remove</button></div>"
        "</article>"
        for s in samples
    )
    return f"<div class='vl-list' role='list'>{rows}</div>" if rows else ""


def chunk_list(chunks: Iterable[Record], again: bool = False) -> str:
    """Each chunk's time and text; with `again`, a button to have it spoken once more."""
    button = "<button type='button' data-act='chunk' data-index='{}'>Again</button>"
    button = button if again else ""
    rows = "".join(
        f"<li><time>{clock(c['start_s'])}\u2013{clock(c['start_s'] + c['duration_s'])}</time>"
        f"<span dir='auto'>{escape(c['text'])}</span>{button.format(c['index'])}</li>"
        for c in chunks
    )
    return f"<ol class='vl-chunks vl-acts'>{rows}</ol>" if rows else ""


def facts(record: Record) -> str:
    """What there is to know of a finished take, in a line, and its warnings."""
    words = [
        f"seed {record['seed']}",
        f"{record['duration']:.1f} s of sound in {record['elapsed_s']:.1f} s",
        f"real-time factor {record['real_time_factor'] or 0:.2f}",
        size(record["size_bytes"]),
    ]
    warnings = "".join(f"<div class='vl-muted'>{escape(w)}</div>" for w in record["warnings"])
    return f"<div class='vl-facts'>{_spans(words)}</div>{warnings}"


def cards(values: Sequence[tuple[str, str]]) -> str:
    """Big numbers with a word under each."""
    inner = "".join(
        f"<div class='vl-card'><b>{escape(value)}</b><span>{escape(name)}</span></div>"
        for name, value in values
    )
    return f"<div class='vl-cards'>{inner}</div>"


def _spans(words: Iterable[str]) -> str:
    return "".join(f"<span>{escape(str(word))}</span>" for word in words)


def timeline(story: Record, chosen: str) -> str:
    """A story's tracks, each item a block at its place in time."""
    items = story["items"]
    if not items:
        return (
            "<div class='vl-empty'>Nothing in this story yet: speak a script, or add a take.</div>"
        )
    length = max(1000, round(story["duration_ms"] * 1.1))
    tracks = range(min(MAX_TRACKS, max(item["track"] for item in items) + 2))
    lanes = "".join(
        f"<div class='vl-lane' data-track='{track}' data-length='{length}' role='list' "
        f"aria-label='Track {track + 1}'>"
        f"{''.join(_item(i, length, chosen) for i in items if i['track'] == track)}</div>"
        for track in tracks
    )
    marks = "".join(
        f"<span style='left:{100 * part / 5:.0f}%'>{clock(length * part / 5000)}</span>"
        for part in range(5)
    )
    return (
        f"<div class='vl-story'>{lanes}<div class='vl-ruler' aria-hidden='true'>{marks}</div></div>"
    )


def _item(item: Record, length: int, chosen: str) -> str:
    id = escape(item["id"], quote=True)
    left = 100 * item["start_time_ms"] / length
    width = max(0.4, 100 * item["duration_ms"] / length)
    words = escape(f"{item['profile_name']}: {item['text'][:120]}", quote=True)
    begin = clock(item["start_time_ms"] / 1000)
    return (
        f"<div class='vl-item' role='listitem' tabindex='0' data-id='{id}' "
        f"data-start='{item['start_time_ms']}' data-track='{item['track']}' "
        f"aria-current='{'true' if item['id'] == chosen else 'false'}' title='{words}' "
        f"aria-label='{words}, at {begin}' style='left:{left:.3f}%;width:{width:.3f}%;"
        f"opacity:{0.45 + 0.55 * min(1.0, item['volume']):.2f}'>"
        f"<b>{escape(item['profile_name'])}</b> "
        f"<span dir='auto'>{escape(item['text'][:120])}</span></div>"
    )


def item_words(item: Record) -> str:
    """What the selected item says, and how long."""
    length = f"{item['duration_ms'] / 1000:.2f} s of {item['source_duration_ms'] / 1000:.2f} s"
    return (
        f"<p dir='auto'><b>{escape(item['profile_name'])}</b> {escape(item['text'][:300])} "
        f"<span class='vl-muted'>({length})</span></p>"
    )


def story_exports(story: Record) -> str:
    """A player, and the links to all formats."""
    if not story["items"]:
        return ""
    id = escape(story["id"], quote=True)
    names = (("wav", "WAV"), ("flac", "FLAC"), ("mp3", "MP3"), ("m4b", "m4b with chapters"))
    kinds = (*names, ("srt", "SRT"), ("vtt", "VTT"))
    links = "".join(
        f"<a href='stories/{id}/export-audio?format={kind}' download>{label}</a>"
        for kind, label in kinds
    )
    stamp = escape(story["updated_at"], quote=True)
    return (
        f"<audio controls preload='none' class='vl-whole' aria-label='The whole story' "
        f"src='stories/{id}/export-audio?format=wav&amp;at={stamp}'></audio>"
        f"<div class='vl-acts'>{links}<a href='stories/{id}/export' download>ZIP</a></div>"
        "<p class='vl-muted'>Drag a block, or with the keyboard: arrows move it by 100 ms (Shift: "
        "1 s) and between tracks, Enter opens it, Delete takes it out.</p>"
    )
