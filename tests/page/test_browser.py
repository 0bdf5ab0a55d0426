"""The page, as a person uses it."""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.conftest import wait_for, write_clip
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
    (record,) = page_lab.history
    page.locator("#vl-chunks button").first.click()
    wait_for(lambda: len(page_lab.library.versions.of(record["id"])) == 2)
    expect(page.locator("#vl-chunks button")).to_have_count(2)
    (record,) = page_lab.history
    assert record["chunks"][0]["seed"] != 7 and record["chunks"][1]["seed"] == 8
    page_lab.library.versions.set_default(
        record["id"], page_lab.library.versions.of(record["id"])[0]["id"]
    )
    page.wait_for_timeout(1500)
    page.set_viewport_size(DESKTOP | {"height": 1040})
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=pictures / "generate.png")
    page.set_viewport_size(DESKTOP)

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
    take.get_by_role("button", name="Delete").click()
    expect(page.locator("article.vl-take")).to_have_count(1)
    page.once("dialog", lambda dialog: dialog.accept())
    take.get_by_role("button", name="Delete").click()
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
    page_lab.library.delete(record["id"])


def test_a_phone_shows_every_tab_without_scrolling_sideways(
    page: Page, url: str, page_lab: VoiceLab, tmp_path: Path
) -> None:
    record = page_lab.generate("A word " * 40, progress=False).record
    page.set_viewport_size(PHONE)
    for tab in ("Generate", "History", "Voices", "Stories", "Stats"):
        opened(page, url, tab, "?__theme=dark")
        page.wait_for_timeout(800)
        width = page.evaluate("document.documentElement.scrollWidth")
        page.screenshot(path=tmp_path / f"{tab}.png")
        assert width <= 390, tab
    page_lab.library.delete(record["id"])


def test_the_page_works_by_keyboard(page: Page, url: str) -> None:
    opened(page, url)
    page.get_by_role("tab", name="Generate").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    history = page.get_by_role("tab", name="History")
    expect(history).to_have_attribute("aria-selected", "true")
    for _ in range(6):
        page.keyboard.press("Tab")
        if page.get_by_label("Search").evaluate("e => e === document.activeElement"):
            break
    else:
        raise AssertionError("the search box cannot be reached")


def test_takes_are_worked_on_by_keyboard(page: Page, url: str, page_lab: VoiceLab) -> None:
    ids = [page_lab.generate(f"Take {n}.", progress=False).record["id"] for n in range(4)]
    opened(page, url, "History")
    takes = page.locator("article.vl-take")
    takes.first.focus()
    for key in ("f", "ArrowDown", "f", "ArrowDown", "f"):
        page.keyboard.press(key)
    expect(page.locator("article.vl-take [aria-pressed=true]")).to_have_count(3)
    assert [page_lab.history.get(id)["is_favorited"] for id in ids] == [False, True, True, True]
    expect(takes.nth(2)).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(takes.nth(1)).to_be_focused()
    page.keyboard.press(" ")
    expect(page.get_by_text("1 selected")).to_be_visible()
    page_lab.library.delete_many(ids)


