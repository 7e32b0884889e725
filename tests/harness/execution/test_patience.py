"""How long work that is lost is handed out again."""

from dataclasses import replace

from harness.execution.patience import Patience, Standing
from harness.records.holding import Holder

NOBODY = Standing(0, 0, None)
SOMEBODY = Holder(host="here", kernel="one", process=7, token="first")
ANOTHER = SOMEBODY.model_copy(update={"token": "second"})


def refused(patience: Patience, before: Standing, now: Standing, lost: bool = True, seconds: float = 30.0) -> str:
    """Why the run "a" is not handed out again; nothing if it is."""
    return patience.why_not_again({"a": before}, {"a": now}, lost, seconds).get("a", "")


def test_five_attempts_in_a_row_that_got_no_further_are_the_last() -> None:
    """Whether a worker was killed with the run in hand or ended by itself; any progress begins the count anew."""
    patience, taken, held = Patience(1), replace(NOBODY, holder=SOMEBODY), replace(NOBODY, holder=ANOTHER)
    assert [refused(patience, taken, held) for _ in range(4)] == [""] * 4
    assert refused(patience, taken, replace(held, events=1)) == ""
    assert [refused(patience, taken, held) for _ in range(2)] == [""] * 2
    assert [refused(patience, taken, taken, lost=False) for _ in range(2)] == [""] * 2
    assert refused(patience, taken, held) == "no progress in 5 attempts in a row"


def test_attempts_of_a_few_seconds_are_not_the_last() -> None:
    """Sixty of two seconds each: on a busy machine a worker may be killed that often before its first checkpoint."""
    patience, held = Patience(1), replace(NOBODY, holder=ANOTHER)
    assert [refused(patience, NOBODY, held, seconds=2.0) for _ in range(59)] == [""] * 59
    assert refused(patience, NOBODY, held, seconds=2.0) == "no progress in 60 attempts in a row"


def test_a_checkpoint_is_progress() -> None:
    """Though the journal says nothing new."""
    patience = Patience(1)
    for step in range(20):
        assert refused(patience, Standing(1, step, SOMEBODY), Standing(1, step + 1, ANOTHER)) == ""


def test_workers_that_never_began_are_counted_together() -> None:
    """Sixty in a row of a grid of twenty pieces, which may all be lost at once; progress anywhere begins it anew."""
    patience = Patience(20)
    assert [refused(patience, NOBODY, NOBODY) for _ in range(59)] == [""] * 59
    patience.renew()
    assert [refused(patience, NOBODY, NOBODY) for _ in range(59)] == [""] * 59
    assert refused(patience, NOBODY, NOBODY) == "60 workers in a row were lost before they began"


def test_a_run_of_a_stack_that_stands_still_is_left_out_alone() -> None:
    """The other seed of the same piece of work went on."""
    patience = Patience(1)
    before = {"a": NOBODY, "b": NOBODY}
    told = [
        patience.why_not_again(before, {"a": NOBODY, "b": Standing(1, step, None)}, True, 30.0) for step in range(1, 6)
    ]
    assert [list(reasons) for reasons in told] == [[], [], [], [], ["a"]]
