"""The fault table: whatever goes wrong in whatever phase, a click is charged once and its pictures arrive.

Each row is executed in a real ComfyUI against the emulator: queue, suffer, queue once more. Counted are the runs at the
service and the pictures saved. Rows are executed on several stations side by side and only looked at here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from tests.e2e.faults.proof import BYPASSED, Outcome, Proof
from tests.e2e.faults.rows import Blow, End, Row
from tests.e2e.faults.table import table
from tools.environment import ROOT, Environment

STATIONS = 4
ROWS = table()
ADVICE = re.compile(r"\b(queue|queueing|try again|check)\b", re.IGNORECASE)
SETTLED = {"success", "failed", "refused"}
Outcomes = dict[str, Future[Outcome]]


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, environment: Environment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Outcomes]:
    """The outcomes of all rows that were selected, by name; they are being worked on."""
    names = {item.name for item in request.session.items}
    selected = [row for row in ROWS if f"{test_is_charged_once_and_arrives.__name__}[{row.name}]" in names]
    with Proof(environment, tmp_path_factory.mktemp("faults"), STATIONS) as proof:
        yield proof.begin(selected)


def test_the_table_has_as_many_rows_as_the_page_says_each_with_a_name_of_its_own() -> None:
    page = " ".join((ROOT / "docs" / "paid-runs.md").read_text(encoding="utf-8").split())
    everywhere, on_linux = table(can_mount=False), table(can_mount=True)

    assert f"a table of {len(on_linux)} rows" in page
    assert f"{len(on_linux) - len(everywhere)} of them on Linux only" in page
    assert len({row.name for row in on_linux}) == len(on_linux)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_is_charged_once_and_arrives(row: Row, outcomes: Outcomes, request: pytest.FixtureRequest) -> None:
    outcome = outcomes[row.name].result()
    request.node.user_properties.append(("seconds", outcome.seconds))
    request.node.add_report_section("call", "log of ComfyUI during this row", outcome.log[-6000:])

    check_first_end(row, outcome)
    check_message(row, outcome)
    assert outcome.again.end is row.again, outcome.again.message
    assert outcome.again.pictures == (() if not row.pictures else (row.pictures,) * row.twins)
    assert row.runs[0] in (None, outcome.first.runs)
    assert outcome.again.runs == row.runs[1]
    assert row.submits in (None, outcome.again.submits)
    if row.fetched_again is not None:
        assert outcome.again.downloads == row.fetched_again
    check_ledger(row, outcome)


def check_first_end(row: Row, outcome: Outcome) -> None:
    """It ended as the table says, because of what was ordered, and with all pictures when it ended well."""
    assert outcome.first.end is row.first, outcome.first.message
    assert outcome.unused_faults == ()
    if row.first is End.SUCCESS:
        assert outcome.first.pictures == (row.pictures,) * row.twins
    assert row.shows in "\n".join(outcome.first.texts)


def check_message(row: Row, outcome: Outcome) -> None:
    """An error is one paragraph that says what happened to which run, and what to do."""
    message = outcome.first.message
    if row.first is not End.ERROR:
        return
    if row.strike is not None:
        assert message == "the sibling fails as it was told to"
        return
    assert "\n" not in message
    assert ADVICE.search(message)
    for part in row.says:
        assert part.format(id=(*outcome.first.execution_ids, "")[0]) in message


def check_ledger(row: Row, outcome: Outcome) -> None:
    """Nothing is left that the next queueing would pay for, and each run at the service is known."""
    if row.strike is not None and row.strike.blow in (Blow.DISK_FULL, Blow.READ_ONLY):
        assert outcome.log.count(BYPASSED) == 1
    if not outcome.ledger:
        return
    known = [entry.execution_id for entry in outcome.ledger if entry.execution_id]
    assert known == list(outcome.again.execution_ids)
    assert {entry.state for entry in outcome.ledger} <= SETTLED | ({"running"} if row.again is End.ERROR else set())
    assert outcome.ledger[-1].delivered is (row.again is End.SUCCESS)
