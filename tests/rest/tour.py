"""One good answer of each operation that openapi.json declares."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from httpx import Response
from PIL import Image

from tests.conftest import blocked_engine, wait_for
from voicelab.lab import VoiceLab

__all__ = ["Tour"]

TEXT = "The fjord was quiet. A boat drew a line across it. Then even that was gone."
CHAIN = [{"type": "reverb", "params": {"room_size": 0.7}}]
SCRIPT = "Default: Did you hear that?\nDefault: It was only the wind."


class Tour:
    """A client that keeps what it was answered, by method and path template.

    Args:
        client: of the REST application.
        lab: behind it, on the tone engine.
        clip: a voice clip as a file.
    """

    def __init__(self, client: TestClient, lab: VoiceLab, clip: Path):
        self.client, self.lab, self.clip = client, lab, clip
        self.answers: dict[tuple[str, str], list[Response]] = {}
        self.ids: dict[str, Any] = {}

    def ask(self, method: str, template: str, **options: Any) -> Any:
        """The answer's JSON where it is JSON; placeholders are filled from `ids`."""
        path = template.partition("?")[0]
        answer = self.client.request(method, template.format(**self.ids), **options)
        assert answer.status_code < 300, (method, template, answer.text)
        self.answers.setdefault((method, path), []).append(answer)
        kind = answer.headers.get("content-type", "")
        return answer.json() if kind == "application/json" else None

    def go(self) -> dict[tuple[str, str], list[Response]]:
        """All of it; the answers."""
        self._profiles()
        self._takes()
        self._versions()
        self._stories()
        self._reading()
        self._studio()
        self._chatterbox()
        self._voice_library()
        self._long_texts()
        self._deleting()
        return self.answers

    def _file(self) -> dict[str, Any]:
        return {"file": ("voice.wav", self.clip.read_bytes(), "audio/wav")}

    def _voice(self, **fields: str) -> dict[str, Any]:
        named = {name: (None, value) for name, value in fields.items()}
        return named | {"voice_file": ("voice.wav", self.clip.read_bytes(), "audio/wav")}

    def _profiles(self) -> None:
        profile = self.ask("POST", "/profiles", json={"name": "Anna"})
        self.ids |= {"profile": profile["id"], "id": profile["id"]}
        self.ask("PUT", "/profiles/{id}", json={"description": "She reads.", "colour": 1})
        sample = self.ask("POST", "/profiles/{id}/samples", files=self._file())
        self.ids["sid"] = sample["id"]
        picture = io.BytesIO()
        Image.new("RGB", (8, 8)).save(picture, "PNG")
        self.ask("POST", "/profiles/{id}/avatar", files={"file": picture.getvalue()})
        for path in ("", "/samples", "/avatar", "/export"):
            self.ask("GET", f"/profiles/{{id}}{path}")
        self.ask("GET", "/profiles")
        self.ask("GET", "/profiles/samples/{sid}/audio")
        archive = self.answers["GET", "/profiles/{id}/export"][0].content
        self.ask("POST", "/profiles/import", files={"file": archive})

    def _takes(self) -> None:
        speech = "/v1/audio/speech"
        for format in ("wav", "mp3", "flac", "opus", "ogg", "aac", "pcm"):
            self.ask("POST", speech, json={"input": TEXT, "response_format": format})
        self.ask("POST", speech, json={"input": TEXT, "stream_format": "sse"})
        self.ask("POST", f"{speech}/stream", json={"input": TEXT, "colour": 1})
        for path in ("/upload", "/stream/upload"):
            self.ask("POST", speech + path, files={"input": (None, TEXT)})
        made = self.ask("POST", "/generate", json={"text": TEXT, "temperature": 1, "seed": 3})
        self.ids["id"] = made["id"]
        self._ended()
        self.ask("GET", "/generate/{id}/status")
        for path in ("/regenerate", "/retry", "/chunks/0/regenerate"):
            for family in ("/generate", "/history"):
                if family == "/generate" and "chunks" in path:
                    continue
                template = f"{family}/{{id}}{path.replace('/0/', '/{index}/')}"
                self.ids["index"] = 0
                self.ask("POST", template)
                self._ended()
        for family in ("/generate", "/history"):
            self._failed()
            self.ask("POST", f"{family}/{{id}}/resume")
            self._ended()
        self.ids["id"] = made["id"]

    def _failed(self) -> None:
        with blocked_engine(self.lab):
            made = self.ask("POST", "/generate", json={"text": TEXT})
            self.ids |= {"id": made["id"], "request_id": made["request_id"]}
            self.ask("GET", "/status?include_memory=true&include_history=true&include_stats=true")
            for path in ("/status", "/status/progress", "/v1/status", "/v1/status/progress"):
                self.ask("GET", path)
            self.ask("GET", "/status/{request_id}")
            if ("POST", "/status/{request_id}/cancel") in self.answers:
                self.ask("POST", "/generate/{id}/cancel")
            else:
                self.ask("POST", "/status/{request_id}/cancel")
            self._ended()

    def _ended(self) -> None:
        live = self.lab.status.is_live
        id = self.ids["id"]
        wait_for(lambda: not live(self.lab.history.get(id)["request_id"]))
        wait_for(lambda: self.lab.history.get(id)["status"] != "pending")

    def _versions(self) -> None:
        family = "/generations/{id}/versions"
        made = self.ask("POST", f"{family}/apply-effects", json={"effects_chain": CHAIN})
        self.ids |= {"vid": made["id"], "version_id": made["id"]}
        self.ask("GET", family)
        self.ask("PUT", f"{family}/{{vid}}/set-default")
        self.ask("GET", "/audio/version/{version_id}")
        self.ask("GET", "/effects/available")
        self.ask("POST", "/effects/preview/{id}", json={"effects_chain": CHAIN})
        body = {"name": "Hall", "effects_chain": CHAIN}
        self.ids["pid"] = self.ask("POST", "/effects/presets", json=body)["id"]
        self.ask("PUT", "/effects/presets/{pid}", json=body)
        self.ask("GET", "/effects/presets")

    def _stories(self) -> None:
        take = self.ids["id"]
        story = self.ask("POST", "/stories", json={"name": "The wind"})
        self.ids["id"] = story["id"]
        self.ask("PUT", "/stories/{id}", json={"description": "Old."})
        self.ask("POST", "/stories/{id}/generate", json={"script": SCRIPT})
        wait_for(lambda: not self.client.get("/status/progress").json()["is_processing"])
        items = "/stories/{id}/items"
        added = self.ask("POST", items, json={"generation_id": take})
        self.ids["iid"] = added["id"]
        one = f"{items}/{{iid}}"
        self.ask("PUT", f"{one}/move", json={"start_time_ms": 60_000})
        self.ask("PUT", f"{one}/trim", json={"trim_start_ms": 10})
        self.ask("PUT", f"{one}/volume", json={"volume": 0.5})
        self.ask("PUT", f"{one}/version", json={"version_id": self.ids["vid"]})
        self.ask("POST", f"{one}/split", json={"split_time_ms": 500})
        self.ask("POST", f"{one}/duplicate")
        known = self.ask("GET", "/stories/{id}")["items"]
        order = [item["id"] for item in known if item["track"] == 0]
        self.ask("PUT", f"{items}/reorder", json={"item_ids": order})
        takes = [item["generation_id"] for item in known]
        self.ask("PUT", f"{items}/reorder", json={"generation_ids": takes})
        updates = [{"generation_id": take, "start_time_ms": 9} for take in takes]
        self.ask("PUT", f"{items}/times", json={"updates": updates})
        for format in ("wav", "mp3", "flac", "m4b", "srt", "vtt"):
            self.ask("GET", f"/stories/{{id}}/export-audio?format={format}")
        self.ask("GET", "/stories/{id}/export")
        archive = self.answers["GET", "/stories/{id}/export"][0].content
        self.ask("POST", "/stories/import", files={"file": archive})
        self.ask("GET", "/stories")
        self.ask("DELETE", one)
        self.ask("DELETE", "/stories/{id}")
        self.ids["id"] = take

    def _reading(self) -> None:
        take = self.ids["id"]
        self.ask("GET", "/history?limit=500")
        for path in (
            "/history/stats",
            "/history/export?format=csv",
            "/history/export?format=jsonl",
        ):
            self.ask("GET", path)
        self.ask("POST", "/history/export", json={"ids": [self.ids["id"]]})
        for format in ("wav", "mp3", "flac", "opus", "ogg", "aac", "pcm"):
            self.ask("GET", f"/history/{{id}}/export-audio?format={format}")
        for path in ("/history/{id}", "/history/{id}/export", "/audio/{id}"):
            self.ask("GET", path)
        archive = self.answers["GET", "/history/{id}/export"][0].content
        self.ask("POST", "/history/import", files={"file": archive})
        self.ask("PATCH", "/history", json={"ids": [self.ids["id"]], "is_favorited": True})
        self.ask("PATCH", "/history/{id}", json={"tags": ["wind"], "label": "one"})
        self.ask("POST", "/history/{id}/favorite")
        for path in ("", "/progress", "/statistics", "/history", "/{request_id}"):
            for family in ("/status", "/v1/status"):
                if family == "/v1/status" and path == "/{request_id}":
                    continue
                self.ask("GET", family + path)
        for path in ("/info", "/health", "/v1/info", "/v1/health", "/metrics", "/storage"):
            self.ask("GET", path)
        self.ask("GET", "/storage/policy")
        self.ask("PUT", "/storage/policy", json={"max_takes": 100})
        self.ask("POST", "/storage/cleanup")
        for path in ("/v1/models", "/v1/audio/voices", "/voices", "/v1/config", "/languages"):
            self.ask("GET", path)
        self.ask("GET", "/engines")
        self.ids["name"] = "tone"
        self.ask("POST", "/engines/{name}/load")
        self.ids["id"] = "tone"
        self.ask("GET", "/v1/models/{id}")
        self.ids["id"] = take

    def _chatterbox(self) -> None:
        for path in ("/ping", "/memory?cleanup=true", "/memory/config", "/memory/recommendations"):
            self.ask("GET", path)
        self.ask("POST", "/memory/config?cpu_memory_percent=60")
        self.ask("POST", "/memory/reset?confirm=true")
        self.ask("POST", "/tts", json={"text": TEXT, "output_format": "opus"})
        for path in ("/get_predefined_voices", "/get_reference_files"):
            self.ask("GET", path)

    def _studio(self) -> None:
        take, profile = self.ids["id"], self.ids["profile"]
        for path in ("/models/status", "/tasks/active", "/settings/generation"):
            self.ask("GET", path)
        self.ask("PUT", "/settings/generation", json={"crossfade_ms": 50})
        self.ids["engine"] = "tone"
        self.ask("GET", "/profiles/presets/{engine}")
        self.ask("POST", "/generate/import", files=self._file())
        self.ids["id"] = profile
        self.ask("PUT", "/profiles/{id}/effects", json={"effects_chain": CHAIN, "colour": 1})
        body = {"reference_text": "She reads.", "colour": 1}
        self.ask("PUT", "/profiles/samples/{sid}", json=body)
        self.ask("GET", "/samples/{sid}")
        with blocked_engine(self.lab):
            self.ids["id"] = self.ask("POST", "/generate", json={"text": TEXT})["id"]
            self.ask("GET", "/tasks/active")
        self._ended()
        self.ids["id"] = take

    def _voice_library(self) -> None:
        self.ids["voice_name"] = "Berta"
        self.ask("POST", "/voices", files=self._voice(voice_name="Berta"))
        self.ask("POST", "/voices/{voice_name}/aliases", data={"alias": "narrator"})
        self.ids["alias"] = "narrator"
        for path in ("", "/aliases", "/download"):
            self.ask("GET", f"/voices/{{voice_name}}{path}")
        self.ask("GET", "/voices/all-names")
        self.ask("POST", "/voices/default", data={"voice_name": "Berta"})
        self.ask("GET", "/voices/default")
        self.ask("DELETE", "/voices/default")
        self.ask("DELETE", "/voices/{voice_name}/aliases/{alias}")
        self.ask("PUT", "/voices/{voice_name}", data={"new_name": "Clara"})
        self.ids["voice_name"] = "Clara"
        self.ask("DELETE", "/voices/{voice_name}")

    def _long_texts(self) -> None:
        take, long = self.ids["id"], "/audio/speech/long"
        one = f"{long}/{{job_id}}"
        with blocked_engine(self.lab):
            for last in ("/pause", ""):
                job = self.ask("POST", long, json={"input": TEXT, "colour": 1})["job_id"]
                self.ids |= {"job_id": job, "id": job}
                for path in (one, f"{one}/details", long):
                    self.ask("GET", path)
                self.ask("PUT" if last else "DELETE", one + last)
                self.ask("GET", one)
        self.ask("POST", f"{one}/retry", json={"colour": 1})
        self._ended()
        for path in ("", "/details", "/download", "/sse"):
            self.ask("GET", one + path)
        self.ask("PATCH", one, json={"display_name": "One", "tags": ["book"], "colour": 1})
        self._paused()
        self.ask("PUT", f"{one}/resume")
        self._ended()
        bulk = {"job_ids": [job, "none"], "action": "archive", "confirm": True, "colour": 1}
        self.ask("POST", f"{long}/bulk", json=bulk)
        for path in ("", "-history", "-history/stats"):
            self.ask("GET", long + path)
        self.ask("DELETE", f"{one}?action=delete")
        self.ask("DELETE", f"{long}-history?confirm=true")
        self.ask("GET", f"{long}-history/stats")
        self.ids["id"] = take

    def _paused(self) -> None:
        with blocked_engine(self.lab):
            job = self.ask("POST", "/audio/speech/long", json={"input": TEXT})["job_id"]
            self.ids |= {"job_id": job, "id": job}
            self.ask("PUT", "/audio/speech/long/{job_id}/pause")

    def _deleting(self) -> None:
        for family in ("/status", "/v1/status"):
            self.ask("POST", f"{family}/history/clear")
            self.ask("POST", f"{family}/history/clear?confirm=true")
        self.ask("DELETE", "/generations/{id}/versions/{vid}")
        self.ask("DELETE", "/history/{id}")
        self.ask("DELETE", "/history/failed")
        self.ask("DELETE", "/history?search=fjord&confirm=true")
        self.ask("DELETE", "/effects/presets/{pid}")
        self.ids["id"] = self.ids["profile"]
        self.ask("DELETE", "/profiles/samples/{sid}")
        self.ask("DELETE", "/profiles/{id}/avatar")
        self.ask("DELETE", "/profiles/{id}")
