"""`dev.py mutate`: break a module in one small place at a time, and show each break that its tests do not notice.

cosmic-ray makes the broken modules, which are called mutants. The tests run in our own interpreter and in a copy of the
checkout. A mutant is killed when a test fails and survives when none does; docs/mutation.md says what that tells.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from .environment import ROOT, EnvironmentProblem, install_packages

# The modules in which a mistake costs points, a key or patience, and the tests that look at each of them.
GUARDS = {
    "protocol": ("test_protocol.py", "test_protocol_edges.py", "test_protocol_errors.py", "test_protocol_hostile.py"),
    "credentials": ("test_credentials.py", "test_credentials_edges.py"),
    "schedule": ("test_schedule.py",),
}

# One replacement for each thing, the nearest. The others that cosmic-ray knows, such as a shift for an addition, end as
# a TypeError in nearly every test, which takes long and flatters the score.
OPERATORS = (
    *("AddNot", "ReplaceUnaryOperator_Delete_Not", "ReplaceAndWithOr", "ReplaceOrWithAnd"),
    *("ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceUnaryOperator_USub_UAdd", "NumberReplacer"),
    *("ReplaceComparisonOperator_Eq_NotEq", "ReplaceComparisonOperator_NotEq_Eq"),
    *("ReplaceComparisonOperator_Lt_LtE", "ReplaceComparisonOperator_LtE_Lt"),
    *("ReplaceComparisonOperator_Gt_GtE", "ReplaceComparisonOperator_GtE_Gt"),
    *("ReplaceComparisonOperator_Is_IsNot", "ReplaceComparisonOperator_IsNot_Is"),
    *("ReplaceBinaryOperator_Add_Sub", "ReplaceBinaryOperator_Sub_Add"),
    *("ReplaceBinaryOperator_Mul_Div", "ReplaceBinaryOperator_Div_Mul", "ReplaceBinaryOperator_Pow_Mul"),
    *("ReplaceBinaryOperator_BitOr_BitAnd", "ReplaceBinaryOperator_BitAnd_BitOr"),
    *("ExceptionReplacer", "RemoveDecorator", "ZeroIterationForLoop"),
    *("ReplaceBreakWithContinue", "ReplaceContinueWithBreak"),
)

# Hypothesis tries the same examples in every round, remembers none of an earlier mutant, and minds no slow ones.
PYTEST = (sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--hypothesis-profile=ci")
LEFT_OUT_OF_COPIES = (".*", "__pycache__", "demo_output")

# Some mutants loop for ever. What takes longer than this multiple of the tests without a mutant is taken for one.
ENDLESS_MULTIPLE = 4.0
ENDLESS_EXTRA_SECONDS = 20.0


class MutationProblem(Exception):  # noqa: N818 - it is a sentence for the developer, not a programming error
    """The tests cannot be judged."""


class Fate(Enum):
    """What the tests did to a mutant."""

    KILLED = "killed"
    ENDLESS = "endless"
    SURVIVED = "survived"


@dataclass(frozen=True)
class Score:
    """How the tests of one module did."""

    module: str
    fates: tuple[Fate, ...]
    untried: int
    """How many mutants were left when the time was over."""

    def __str__(self) -> str:
        tried = len(self.fates)
        killed = tried - self.fates.count(Fate.SURVIVED)
        endless = self.fates.count(Fate.ENDLESS)
        parts = [f"{self.module}: {killed} of {tried} mutants killed ({100 * killed / max(1, tried):.1f} %)"]
        if endless:
            parts.append(f"{endless} of them because they took too long")
        if self.untried:
            parts.append(f"{self.untried} more not tried, because the time was over")
        return ", ".join(parts)


def make_mutants(module: Path) -> list[str]:
    """Return the text of each mutant of this file, in the order of the places where they differ from it."""
    python = install_packages("mutation", [ROOT / "tools/requirements/mutation.txt"])
    command = [str(python), "-m", "tools.mutants", str(module), *OPERATORS]
    made = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, encoding="utf-8")
    texts: list[str] = json.loads(made.stdout)
    return different(module.read_text(encoding="utf-8"), texts)


def different(original: str, mutants: list[str]) -> list[str]:
    """Return the mutants that differ from the original in more than annotations, which no program of ours reads."""
    programs = {_program(original)}
    kept = []
    for text in mutants:
        program = _program(text)
        if program not in programs:
            programs.add(program)
            kept.append(text)
    return kept


def _program(text: str) -> str:
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        elif isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(None)
    return ast.dump(tree)


def copy_checkout(folder: Path) -> Path:
    """Copy what tests may read into the folder and return the copy."""
    copy = folder / "checkout"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*LEFT_OUT_OF_COPIES))
    return copy


@dataclass(frozen=True)
class Trial:
    """A module in a copy of the checkout, and the tests that are to notice when it is broken."""

    checkout: Path
    module: Path
    tests: tuple[str, ...]

    def fate(self, text: str, limit_seconds: float | None = None) -> Fate:
        """Run the tests with this text in the module's place."""
        self.module.write_text(text, encoding="utf-8")
        # A mutant of the same size, made in the same second, would be taken for the one that was compiled before.
        Path(importlib.util.cache_from_source(str(self.module))).unlink(missing_ok=True)
        # Tests that are ended leave their temporary files behind.
        scratch = self.checkout.with_name("scratch")
        scratch.mkdir(exist_ok=True)
        variables = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch))
        try:
            done = subprocess.run(
                [*PYTEST, *self.tests],
                cwd=self.checkout,
                env=variables,
                check=False,
                capture_output=True,
                stdin=subprocess.DEVNULL,
                timeout=limit_seconds,
            )
        except subprocess.TimeoutExpired:
            return Fate.ENDLESS
        return Fate.KILLED if done.returncode else Fate.SURVIVED


