"""A Piper voice of a few operations, for tests of folders of voices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

SYMBOLS = "_^$ ,.!?;:abcdefghijklmnopqrstuvwxyzəɪʊˈˌː"


def config(**changes: Any) -> dict[str, Any]:
    """What stands in a .onnx.json, the given fields instead."""
    return {
        "audio": {"sample_rate": 16_000},
        "espeak": {"voice": "de"},
        "language": {
            "code": "de_DE",
            "name_english": "German",
            "country_english": "Germany",
        },
        "inference": {"noise_scale": 0.667, "length_scale": 1, "noise_w": 0.8},
        "phoneme_type": "espeak",
        "phoneme_id_map": {symbol: [number] for number, symbol in enumerate(SYMBOLS)},
        "num_speakers": 1,
    } | changes


def save_voice(folder: Path, name: str = "de_DE-test-low", **changes: Any) -> Path:
    """Write both files; the .onnx one. It gives 400 samples a phoneme, louder for speaker 1."""
    given = config(**changes)
    path = folder / f"{name}.onnx"
    onnx.save(_model(given["num_speakers"] > 1), path)
    path.with_name(f"{path.name}.json").write_text(json.dumps(given), encoding="utf-8")
    return path


def _model(speakers: bool) -> Any:
    value = helper.make_tensor_value_info
    inputs = [
        value("input", TensorProto.INT64, [1, None]),
        value("input_lengths", TensorProto.INT64, [1]),
        value("scales", TensorProto.FLOAT, [3]),
    ]
    nodes = [
        helper.make_node("Cast", ["input"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["numbers", "small"], ["levels"]),
        helper.make_node("Tile", ["levels", "repeats"], ["tiled"]),
    ]
    last = "tiled"
    if speakers:
        inputs.append(value("sid", TensorProto.INT64, [1]))
        nodes += [
            helper.make_node("Cast", ["sid"], ["speaker"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["speaker", "tenth"], ["louder"]),
            helper.make_node("Add", ["tiled", "louder"], ["output"]),
        ]
    else:
        nodes.append(helper.make_node("Identity", [last], ["output"]))
    constants = [
        helper.make_tensor("small", TensorProto.FLOAT, [], [0.01]),
        helper.make_tensor("tenth", TensorProto.FLOAT, [], [0.1]),
        helper.make_tensor("repeats", TensorProto.INT64, [2], [1, 400]),
    ]
    outputs = [value("output", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "voice", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
