"""What a node shows while its items run: one text and one bar, seldom enough, and the first failure for all."""

from __future__ import annotations

import traceback

import pytest
from weshop_pack.nodes._items import NodeItems, Shown

from weshop_api import Phase, Progress


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def watching(done: int = 0, total: int = 4) -> Progress:
    return Progress(Phase.WATCHING, done=done, total=total, status_text="Running", age_seconds=7)


def test_a_single_item_shows_its_own_words() -> None:
    items = NodeItems(Clock())
    items.begin(0)
    items.put(0, watching())

    assert items.news(nodes=1) == Shown("Running 7 s", None)
    assert items.last_word("finished") == "finished"


def test_several_items_show_how_many_do_what() -> None:
    items = NodeItems(Clock())
    for index in range(5):
        items.begin(index)
    items.put(0, watching(done=2))
    items.put(1, Progress(Phase.WAITING_FOR_SLOT))
    items.put(2, Progress(Phase.WAITING_FOR_SLOT, ahead=1))
    items.end(4)

    assert items.news(nodes=1) == Shown("1 of 5 done, 2 waiting for a slot, 1 running", (1 + 0.5) / 5)
    assert items.last_word("finished") == "1 of 5 done, the latest: finished"


def test_nothing_new_is_not_shown_again() -> None:
    clock = Clock()
    items = NodeItems(clock)
    items.begin(0)
    items.put(0, watching(done=1))
    items.news(nodes=1)
    clock.seconds += 60

    assert items.news(nodes=1) is None


@pytest.mark.parametrize(("nodes", "pause_seconds"), [(1, 0.2), (100, 5.0)])
def test_the_pause_between_two_showings_grows_with_the_nodes(nodes: int, pause_seconds: float) -> None:
    clock = Clock()
    items = NodeItems(clock)
    items.begin(0)
    items.put(0, watching(done=1))
    items.news(nodes)
    items.put(0, watching(done=2))
    clock.seconds += pause_seconds - 0.01
    early = items.news(nodes)
    clock.seconds += 0.02

    assert early is None
    assert items.news(nodes) == Shown("2 of 4 done, 7 s", 0.5)


def test_previews_keep_to_the_same_pause_and_the_latest_is_shown() -> None:
    clock = Clock()
    items = NodeItems(clock)
    items.begin(0)
    items.put(0, watching(done=1))
    items.put_picture("the first")
    first = items.news(nodes=1)
    items.put_picture("the second")
    early = items.news(nodes=1)
    items.put_picture("the third")
    clock.seconds += 1

    assert first == Shown("1 of 4 done, 7 s", 0.25, "the first")
    assert early is None
    assert items.news(nodes=1) == Shown(None, None, "the third")


@pytest.mark.parametrize(("others", "shown"), [(0, Shown(None, None, "the whole")), (1, None)])
def test_the_preview_that_the_last_item_leaves_waits_for_no_pause(others: int, shown: Shown | None) -> None:
    items = NodeItems(Clock())
    for index in range(1 + others):
        items.begin(index)
        items.put(index, watching(done=3))
    items.put_picture("with a gap")
    items.news(nodes=1)
    items.put_picture("the whole")
    before_its_end = items.news(nodes=1)

    assert before_its_end is None
    assert items.news(nodes=1, is_end=True) == shown


def test_what_comes_after_the_end_of_an_item_is_not_shown() -> None:
    items = NodeItems(Clock())
    items.begin(0)
    items.end(0)
    items.put(0, watching(done=1))

    assert items.news(nodes=1) is None


def test_a_second_piece_of_work_of_an_item_does_not_count_as_another_item() -> None:
    items = NodeItems(Clock())
    items.begin(0)
    items.end(0)
    items.begin(0)
    items.put(0, watching(done=1))

    assert items.news(nodes=1) == Shown("1 of 4 done, 7 s", 0.25)


def test_the_first_failure_is_everybodys() -> None:
    items = NodeItems(Clock())
    for index in range(3):
        items.begin(index)
    items.end(0, ValueError("the first"))
    items.end(1, ValueError("the second"))

    with pytest.raises(ValueError, match="the first"):
        items.raise_failure()


def test_a_failure_that_many_pass_on_keeps_a_short_traceback() -> None:
    items = NodeItems(Clock())
    for index in range(100):
        items.begin(index)
    try:
        raise ValueError("the first")  # noqa: TRY301 - it needs a traceback
    except ValueError as error:
        items.end(0, error)
    for _ in range(50):
        with pytest.raises(ValueError, match="the first"):
            items.raise_failure()
    with pytest.raises(ValueError, match="the first") as raised:
        items.raise_failure()

    assert len(traceback.extract_tb(raised.value.__traceback__)) <= 4


def test_a_failure_is_forgotten_when_the_last_item_has_ended() -> None:
    items = NodeItems(Clock())
    items.begin(0)
    items.end(0, ValueError("over"))

    items.raise_failure()

    assert items.last_word("next") == "next"


def test_items_that_end_together_say_once_which_runs_go_on() -> None:
    items = NodeItems(Clock())
    for index, progress in enumerate([Progress(Phase.WATCHING, execution_id="abc"), Progress(Phase.DOWNLOADING)]):
        items.begin(index)
        items.put(index, progress)

    assert items.farewell() == Progress(Phase.WATCHING, execution_id="abc").farewell
    assert not items.farewell()


def test_items_that_leave_nothing_behind_are_stopped() -> None:
    items = NodeItems(Clock())
    items.begin(0)
    items.put(0, Progress(Phase.DOWNLOADING))

    assert items.farewell() == "stopped"
