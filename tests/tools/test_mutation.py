"""Judging tests by the broken modules that they notice. The mutants here are written by hand."""

from __future__ import annotations

import py_compile
from pathlib import Path

import pytest

from tools.environment import ROOT
from tools.mutation import GUARDS, Fate, MutationProblem, Score, Trial, copy_checkout, different, judge

ORIGINAL = "LIMIT = 8\n\n\ndef fits(size: int) -> bool:\n    return size <= LIMIT\n"
NOTICED = ORIGINAL.replace("<=", ">")
UNNOTICED = ORIGINAL.replace("8", "9")
ENDLESS = ORIGINAL.replace("return size <= LIMIT", "\n    while True: pass")


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    """A checkout with a module of one function, whose test is not very thorough."""
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (checkout / "sizes.py").write_text(ORIGINAL)
    (checkout / "test_sizes.py").write_text(
        "from sizes import fits\n\n\ndef test_fits() -> None:\n    assert fits(3) and not fits(20)\n"
    )
    return Trial(checkout, checkout / "sizes.py", ("test_sizes.py",))


def test_a_mutant_is_killed_when_a_test_fails(trial: Trial) -> None:
    assert trial.fate(NOTICED) is Fate.KILLED


def test_a_mutant_is_not_taken_for_the_one_that_was_compiled_before(trial: Trial) -> None:
    """Python compares the second and the size, which are often the same. Here it compares nothing at all."""
    py_compile.compile(str(trial.module), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)

    assert trial.fate(NOTICED) is Fate.KILLED


def test_a_mutant_that_loops_for_ever_is_ended(trial: Trial) -> None:
    assert trial.fate(ENDLESS, limit_seconds=3.0) is Fate.ENDLESS


def test_each_survivor_is_shown_with_the_line_that_differs(trial: Trial, capsys: pytest.CaptureFixture[str]) -> None:
    score = judge(trial, [NOTICED, UNNOTICED], seconds=600.0)

    assert score == Score("sizes", (Fate.KILLED, Fate.SURVIVED), untried=0)
    assert capsys.readouterr().out.splitlines()[:4] == ["survived:", "@@ -1,2 +1,2 @@", "-LIMIT = 8", "+LIMIT = 9"]


def test_when_the_time_is_over_the_rest_is_not_tried(trial: Trial) -> None:
    score = judge(trial, [NOTICED, UNNOTICED], seconds=0.0)

    assert score == Score("sizes", (), untried=2)


def test_the_module_is_whole_again_in_the_end(trial: Trial) -> None:
    judge(trial, [NOTICED], seconds=600.0)

    assert trial.module.read_text() == ORIGINAL


def test_tests_that_fail_without_a_mutant_are_not_judged(trial: Trial) -> None:
    trial.module.write_text(NOTICED)

    with pytest.raises(MutationProblem, match=r"sizes\.py fail without any mutant: test_sizes\.py"):
        judge(trial, [UNNOTICED], seconds=600.0)


def test_a_mutant_that_differs_in_an_annotation_alone_or_was_there_before_is_left_out() -> None:
    mutants = [
        ORIGINAL.replace("size: int", "size: str"),
        ORIGINAL.replace("-> bool", "-> int"),
        ORIGINAL.replace("LIMIT = 8", "LIMIT: int = 8"),
        ORIGINAL.replace("8", " 8"),
        NOTICED,
        UNNOTICED,
        NOTICED,
    ]

    assert different(ORIGINAL, mutants) == [mutants[2], NOTICED, UNNOTICED]


def test_the_copy_has_what_tests_read_and_nothing_hidden(tmp_path: Path) -> None:
    copy = copy_checkout(tmp_path)

    assert (copy / "pyproject.toml").read_bytes() == (ROOT / "pyproject.toml").read_bytes()
    assert (copy / "tests" / "conftest.py").is_file()
    assert not [*copy.glob(".*")]


@pytest.mark.parametrize("module", GUARDS)
def test_a_module_and_the_tests_that_guard_it_exist(module: str) -> None:
    assert (ROOT / "weshop_api" / f"{module}.py").is_file()
    assert all((ROOT / "tests" / "weshop_api" / file).is_file() for file in GUARDS[module])


def test_a_score_is_a_sentence() -> None:
    assert str(Score("sizes", (Fate.KILLED, Fate.SURVIVED), 0)) == "sizes: 1 of 2 mutants killed (50.0 %)"


def test_what_took_too_long_or_was_not_tried_is_told_apart() -> None:
    sentence = str(Score("sizes", (Fate.KILLED, Fate.ENDLESS, Fate.SURVIVED), 4))

    assert sentence.startswith(
        "sizes: 2 of 3 mutants killed (66.7 %), 1 of them because they took too long, 4 more not"
    )


def test_without_any_time_there_is_a_score_too() -> None:
    assert str(Score("sizes", (), 4)).startswith("sizes: 0 of 0 mutants killed (0.0 %), 4 more not tried")
