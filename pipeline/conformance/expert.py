"""What holds for whoever gives the right button."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from pipeline.experts.protocol import Answers, Expert, Looks, Questions, get_action
from pipeline.shards.format.frames import Frames
from pipeline.shards.format.schema import NO_ACTION, LabelStatus


class ExpertConformance:
    """The tests of an expert. Say ``buttons``, `make` and `questions`."""

    buttons: int
    """How many the game has."""

    def make(self) -> Expert:
        """An expert that was not asked yet; each call gives one that answers alike."""
        raise NotImplementedError

    def questions(self) -> Questions:
        """At least three different states to ask about, with the screens that it asks for.

        The expert may have no button for some of them.
        """
        raise NotImplementedError

    def make_stopped(self) -> Expert | None:
        """One that answers no more (``stopped`` says why); None where that does not happen."""
        return None

    def test_it_has_an_identity_that_stays(self) -> None:
        with self.make() as expert:
            before = json.dumps(expert.identity, sort_keys=True)  # goes into a shard's provenance
            assert isinstance(expert.identity.get("kind"), str), "identity['kind'] is no text"
            expert.answer(self.questions())
            assert json.dumps(expert.identity, sort_keys=True) == before
        with self.make() as another:
            assert json.dumps(another.identity, sort_keys=True) == before

    def test_it_says_which_screens_it_needs(self) -> None:
        with self.make() as expert:
            assert expert.screens in ("none", "native", "processed")
            given = self.questions().screens is not None
            assert given == (expert.screens != "none"), "questions() has other screens than asked"

    def test_every_question_has_an_answer_of_the_right_type(self) -> None:
        questions = self.questions()
        answers = self._asked(questions)
        for column in (answers.buttons, answers.status):
            assert column.dtype == np.uint8, column.dtype
            assert column.shape == (len(questions),), column.shape
        known = {int(one) for one in LabelStatus}
        assert set(answers.status.tolist()) <= known, "a status that is none of LabelStatus"

    def test_there_is_a_button_where_it_is_labelled_and_nowhere_else(self) -> None:
        answers = self._asked(self.questions())
        labelled = answers.status == LabelStatus.LABELLED
        assert (answers.buttons[labelled] < self.buttons).all(), "no button of the game"
        assert (answers.buttons[~labelled] == NO_ACTION).all(), "a button without a label"

    def test_what_failed_has_a_reason(self) -> None:
        answers = self._asked(self.questions())
        failed = [
            row
            for row, status in enumerate(answers.status.tolist())
            if status not in (LabelStatus.LABELLED, LabelStatus.UNLABELLED)
        ]
        assert all(answers.reasons.get(row) for row in failed), "no button, and no reason"
        assert all(answers.buttons[row] == NO_ACTION for row in answers.reasons)

    def test_costs_are_told_for_every_answer_or_for_none(self) -> None:
        questions = self.questions()
        costs = self._asked(questions).costs
        if costs is None:
            return
        columns = (costs.attempts, costs.input_tokens, costs.output_tokens, costs.dollars)
        assert [column.shape for column in columns] == [(len(questions),)] * 4
        assert [column.dtype.name for column in columns] == ["uint8", "uint32", "uint32", "float32"]
        assert (costs.dollars >= 0).all()

    def test_no_questions_have_no_answers(self) -> None:
        answers = self._asked(_some(self.questions(), []))
        assert len(answers.buttons) == len(answers.status) == 0
        assert not answers.reasons

    def test_questions_are_left_as_they_were(self) -> None:
        questions, untouched = self.questions(), self.questions()
        self._asked(questions)
        for name, column in untouched.state.items():
            assert np.array_equal(questions.state[name], column), f"it wrote into {name}"
        if questions.screens is not None and untouched.screens is not None:
            for row in range(len(questions)):
                assert np.array_equal(questions.screens[row], untouched.screens[row])

    def test_asked_again_it_answers_the_same(self) -> None:
        questions = self.questions()
        with self.make() as expert:
            _alike(expert.answer(questions), expert.answer(questions))

    def test_another_one_answers_the_same(self) -> None:
        _alike(self._asked(self.questions()), self._asked(self.questions()))

    def test_the_order_of_questions_changes_no_answer(self) -> None:
        questions = self.questions()
        order = np.random.default_rng(0).permutation(len(questions)).tolist()
        with self.make() as expert:
            straight, mixed = expert.answer(questions), expert.answer(_some(questions, order))
        _alike(straight, mixed, order)

    def test_a_question_alone_is_answered_as_among_others(self) -> None:
        questions = self.questions()
        together = self._asked(questions)
        for row in range(len(questions)):
            _alike(together, self._asked(_some(questions, [row])), [row])

    def test_one_step_of_an_environment_is_answered_as_a_question(self) -> None:
        questions = self.questions()
        answers = self._asked(questions)
        screen = np.zeros((1, 1, 3), np.uint8)
        with self.make() as expert:
            for row in range(len(questions)):
                seen = screen if questions.screens is None else questions.screens[row]
                state = {name: column[row] for name, column in questions.state.items()}
                button = get_action(expert, seen, {"state": state})
                labelled = answers.status[row] == LabelStatus.LABELLED
                assert button == (int(answers.buttons[row]) if labelled else None)

    def test_it_may_be_closed_twice_and_asked_after_it(self) -> None:
        questions = self.questions()
        with self.make() as expert:
            before = expert.answer(questions)
            expert.close()
            expert.close()
            # Who was too slow for a player is closed, and asked the next question.
            _alike(before, expert.answer(questions))

    def test_one_that_goes_on_does_not_say_that_it_stopped(self) -> None:
        with self.make() as expert:
            expert.answer(self.questions())
            assert expert.stopped is None

    def test_one_that_stopped_says_why_and_labels_nothing_more(self) -> None:
        expert = self.make_stopped()
        if expert is None:
            return
        with expert:
            assert expert.stopped, "make_stopped() gives one that goes on"
            answers = expert.answer(self.questions())
            assert (answers.status == LabelStatus.UNLABELLED).all()
            assert (answers.buttons == NO_ACTION).all()
            assert expert.stopped

    def _asked(self, questions: Questions) -> Answers:
        with self.make() as expert:
            return expert.answer(questions)


class _Rows:
    """Some of the screens, read when they are asked for."""

    def __init__(self, screens: Looks, rows: Sequence[int]) -> None:
        self._screens, self._chosen = screens, rows

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, i: int, /) -> Frames:
        return self._screens[self._chosen[i]]


def _some(questions: Questions, rows: Sequence[int]) -> Questions:
    state = {name: column[list(rows)] for name, column in questions.state.items()}
    screens = None if questions.screens is None else _Rows(questions.screens, rows)
    return Questions(state, screens, len(rows))


def _alike(answers: Answers, others: Answers, rows: Sequence[int] | None = None) -> None:
    """That ``others`` are what ``answers`` says of some rows; None are all."""
    chosen = list(range(len(answers.buttons))) if rows is None else list(rows)
    for name, one, other in (
        ("buttons", answers.buttons, others.buttons),
        ("status", answers.status, others.status),
    ):
        assert one[chosen].tolist() == other.tolist(), (
            f"{name}: {one[chosen].tolist()} at first, then {other.tolist()}: an answer is a "
            "function of its state (and screen) alone"
        )
