"""How long functions and modules may be, and what may be imported inside a function."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles

import pytest

from tests.house.test_house import MODULES, name

MEDIAN_LINES, MOST_OF_NINE_IN_TEN, MOST_LINES = 7, 20, 60
MODULE_LINES = 400
REASON = re.compile(r"#.*(start-up time|of the extra (chatterbox|mcp|piper|postgres|s3)\b)", re.I)

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(path: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, Function):
            yield node


def lines(function: Function) -> int:
    """From `def` to its end, with its docstring and the functions inside it."""
    return (function.end_lineno or 0) - function.lineno + 1


LENGTHS = {
    f"{name(path)}:{function.lineno} {function.name}": lines(function)
    for path in MODULES
    for function in functions(path)
}


def test_half_of_all_functions_have_seven_lines_or_fewer() -> None:
    assert median(LENGTHS.values()) <= MEDIAN_LINES


def test_nine_in_ten_functions_have_twenty_lines_or_fewer() -> None:
    assert quantiles(LENGTHS.values(), n=10)[-1] <= MOST_OF_NINE_IN_TEN


def test_no_function_has_more_than_sixty_lines() -> None:
    assert not {where for where, length in LENGTHS.items() if length > MOST_LINES}


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_no_module_has_more_than_four_hundred_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MODULE_LINES


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_an_import_inside_a_function_says_why(path: Path) -> None:
    """Start-up time or an optional extra: in a comment on its line or on the line before."""
    source = path.read_text(encoding="utf-8").splitlines()
    for function in functions(path):
        for node in ast.walk(function):
            if isinstance(node, ast.Import | ast.ImportFrom):
                before, own = source[node.lineno - 2 : node.lineno]
                comment = before if before.strip().startswith("#") else own
                assert REASON.search(comment), f"line {node.lineno}: {own.strip()}"
