"""Piper: VITS voices as ONNX files, with phonemes by eSpeak NG."""

from voicelab.engines.piper.plugin import PLUGIN

__all__ = ["PLUGIN"]
