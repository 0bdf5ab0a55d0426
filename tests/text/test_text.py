from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voicelab.errors import InvalidInput, TextTooLong
from voicelab.text.chunks import EVENT_TAGS, check_text, halves, plan


def chunks(text: str, limit: int = 200, tags: frozenset[str] = frozenset(), language: str = "en"):
    return [
        c.text for c in plan(text, language=language, max_chunk_chars=limit, event_tags=tags).chunks
    ]


LONG = "This sentence is long enough to stand alone in its own chunk."


@pytest.mark.parametrize(
    "sentence",
    [
        "Dr. Smith went to the U.S. embassy with a bag of apples, e.g. red ones.",
        "The value of pi is about 3.14 and that of e is about 2.72, he said.",
        "It cost 3,000.50 euros in 2024 and not a single cent less than that.",
    ],
)
def test_abbreviations_and_decimals_do_not_end_a_sentence(sentence: str) -> None:
    assert chunks(f"{sentence} {LONG}") == [sentence, LONG]


def test_short_sentences_share_a_chunk() -> None:
    assert chunks(f"Yes. No. Perhaps. {LONG}")[0].startswith("Yes. No. Perhaps.")


def test_an_edit_of_one_sentence_leaves_the_others_alone() -> None:
    before = [f"{LONG[:-1]} number {n}." for n in range(20)]
    after = [*before[:7], "Now this one says something else, and is much longer too.", *before[8:]]
    assert len(set(chunks(" ".join(after))) - set(chunks(" ".join(before)))) == 1


def test_chinese_is_split_at_its_own_marks() -> None:
    assert len(chunks("他走了很远的路。" * 30, 100, language="zh")) > 1


@given(st.text(st.sampled_from("abc 3.5,;[laugh]é的\u0301👩‍🚀\u202e\n"), min_size=1, max_size=400))
@settings(max_examples=150, deadline=None)
def test_no_chunk_is_too_long_and_no_letter_is_lost(text: str) -> None:
    try:
        checked = check_text(text, 1000)
        found = chunks(checked, 100, EVENT_TAGS)
    except InvalidInput:
        return
    assert all(0 < len(chunk) <= 100 for chunk in found)
    letters = [c for c in checked if c.isalnum()]
    assert [c for c in "".join(found) if c.isalnum()] == letters


def test_a_number_and_a_tag_are_never_cut() -> None:
    found = chunks(
        "word " * 18 + "3,000,000.50 and more " + "x " * 40 + "[laugh] end", 100, EVENT_TAGS
    )
    assert any("3,000,000.50" in chunk for chunk in found)
    assert any("[laugh]" in chunk for chunk in found)


def test_a_blank_line_and_pauses_are_silence() -> None:
    made = plan(
        "[pause:1s]One two three. [pause:500ms] Four five.\n\nSix.",
        language="en",
        max_chunk_chars=200,
        event_tags=frozenset(),
    )
    assert made.lead_ms == 1000
    assert [(c.pause_ms, c.paragraph_end) for c in made.chunks] == [
        (500, False),
        (None, True),
        (None, False),
    ]


@pytest.mark.parametrize("pause", ["[pause:abc]", "[pause:11s]", "[pause:-5ms]", "[pause:]"])
def test_a_pause_that_is_none_is_refused(pause: str) -> None:
    with pytest.raises(InvalidInput, match="not a pause"):
        chunks(f"One {pause} two.")


def test_foreign_event_tags_are_left_out_with_a_warning() -> None:
    made = plan("He [laugh] left.", language="en", max_chunk_chars=200, event_tags=frozenset())
    assert made.chunks[0].text == "He left."
    assert "[laugh]" in made.warnings[0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" \n\t ", "empty"),
        ("...!?", "no letter"),
        ("👍👍", "no letter"),
        ("[pause:1s]", "no letter"),
        ("a\x00b", r"U\+0000, at position 1"),
        ("a\x1bb", r"U\+001B"),
        ("ab\ud800", r"U\+D800, at position 2"),
    ],
)
def test_what_cannot_be_spoken_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        check_text(text, 1000)