def test_many_takes_are_tagged_exported_and_deleted(
    page: Page, url: str, page_lab: VoiceLab
) -> None:
    for n in range(3):
        page_lab.generate(f"Number {n}.", progress=False)
    opened(page, url, "History")
    page.get_by_label("Select all on this page").check()
    expect(page.get_by_text("3 selected")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Export ZIP").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert len(archive.namelist()) == 4  # and the manifest
    page.once("dialog", lambda dialog: dialog.accept("story <b>one</b>"))
    page.get_by_role("button", name="Tag").click()
    expect(page.get_by_text("#story <b>one</b>")).to_have_count(3)
    page.get_by_label("Select all on this page").check()
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete selected").click()
    expect(page.locator("article.vl-take")).to_have_count(0)
    assert len(page_lab.history) == 0


def test_a_take_gets_versions_effects_and_a_sentence_again(
    page: Page, url: str, page_lab: VoiceLab, pictures: Path
) -> None:
    text = (
        "The first sentence is long enough to stand alone. The second one is long enough, as well."
    )
    id = page_lab.generate(text, progress=False).record["id"]
    opened(page, url, "History")
    page.get_by_role("button", name="Versions and effects").click()
    versions = page.locator("#vl-versions article")
    expect(versions).to_have_count(1)
    page.get_by_role("button", name="Another reading").click()
    expect(versions).to_have_count(2)
    page.locator("#vl-drawer").get_by_role("button", name="Effects").click()
    page.get_by_label("Preset", exact=True).click()
    page.get_by_role("option", name="Radio").click()
    expect(page.get_by_label("number input for Cutoff (Hz)").first).to_be_visible()
    page.get_by_role("button", name="Keep as a version").click()
    expect(versions).to_have_count(3)
    page.set_viewport_size(DESKTOP)
    page.screenshot(path=pictures / "versions.png")
    page.get_by_role("button", name="Sentences").click()
    page.locator("#vl-sentences button").nth(1).click()
    # The other reading of the sentence goes through the effects that are heard.
    expect(versions).to_have_count(5)
    versions.first.get_by_role("button", name="Use this").click()
    expect(versions.first.get_by_text("heard")).to_be_visible()
    labels = [version["label"] for version in page_lab.history.get(id)["versions"]]
    chain = "High-pass, Low-pass, Compressor, Loudness"
    assert labels == ["original", "regenerated", chain, "chunk 2 again", chain]
    page_lab.library.delete(id)


def test_a_voice_is_made_from_a_clip(
    page: Page, url: str, page_lab: VoiceLab, tmp_path: Path, pictures: Path
) -> None:
    opened(page, url, "Voices")
    page.get_by_role("button", name="New voice").click()
    page.get_by_label("Name", exact=True).fill("Anna")
    page.get_by_label("Language (a code such as en, de)").fill("de")
    page.get_by_label("Description").fill("Calm, from <b>Oslo</b>")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Calm, from <b>Oslo</b>")).to_be_visible()
    clip = write_clip(tmp_path / "clip.wav", 3)
    page.locator("#vl-profile input[type=file]").first.set_input_files(clip)
    page.get_by_label("What is said in it (optional)").fill("Good morning.")
    expect(page.get_by_role("button", name="Play", exact=False).first).to_be_visible()
    page.get_by_role("button", name="Add the clip").click()
    expect(page.locator("#vl-samples article")).to_contain_text("Good morning.")
    expect(page.get_by_text("1 clip", exact=True)).to_be_visible()
    page.set_viewport_size(DESKTOP)
    page.screenshot(path=pictures / "voices.png")
    page.get_by_role("tab", name="Generate").click()
    page.get_by_label("Voice", exact=True).click()
    page.get_by_role("option", name="Anna").click()
    expect(page.get_by_label("Language", exact=True)).to_have_value("German")
    page.get_by_role("tab", name="Voices").click()
    page.once("dialog", lambda dialog: dialog.accept())
    page.locator("#vl-profiles").get_by_role("button", name="Delete").click()
    expect(page.locator("#vl-profiles article")).to_have_count(1)
    assert [profile["name"] for profile in page_lab.library.profiles.list()] == ["Default"]


def test_a_script_becomes_a_story_that_is_edited(
    page: Page, url: str, page_lab: VoiceLab, pictures: Path
) -> None:
    page_lab.library.profiles.create("Anna")
    page.set_viewport_size(DESKTOP)
    opened(page, url, "Stories")
    page.get_by_label("New story").fill("The <i>wind</i>")
    page.get_by_role("button", name="Make").click()
    expect(page.get_by_text("Nothing in this story yet")).to_be_visible()
    page.get_by_label("Script").fill("Anna: Did you hear that?\nDefault: It was only the wind.")
    page.get_by_role("button", name="Speak the script").click()
    items = page.locator(".vl-item")
    expect(items).to_have_count(2)
    first = items.filter(has_text="Did you hear")
    (story,) = page_lab.library.stories.list()

    def positions() -> set[tuple[int, int]]:
        items = page_lab.library.stories.get(story["id"])["items"]
        return {(item["start_time_ms"], item["track"]) for item in items}

    first.focus()
    for key in ("Shift+ArrowRight", "ArrowDown", "ArrowRight", *["ArrowLeft"] * 9):
        page.keyboard.press(key)
    for key in ("Shift+ArrowRight", *["ArrowRight"] * 10):
        page.keyboard.press(key)
    expect(first).to_have_attribute("data-start", "2200")
    expect(first).to_have_attribute("data-track", "1")
    expect(first).to_be_focused()
    page.screenshot(path=pictures / "stories.png")
    box = first.bounding_box()
    assert box
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 220, box["y"] + 20, steps=5)
    page.mouse.up()
    expect(first).not_to_have_attribute("data-start", "2200")
    wait_for(lambda: max(positions()) > (2700, 0))
    items.filter(has_text="only the wind").click()
    expect(page.locator("#vl-item")).to_contain_text("only the wind")
    expect(page.get_by_label("number input for Volume")).to_be_visible()
    page.get_by_label("Fade in (ms)").fill("50")
    page.get_by_role("button", name="Save").last.click()
    page.get_by_role("button", name="Split in the middle").click()
    expect(items).to_have_count(3)
    assert {item["fade_in_ms"] for item in page_lab.library.stories.get(story["id"])["items"]} == {
        0,
        50,
    }
    with page.expect_download() as download:
        page.get_by_role("link", name="SRT").click()
    assert "Did you hear" in Path(download.value.path()).read_text()
    page.get_by_label("Script").fill(("One line more, and on it goes. " * 20 + "\n") * 500)
    page.get_by_role("button", name="Speak the script").click()
    page.get_by_role("button", name="Stop").last.click()
    expect(page.get_by_text("Stopped.")).to_be_visible()
    expect(items).to_have_count(3)
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete the story").click()
    expect(items).to_have_count(0)
    assert page_lab.library.stories.list() == []
    page_lab.library.delete_profile(page_lab.library.profiles.resolve("Anna")["id"])
    page_lab.library.delete_many([record["id"] for record in page_lab.history])


