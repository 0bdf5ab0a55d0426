"""The form for the storage policy in the Stats tab, with preview and clean-up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import gradio as gr

from voicelab.errors import Conflict
from voicelab.lab import VoiceLab
from voicelab.library import Policy
from voicelab.ui.components.errors import check_may_delete, with_gradio_errors
from voicelab.ui.components.events import HIDDEN
from voicelab.ui.components.figures import cleanup_refused, cleanup_report

__all__ = ["PolicyForm", "build"]

NUMBERS = (
    ("max_age_days", "Delete takes after (days)"),
    ("max_takes", "Keep at most (takes)"),
    ("max_total_mb", "Keep at most (MiB)"),
    ("flac_after_days", "Compress to FLAC after (days)"),
    ("quota_mb", "Quota of each voice (MiB)"),
)


@dataclass(frozen=True)
class PolicyForm:
    """The fields of the form; `show` gives the values of `outputs`."""

    outputs: list[Any]
    show: Callable[[], list[Any]]


def build(lab: VoiceLab) -> PolicyForm:
    """Add the form, closed, to the current block."""
    with gr.Accordion("Clean-up policy (favourites and takes of stories always stay)", open=False):
        with gr.Row():
            fields: list[Any] = [
                gr.Number(None, label=label, minimum=0, min_width=150) for _, label in NUMBERS
            ]
            fields.append(gr.Radio(["refuse", "evict"], value="refuse", label="At the quota"))
        with gr.Row():
            save = gr.Button("Save", size="sm", variant="primary")
            plan = gr.Button("What would go?", size="sm")
            clean = gr.Button("Clean up now", size="sm", variant="stop")
        report = gr.HTML("", padding=False, elem_id="vl-cleanup")
        number = gr.Number(
            None,
            label="More than half of all files would go: say how many, then clean up again",
            minimum=0,
            precision=0,
            visible=False,
            elem_id="vl-cleanup-number",
        )
        sure = gr.Checkbox(False, visible=False)
    handlers = _Handlers(lab)
    save.click(handlers.save, fields, None, **HIDDEN)
    plan.click(handlers.plan, None, report, api_visibility="private")
    clean.click(
        handlers.clean_up,
        [sure, number],
        [report, number],
        api_visibility="private",
        js="(sure, number) => [confirm('Delete what the policy says?'), number]",
    )
    return PolicyForm(fields, handlers.show)


class _Handlers:
    """Event handlers of the form.

    Args:
        lab: whose storage.
    """

    def __init__(self, lab: VoiceLab):
        self._lab = lab

    def show(self) -> list[Any]:
        """The policy as values of the fields."""
        policy = asdict(self._lab.library.storage.policy())
        return [*(policy[name] for name, _ in NUMBERS), policy["quota_action"]]

    def save(self, *values: Any) -> None:
        """Store the policy of the fields."""
        with_gradio_errors(check_may_delete, self._lab)
        *numbers, quota_action = values
        fields = dict(zip((name for name, _ in NUMBERS), numbers, strict=True))
        if fields["max_takes"] is not None:
            fields["max_takes"] = int(fields["max_takes"])
        policy = with_gradio_errors(Policy, **fields, quota_action=quota_action)
        with_gradio_errors(self._lab.library.storage.set_policy, policy)
        gr.Info("The policy is kept; it is applied every ten minutes.")

    def plan(self) -> str:
        """A report of what a clean-up would delete."""
        return cleanup_report(with_gradio_errors(self._lab.library.storage.cleanup))

    def clean_up(self, sure: bool, expected: float | None) -> Any:
        """Clean up if confirmed: the report, and the field for the expected number."""
        if not sure:
            return gr.skip(), gr.skip()
        with_gradio_errors(check_may_delete, self._lab)
        return with_gradio_errors(self._attempt, None if expected is None else int(expected))

    def _attempt(self, expected: int | None) -> tuple[str, Any]:
        try:
            report = self._lab.library.storage.cleanup(dry_run=False, expected=expected)
        except Conflict as error:
            return cleanup_refused(error.message), gr.update(visible=True, value=None)
        return cleanup_report(report), gr.update(visible=False, value=None)