def test_five_megabytes_are_refused_and_not_echoed() -> None:
    with pytest.raises(TextTooLong, match="5,000,000 characters; at most 100,000") as caught:
        check_text("a" * 5_000_000, 100_000)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "text",
    [
        "a" * 100_000,
        "Hello there my friend. " * 4_300,
        "的" * 100_000,
        "你好。" * 33_000,
        "«a. " * 25_000,
        "Mr. X. " * 14_000,
        "a" + "\U0001f1eb\U0001f1f7" * 49_000,
        "[pause:" + " " * 99_000,
    ],
    ids=["word", "english", "cjk word", "cjk", "quotes", "titles", "flags", "open pause"],
)
def test_a_whole_book_chapter_is_planned_in_a_second(text: str) -> None:
    began = time.process_time()
    assert max(map(len, chunks(check_text(text, 100_000), 280))) <= 280
    assert time.process_time() - began < 1


def test_an_abbreviation_sentencex_does_not_know_ends_no_sentence() -> None:
    sentence = "We met Professor Lee and the Senator at ten on Mon. the 5th of May in town."
    assert chunks(f"{sentence} {LONG}") == [sentence, LONG]
    french = "Hier soir dans la rue de la gare nous avons vu M. Dupont avec sa valise."
    assert chunks(french, language="fr") == [french]


def test_a_tag_in_text_without_spaces_is_not_cut() -> None:
    text = "的" * 95 + "[laugh]" + "的" * 95
    found = chunks(text, 100, EVENT_TAGS, "zh")
    assert sum("[laugh]" in chunk for chunk in found) == 1
    assert "".join(found) == text


@pytest.mark.parametrize(
    ("text", "language"),
    [("ที่นี่มีน้ำ" * 30, "th"), ("नमस्तेकिताबी" * 40, "hi"), ("e\u0327\u0301" * 90, "en")],
)
def test_no_letter_is_parted_from_its_marks(text: str, language: str) -> None:
    found = chunks(text, 100, language=language)
    assert len(found) > 1
    assert not [c for c in found if unicodedata.category(c[0]).startswith("M")]


def test_no_flag_is_cut_in_half() -> None:
    text = "a" + "\U0001f1eb\U0001f1f7" * 60 + "b"
    first = chunks(text, 100)[0]
    assert (len(first) - 1) % 2 == 0


def test_symbols_left_out_are_named() -> None:
    text = f"{LONG}\n\n👍👍\n\n* * *\n\n{LONG}"
    made = plan(text, language="en", max_chunk_chars=200, event_tags=frozenset())
    assert [c.text for c in made.chunks] == [LONG, LONG]
    assert made.warnings == ("Symbols that stand alone cannot be spoken: 👍; left out.",)


def test_letters_under_a_hundred_accents_are_refused_at_once() -> None:
    began = time.process_time()
    with pytest.raises(InvalidInput, match="accents"):
        check_text("a" + "\u0301\u0316" * 49_000, 100_000)
    assert time.process_time() - began < 1


def test_pauses_cannot_fill_the_disk() -> None:
    with pytest.raises(InvalidInput, match="31 minutes together; at most 30"):
        chunks("One" + " [pause:10s] two" * 186)


def test_a_long_pause_tag_is_refused_and_shortened() -> None:
    with pytest.raises(InvalidInput, match="not a pause") as caught:
        chunks(f"One [pause:{'x' * 5000}] two.")
    assert len(str(caught.value)) < 200


def test_the_position_is_that_of_the_text_as_it_was_sent() -> None:
    with pytest.raises(InvalidInput, match="at position 7"):
        check_text("a\r\nb\r\nc\x00", 100)


def test_right_to_left_text_passes_unchanged() -> None:
    assert chunks("مرحبا بالعالم.") == ["مرحبا بالعالم."]


def test_halves_meet_at_a_space() -> None:
    assert halves("one two three four") == ["one two", "three four"]
    assert halves("a") == ["a"]


@pytest.mark.parametrize(
    ("text", "language", "spoken"),
    [
        ("你好。今天天气很好。", "zh", "你好。今天天气很好。"),
        ("你好。 再见。", "zh", "你好。再见。"),
        ("こんにちは。元気ですか？", "ja", "こんにちは。元気ですか？"),
        ("今天\n天气很好。", "zh", "今天天气很好。"),
        ("Hello. 你好。", "en", "Hello. 你好。"),
        ("Yes. No.", "en", "Yes. No."),
        ("one\ntwo", "en", "one two"),
    ],
)
def test_short_sentences_are_joined_as_their_script_is_written(
    text: str, language: str, spoken: str
) -> None:
    made = plan(text, language=language, max_chunk_chars=280, event_tags=frozenset())
    assert [chunk.text for chunk in made.chunks] == [spoken]
