"""The page, as a person uses it."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Page, expect

from voicelab.lab import VoiceLab

HOSTILE = "<img src=x onerror=\"document.title='pwned'\"> and ${document.title='pwned'} {{value}}"
DESKTOP, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}


def opened(page: Page, url: str, tab: str = "Generate", query: str = "") -> Page:
    page.set_default_timeout(20_000)
    expect.set_options(timeout=20_000)
    page.goto(f"{url}/{query}")
    page.get_by_role("tab", name=tab).click()
    return page


def test_a_take_is_made_heard_found_kept_and_deleted(
    page: Page, url: str, outside: list[str], pictures: Path, page_lab: VoiceLab
) -> None:
    page.set_viewport_size(DESKTOP)
    opened(page, url)
    text = page.locator("#vl-text textarea")
    text.fill(
        "The fjord was as quiet as it had been all morning. "
        "A single boat drew a line across the water, far from the shore."
    )
    expect(page.get_by_text(re.compile(r"\d+ characters, about \d+ s"))).to_be_visible()
    page.get_by_label("Seed").fill("7")
    text.press("Control+Enter")
    expect(page.get_by_text("real-time factor")).to_be_visible()
    expect(page.locator("#vl-chunks li")).to_have_count(2)
    page.wait_for_timeout(1500)
    page.screenshot(path=pictures / "generate.png")

    page.get_by_role("tab", name="History").click()
    take = page.locator("article.vl-take").first
    expect(take).to_contain_text("The fjord was as quiet")
    page.wait_for_function("document.querySelector('article audio') !== null")
    take.locator("audio").evaluate("a => { a.preload = 'metadata'; a.load(); }")
    page.wait_for_function("document.querySelector('article audio').duration > 2")
    page.get_by_label("Search").press_sequentially("nothing like it")
    expect(page.get_by_text("No take matches.")).to_be_visible()
    page.get_by_label("Search").fill("BOAT fjord")
    expect(page.locator("article.vl-take")).to_have_count(1)
    take.get_by_role("button", name="Favourite").click()
    expect(take.get_by_role("button", name="Favourite")).to_have_attribute("aria-pressed", "true")

    page.reload()
    page.get_by_role("tab", name="History").click()
    expect(page.locator("[aria-pressed=true]")).to_have_count(1)
    page.screenshot(path=pictures / "history.png")
    page.get_by_role("button", name="Use again").click()
    expect(page.locator("#vl-text textarea")).to_have_value(re.compile("fjord"))
    expect(page.get_by_label("Seed")).to_have_value("7")

    page.get_by_role("tab", name="Stats").click()
    expect(page.get_by_text("minutes of sound")).to_be_visible()
    page.wait_for_timeout(2500)
    page.screenshot(path=pictures / "stats.png")

    page.get_by_role("tab", name="History").click()
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("button", name="Delete").click()
    expect(page.locator("article.vl-take")).to_have_count(1)
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete").click()
    expect(page.locator("article.vl-take")).to_have_count(0)
    assert len(page_lab.history) == 0
    assert outside == []


def test_a_text_that_cannot_be_spoken_gives_one_sentence(page: Page, url: str) -> None:
    opened(page, url)
    page.locator("#vl-text textarea").fill("...")
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_text("no letter or digit")).to_be_visible()


def test_hostile_text_is_shown_as_text(page: Page, url: str, page_lab: VoiceLab) -> None:
    record = page_lab.generate(HOSTILE, progress=False).record
    opened(page, url, "History")
    expect(page.locator("article.vl-take p").first).to_have_text(HOSTILE)
    page.get_by_role("button", name="Use again").first.click()
    expect(page.locator("#vl-text textarea")).to_have_value(HOSTILE)
    assert page.title() != "pwned"
    page_lab.delete(record["id"])


def test_a_phone_shows_every_tab_without_scrolling_sideways(
    page: Page, url: str, page_lab: VoiceLab, tmp_path: Path
) -> None:
    record = page_lab.generate("A word " * 40, progress=False).record
    page.set_viewport_size(PHONE)
    for tab in ("Generate", "History", "Stats"):
        opened(page, url, tab, "?__theme=dark")
        page.wait_for_timeout(800)
        width = page.evaluate("document.documentElement.scrollWidth")
        page.screenshot(path=tmp_path / f"{tab}.png")
        assert width <= 390, tab
    page_lab.delete(record["id"])


def test_the_page_works_by_keyboard(page: Page, url: str) -> None:
    opened(page, url)
    page.get_by_role("tab", name="Generate").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    history = page.get_by_role("tab", name="History")
    expect(history).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Search")).to_be_focused()


def test_the_reference_pages_need_no_internet(page: Page, url: str, outside: list[str]) -> None:
    page.goto(f"{url}/docs")
    expect(page.get_by_text("/v1/audio/speech", exact=True).first).to_be_visible()
    page.goto(f"{url}/redoc")
    expect(page.get_by_text("Speak a text").first).to_be_visible()
    assert outside == []
