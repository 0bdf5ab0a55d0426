"""A browser at a locked server: the form, the page behind it, a take that is heard."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.conftest import wait_for
from voicelab.lab import VoiceLab
from voicelab.server import Lab
from voicelab.settings import Settings

KEY = "schlüssel: of 'some' length"


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("unlock")
    settings = Settings(
        engine="tone",
        data_dir=folder,
        port=0,
        min_free_disk_mb=0,
        api_key=KEY,  # pyright: ignore[reportArgumentType]
        auth="ann:pw",  # pyright: ignore[reportArgumentType]
    )
    with VoiceLab(settings) as lab:
        yield lab.launch(quiet=True)


def test_a_take_is_made_and_heard_behind_the_lock(page: Page, locked: Lab) -> None:
    at = locked.local_url
    refused: list[str] = []
    page.on("response", lambda r: refused.append(r.url) if r.status in (401, 403) else None)
    page.set_default_timeout(20_000)
    page.goto(f"{at}?__theme=dark")
    assert page.url.startswith(f"{at}unlock?next=")
    expect(page.get_by_label("Key")).to_be_focused()
    page.keyboard.type(KEY)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{at}?__theme=dark")
    page.locator("#vl-text textarea").fill("The fjord was as quiet as it had been all morning.")
    page.get_by_role("button", name="Generate").click()
    wait_for(lambda: [take for take in locked.lab.history if take["status"] == "completed"])
    page.get_by_role("tab", name="History").click()
    expect(page.locator("article.vl-take audio")).to_have_count(1, timeout=20_000)
    player = page.locator("article.vl-take audio").first
    player.evaluate("audio => audio.play()")
    page.wait_for_function("document.querySelector('article.vl-take audio').currentTime > 0.3")
    assert player.evaluate("audio => audio.error") is None
    assert refused == []
    (cookie,) = [c for c in page.context.cookies() if c["name"] != "voicelab-visitor"]
    assert cookie["httpOnly"] and cookie["sameSite"] == "Strict" and not cookie["secure"]
    page.goto(f"{at}logout")
    expect(page.get_by_label("Key")).to_be_visible()


def test_a_wrong_key_is_told_and_a_login_opens_too(page: Page, locked: Lab) -> None:
    page.goto(locked.local_url)
    page.get_by_label("Key").fill("wrong")
    page.get_by_role("button", name="Unlock").click()
    expect(page.get_by_role("alert")).to_have_text("That key or login is wrong.")
    page.get_by_label("Name").fill("ann")
    page.get_by_label("Password").fill("pw")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("tab", name="Generate")).to_be_visible(timeout=20_000)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_form_is_read_on_a_phone_by_day_and_night(page: Page, locked: Lab, scheme) -> None:
    urls: list[str] = []
    page.on("request", lambda request: urls.append(request.url))
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 360, "height": 640})
    page.goto(f"{locked.local_url}unlock")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert urls == [f"{locked.local_url}unlock"]
    for selector in ("h1", "p", "label", "button"):
        assert _contrast(page, selector) >= 4.5, selector
    for _ in range(4):
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Log in"


def _contrast(page: Page, selector: str) -> float:
    """Of a text against what is behind it, as WCAG counts it."""
    colours = page.locator(selector).first.evaluate(
        """element => {
          let behind = element;
          while (getComputedStyle(behind).backgroundColor === 'rgba(0, 0, 0, 0)') {
            behind = behind.parentElement;
          }
          return [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor];
        }"""
    )
    light = [_luminance([int(part) / 255 for part in re.findall(r"\d+", c)[:3]]) for c in colours]
    return (max(light) + 0.05) / (min(light) + 0.05)


def _luminance(colour: list[float]) -> float:
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
