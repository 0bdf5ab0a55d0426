"""From a request to a take: plan, job, scheduler, live status."""

from voicelab.generation.cache import ChunkCache
from voicelab.generation.dialogue import Dialogue, Line, parse_script
from voicelab.generation.maintenance import Maintenance
from voicelab.generation.memory import memory_info
from voicelab.generation.plan import Planner, check_seed
from voicelab.generation.resumption import Resumption
from voicelab.generation.scheduler import Scheduler
from voicelab.generation.speech import Speech
from voicelab.generation.status import Status
from voicelab.generation.take import Blueprint, Piece, Take

__all__ = [
    "Blueprint",
    "Planner",
    "ChunkCache",
    "Dialogue",
    "Line",
    "Piece",
    "Resumption",
    "Scheduler",
    "Speech",
    "Status",
    "Take",
    "Maintenance",
    "check_seed",
    "memory_info",
    "parse_script",
]
