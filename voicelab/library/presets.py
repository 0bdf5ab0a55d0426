"""Presets: named chains of effects, built-in and of the user."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from voicelab.audio import PRESETS, check_chain
from voicelab.errors import Conflict, InvalidInput, NotFound, Protected
from voicelab.library.profiles import check_text
from voicelab.records import now
from voicelab.store import Query, Store
from voicelab.text import check_name

__all__ = ["Presets"]

TABLE = "effect_presets"
Record = dict[str, Any]


class Presets:
    """The presets of a store."""

    def __init__(self, store: Store):
        self._store = store

    def list(self) -> list[Record]:
        """All presets, the built-in ones first, then the user's by name."""
        own, _ = self._store.page(TABLE, Query(order="name", descending=False))
        return [*_built_in(), *own]

    def get(self, id: str) -> Record:
        """One preset; raises NotFound."""
        for preset in self.list():
            if preset["id"] == id:
                return preset
        raise NotFound(f"There is no preset {id[:40]}.", param="preset_id")

    def create(self, name: str, effects_chain: Any, description: str = "") -> Record:
        """Keep a chain.

        Args:
            name: 1-100 characters, unique whatever its case.
            effects_chain: see `voicelab.audio.effects.check_chain`; not empty.
            description: at most 500 characters.

        Raises:
            InvalidInput; Conflict: the name is taken.
        """
        with self._store.batch():  # nobody takes the name meanwhile
            preset = {"id": str(uuid4()), **self._checked(name, effects_chain, description)}
            preset |= {"is_builtin": False, "created_at": now()}
            self._store.insert(TABLE, preset)
        return preset

    def update(self, id: str, name: str, effects_chain: Any, description: str = "") -> Record:
        """Change a user's preset; raises as `create`, NotFound, Protected for a built-in one."""
        self._own(id)
        with self._store.batch():
            fields = self._checked(name, effects_chain, description, id)
            return self._store.patch(TABLE, id, fields)

    def delete(self, id: str) -> None:
        """Remove a user's preset; raises NotFound, and Protected for a built-in one."""
        self._own(id)
        self._store.delete(TABLE, id)

    def _own(self, id: str) -> None:
        if self.get(id)["is_builtin"]:
            raise Protected("A built-in preset cannot be changed: keep it under another name.")

    def _checked(self, name: str, chain: Any, description: str, id: str | None = None) -> Record:
        name = check_name("name", name, 1, 100)
        for other in self.list():
            if other["name"].casefold() == name.casefold() and other["id"] != id:
                raise Conflict(f"There is a preset '{other['name']}' already.")
        effects = check_chain(chain)
        if not effects:
            raise InvalidInput("A preset needs at least one effect.", param="effects_chain")
        return {
            "name": name,
            "description": check_text("description", description, 0, 500),
            "effects_chain": effects,
        }


def _built_in() -> list[Record]:
    return [
        {
            "id": preset.name.lower().replace(" ", "-"),
            "name": preset.name,
            "description": preset.description,
            "effects_chain": preset.chain,
            "is_builtin": True,
            "created_at": None,
        }
        for preset in PRESETS.values()
    ]