def test_the_reference_pages_need_no_internet(page: Page, url: str, outside: list[str]) -> None:
    page.goto(f"{url}/docs")
    expect(page.get_by_text("/v1/audio/speech", exact=True).first).to_be_visible()
    page.goto(f"{url}/redoc")
    expect(page.get_by_text("Speak a text").first).to_be_visible()
    assert outside == []


def test_a_clean_up_of_more_than_half_asks_for_its_number(
    page: Page, url: str, page_lab: VoiceLab
) -> None:
    page_lab.library.delete_many([record["id"] for record in page_lab.history])
    kept = page_lab.library.audio_path(
        page_lab.generate("This stays.", progress=False).record["id"]
    )
    orphans = [kept.with_name(f"orphan-{number}.wav") for number in range(2)]
    for path in orphans:
        path.write_bytes(kept.read_bytes())
        os.utime(path, (1e9, 1e9))
    opened(page, url, "Stats")
    page.get_by_text("Clean-up policy").click()
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Clean up now").click()
    report = page.locator("#vl-cleanup")
    expect(report).to_contain_text("would remove 2 of 3 audio files")
    number = page.locator("#vl-cleanup-number input")
    number.fill("3")
    page.get_by_role("button", name="Clean up now").click()
    expect(report).to_contain_text("not 3: look again")
    assert all(path.exists() for path in orphans)
    number.fill("2")
    page.get_by_role("button", name="Clean up now").click()
    expect(report).to_contain_text("2 of 3 audio files went")
    expect(number).to_have_count(0)
    assert kept.exists() and not any(path.exists() for path in orphans)
