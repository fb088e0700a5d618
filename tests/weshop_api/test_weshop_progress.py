"""Progress in words and as a fraction."""

from __future__ import annotations

import pytest

from weshop_api.progress import Phase, Progress


@pytest.mark.parametrize(
    ("progress", "sentence"),
    [
        (Progress(Phase.UPLOADING, done=1, total=3), "uploading 2 of 3"),
        (Progress(Phase.UPLOADING, done=3, total=3), "uploading done"),
        (Progress(Phase.WAITING_FOR_SLOT, ahead=2), "waiting for a slot, 2 ahead"),
        (Progress(Phase.WAITING_FOR_SLOT), "waiting for a slot, next in line"),
        (Progress(Phase.SUBMITTING, note="no connection"), "submitting (no connection)"),
        (Progress(Phase.WATCHING, total=4, status_text="Pending", age_seconds=2.4), "Pending 2 s"),
        (
            Progress(Phase.WATCHING, total=1, status_text="Running", age_seconds=12, expected_seconds=26.4),
            "Running 12 s of about 26 s",
        ),
        (Progress(Phase.WATCHING, done=2, total=4, status_text="Running", age_seconds=30), "2 of 4 done, 30 s"),
        (Progress(Phase.DOWNLOADING, done=0, total=1), "downloading 1 of 1"),
    ],
)
def test_progress_reads_as_a_sentence(progress: Progress, sentence: str) -> None:
    assert str(progress) == sentence


@pytest.mark.parametrize(
    ("progress", "fraction"),
    [
        (Progress(Phase.DOWNLOADING, done=1, total=4), 0.25),
        (Progress(Phase.SUBMITTING), 0.0),
        (Progress(Phase.WATCHING, done=1, total=4), 0.25),
        (Progress(Phase.WATCHING, total=4, age_seconds=13, expected_seconds=26), 0.5),
        (Progress(Phase.WATCHING, done=3, total=4, age_seconds=13, expected_seconds=26), 0.75),
        (Progress(Phase.WATCHING, total=4, age_seconds=900, expected_seconds=26), 0.95),
    ],
)
def test_progress_is_never_more_than_is_known(progress: Progress, fraction: float) -> None:
    assert progress.fraction == fraction


def test_who_stops_watching_learns_which_run_goes_on_and_how_to_collect_it() -> None:
    farewell = Progress(Phase.WATCHING, execution_id="abc123").farewell

    assert "Run abc123 goes on at WeShop" in farewell
    assert "Queue again with the same seed" in farewell


def test_who_stops_submitting_learns_that_the_run_may_go_on() -> None:
    farewell = Progress(Phase.SUBMITTING).farewell

    assert "it goes on there" in farewell
    assert "charged once" in farewell


@pytest.mark.parametrize("phase", [Phase.UPLOADING, Phase.WAITING_FOR_SLOT, Phase.DOWNLOADING])
def test_who_stops_with_no_run_under_way_is_told_nothing(phase: Phase) -> None:
    assert not Progress(phase).farewell
