"""Routes for disk usage, the storage policy and the clean-up."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from voicelab.lab import VoiceLab
from voicelab.library import Policy
from voicelab.rest.json import Json
from voicelab.rest.routing import Router
from voicelab.rest.security.exposure import refuse_when_exposed
from voicelab.rest.storage_reports import Cleanup, PolicyInForce, Usage

__all__ = ["router"]


class PolicyBody(BaseModel):
    """PUT /storage/policy: the complete policy; a field that is left out has its default."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    max_age_days: float | None = Field(None, ge=0, le=36_500)
    max_takes: int | None = Field(None, ge=0, le=10**9)
    max_total_mb: float | None = Field(None, ge=0, le=10**9)
    quota_mb: float | None = Field(None, ge=0, le=10**9, description="of each profile")
    quota_action: Literal["refuse", "evict"] = "refuse"
    flac_after_days: float | None = Field(None, ge=0, le=36_500)


def router(lab: VoiceLab) -> APIRouter:
    """The routes for a lab."""
    routes = Router(tags=["storage"])
    refuse = refuse_when_exposed(lab.settings)

    @routes.get("/storage", response_model=Usage)
    def storage() -> Response:
        """Return the disk usage by folder, profile and age, and the free space."""
        return Json(lab.library.storage.usage())

    @routes.get("/storage/policy", response_model=PolicyInForce)
    def get_policy() -> Response:
        """Return the storage policy."""
        return Json(asdict(lab.library.storage.policy()))

    @routes.put("/storage/policy", response_model=PolicyInForce, dependencies=[Depends(refuse)])
    def set_policy(body: PolicyBody) -> Response:
        """Replace the storage policy."""
        return Json(asdict(lab.library.storage.set_policy(Policy(**body.model_dump()))))

    @routes.post("/storage/cleanup", response_model=Cleanup)
    def cleanup(
        dry_run: bool = True,
        expected: Annotated[
            int | None, Query(ge=0, description="how many files are to go, if more than half")
        ] = None,
    ) -> Response:
        """List what the policy and the orphan search would delete; delete it with dry_run=false."""
        if not dry_run:
            refuse()
        return Json(lab.library.storage.cleanup(dry_run, expected=expected))

    return routes
