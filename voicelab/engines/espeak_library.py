"""libespeak-ng of the wheel espeakng-loader: samples and phonemes of a text."""

from __future__ import annotations

import _ctypes
import ctypes
import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import espeakng_loader
import numpy as np
from numpy.typing import NDArray

from voicelab.errors import EngineUnavailable, SpeechFailed

__all__ = ["SAMPLE_RATE", "EspeakLibrary"]

SAMPLE_RATE = 22_050

AUDIO_OUTPUT_SYNCHRONOUS = 2
INITIALIZE_DONT_EXIT = 0x8000
CHARS_UTF8 = 1
PHONEMES_IPA = 2
RATE, PITCH, RANGE = 1, 3, 4
BUFFER_MS = 200

_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


@functools.cache
def _process_lock() -> threading.Lock:
    # The C library keeps its state in statics of the process, whoever uses it.
    return threading.Lock()


class EspeakLibrary:
    """The library, loaded for one text and unloaded after it; one at a time in the process.

    It carries flutter and wave phase over from call to call, which no function of it resets;
    fresh statics make the same text the same samples. Loading takes 2 ms.

    Raises:
        EngineUnavailable: on entering its `with` block, when it cannot be loaded.
    """

    def __enter__(self) -> EspeakLibrary:
        _process_lock().acquire()
        try:
            self._load()
        except BaseException:
            _process_lock().release()
            raise
        return self

    def _load(self) -> None:
        try:
            self._dll = ctypes.CDLL(espeakng_loader.get_library_path())
            folder = str(Path(espeakng_loader.get_data_path()).parent).encode()
            rate = self._dll.espeak_Initialize(
                AUDIO_OUTPUT_SYNCHRONOUS, BUFFER_MS, folder, INITIALIZE_DONT_EXIT
            )
        except (OSError, RuntimeError) as error:
            raise EngineUnavailable(f"eSpeak NG cannot be loaded: {error}.") from error
        if rate != SAMPLE_RATE:
            raise EngineUnavailable(f"eSpeak NG did not start (it answered {rate}).")

    def __exit__(self, *_: object) -> None:
        try:
            self._dll.espeak_Terminate()
            handle = self._dll._handle
            del self._dll
            unload = getattr(_ctypes, "dlclose", None) or _ctypes.FreeLibrary  # pyright: ignore
            unload(handle)
        finally:
            _process_lock().release()

    def choose_voice(self, name: str) -> None:
        """Speak with the voice of that name, a language's mostly; raises SpeechFailed."""
        if self._dll.espeak_SetVoiceByName(name.encode()):
            raise SpeechFailed(f"eSpeak NG has no voice for '{name}'.")

    def speak(
        self, text: str, parameters: Mapping[str, float], cancelled: Callable[[], bool]
    ) -> NDArray[np.int16] | None:
        """int16 (n,) at SAMPLE_RATE, or None when it was cancelled.

        Args:
            text: of the language of the voice.
            parameters: rate_wpm, pitch and pitch_range.
            cancelled: asked every BUFFER_MS of audio.

        Raises:
            SpeechFailed: the library gives an error.
        """
        pieces: list[NDArray[np.int16]] = []

        def receive(wave: Any, count: int, _events: int | None) -> int:
            if wave and count > 0:
                pieces.append(np.ctypeslib.as_array(wave, shape=(count,)).copy())
            return int(cancelled())

        callback = _Callback(receive)
        self._dll.espeak_SetSynthCallback(callback)
        self._dll.espeak_ng_SetRandSeed(ctypes.c_long(1))
        for name, number in (("rate_wpm", RATE), ("pitch", PITCH), ("pitch_range", RANGE)):
            self._dll.espeak_SetParameter(number, round(parameters[name]), 0)
        content = text.encode() + b"\0"
        failed = self._dll.espeak_Synth(content, len(content), 0, 1, 0, CHARS_UTF8, None, None)
        if cancelled():
            return None
        if failed:
            raise SpeechFailed(f"eSpeak NG failed with code {failed}.")
        return np.concatenate(pieces) if pieces else np.zeros(0, np.int16)

    def clauses(self, text: str) -> Iterator[tuple[str, str]]:
        """(clause of the text, its phonemes in IPA) from the first to the last.

        A clause may lack its first character: the library reads one character ahead, which then
        stands at the end of the clause before it.
        """
        phonemes = self._dll.espeak_TextToPhonemes
        phonemes.restype = ctypes.c_char_p
        phonemes.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_int, ctypes.c_int]
        content = ctypes.create_string_buffer(text.encode())
        start = ctypes.addressof(content)
        position, at = ctypes.c_void_p(start), 0
        while position.value is not None:
            spoken = phonemes(ctypes.byref(position), CHARS_UTF8, PHONEMES_IPA) or b""
            end = len(content.value) if position.value is None else position.value - start
            if end <= at and position.value is not None:  # it does not advance
                raise SpeechFailed("eSpeak NG cannot read this text.")
            yield content.value[at:end].decode(errors="replace"), spoken.decode(errors="replace")
            at = end
