"""The FastAPI application with all routers."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

import voicelab
from voicelab.lab import VoiceLab
from voicelab.rest import (
    catalog,
    generate,
    history,
    profiles,
    speech,
    status,
    storage,
    stories,
    versions,
)
from voicelab.rest.dialects import chatterbox, chatterbox_server, openai, studio
from voicelab.rest.errors import exception_handlers
from voicelab.rest.openapi import describe
from voicelab.rest.progress import progress_routes
from voicelab.rest.security.layers import middleware

__all__ = ["build"]


def build(lab: VoiceLab) -> FastAPI:
    """The REST application of a lab.

    It can be served alone, as tests do with TestClient, or have its routes added to Gradio's.
    """
    application = FastAPIOffline(
        title="voicelab",
        version=voicelab.__version__,
        description="Speech, its live status and every take kept.",
        # Used when it is served alone; Gradio's application takes over its routes only.
        middleware=middleware(lab.settings, any_host=True),
        exception_handlers=exception_handlers(),
    )
    application.state.lab = lab
    for module in (
        status,
        # Before /models/{id}: it has /models/status.
        studio,
        # Before /audio/{id}: they have /audio/voices and /audio/models.
        catalog,
        openai,
        history,
        versions,
        speech,
        generate,
        profiles,
        stories,
        storage,
        chatterbox,
        chatterbox_server,
    ):
        application.include_router(module.router(lab))
    # Before all others, so that many polling clients are answered without FastAPI's overhead.
    application.router.routes[:0] = progress_routes(lab)
    describe(application)
    return application