def judge(trial: Trial, mutants: list[str], seconds: float) -> Score:
    """Try the mutants until the time is over, and print how each survivor differs from the module."""
    original = trial.module.read_text(encoding="utf-8")
    begun = time.monotonic()
    if trial.fate(original) is not Fate.SURVIVED:
        raise MutationProblem(f"The tests of {trial.module.name} fail without any mutant: {' '.join(trial.tests)}")
    limit_seconds = ENDLESS_EXTRA_SECONDS + ENDLESS_MULTIPLE * (time.monotonic() - begun)
    fates: list[Fate] = []
    for text in mutants:
        if time.monotonic() - begun > seconds:
            break
        fates.append(trial.fate(text, limit_seconds))
        if fates[-1] is Fate.SURVIVED:
            print(f"survived:\n{difference(original, text)}", flush=True)
    trial.module.write_text(original, encoding="utf-8")
    return Score(trial.module.stem, tuple(fates), len(mutants) - len(fates))


def difference(original: str, mutant: str) -> str:
    """The changed lines with their neighbours and their line number."""
    lines = difflib.unified_diff(original.splitlines(), mutant.splitlines(), lineterm="", n=1)
    return "\n".join([*lines][2:])  # The first two lines name files.


def main() -> int:
    """Judge the tests of the modules that were asked for; survivors are for people to look at, and no failure."""
    parser = argparse.ArgumentParser(prog="dev.py mutate")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("modules", nargs="*", default=[*GUARDS])
    chosen = parser.parse_args()
    if unknown := [name for name in chosen.modules if name not in GUARDS]:
        parser.error(f"there is no list of tests for {', '.join(unknown)}, only for {', '.join(GUARDS)}")
    try:
        with tempfile.TemporaryDirectory(prefix="weshop-mutation-") as folder:
            scores = judge_all(chosen.modules, copy_checkout(Path(folder)), chosen.minutes * 60)
    except (EnvironmentProblem, MutationProblem) as problem:
        print(problem, file=sys.stderr)
        return 1
    print(*scores, sep="\n")
    return 0


def judge_all(modules: list[str], checkout: Path, seconds: float) -> list[Score]:
    """Judge the tests of these modules one after the other; what one leaves of its share of the time the others get."""
    end = time.monotonic() + seconds
    scores: list[Score] = []
    for name in modules:
        tests = tuple(f"tests/weshop_api/{file}" for file in GUARDS[name])
        trial = Trial(checkout, checkout / "weshop_api" / f"{name}.py", tests)
        mutants = make_mutants(trial.module)
        share = (end - time.monotonic()) / (len(modules) - len(scores))
        print(f"{name}: {len(mutants)} mutants, at most {share / 60:.0f} minutes ...", flush=True)
        scores.append(judge(trial, mutants, share))
    return scores


if __name__ == "__main__":
    sys.exit(main())
