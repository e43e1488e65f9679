"""What was answered, by each benchmark's published rule: a table of hard cases.

The expected values follow from the rules' published texts, read by a person, not from our code.
"""

import pytest

from unisono.evaluation.benchmarks.choices import (
    first_letter,
    inferred,
    last_candidate,
    plain_letter,
    yes_or_no,
)
from unisono.evaluation.benchmarks.values import (
    mathvista_value,
    normalised,
    numbers,
    open_answer_is_right,
    written_text_is_there,
)

ANIMALS = {"A": "a dog", "B": "a cat", "C": "two horses", "D": "none of the above"}

LAST_CANDIDATE: list[tuple[str, str | None]] = [
    ("A", "A"),
    ("B.", "B"),
    ("(C)", "C"),
    ("D)", None),
    ("(A) a dog", "A"),
    ("B a cat", "B"),
    ("B. a cat", "B"),
    ("b", None),
    ("(b)", None),
    ("", None),
    ("   ", None),
    ("...", None),
    ("The answer is (B).", "B"),
    ("It is not (A), it is (B)", "B"),
    ("(B), not (A)", "A"),
    ("The answer is B", "B"),
    ("The answer is B, because of its tail", None),
    ("I choose C because there are two", "C"),
    ("A or B ?", "B"),
    ("A dog is shown", "A"),
    ("E", None),
    ("(E)", None),
    ("Answer: B", "B"),
    ("answer: C", "C"),
    ("ANSWER : D", "D"),
    ("Answer:A. But maybe (B)", "A"),
    ("Answer: A\nAnswer: B", "B"),
    ("Answer: **C**", "C"),
    ("Answer: (D)", "D"),
    ("Answer: E", None),
    ("Answer: Every dog", None),
    ("The final answer：B", "B"),
    ("there is clearly a cat in it", "B"),
    ("a cat", None),
    ("I can see that there are two horses", "C"),
    ("I see a dog and then a cat", "B"),
    ("I see a cat and then a dog", "A"),
    ("It must be NONE OF THE ABOVE I think", "D"),
    ("What one sees is a zebra here", None),
    ("!B!", "B"),
    ("'B'", "B"),
    ("(A)(B)(C)", "C"),
]
FIRST_LETTER: list[tuple[str, str | None]] = [
    ("A", "A"),
    ("B.", "B"),
    ("(C)", "C"),
    ("The best answer is D", "D"),
    ("The correct answer is B.", "B"),
    ("The answer is C", "C"),
    ("The answer: D", "D"),
    ("Best answer: A", "A"),
    ("Best option: B", "B"),
    ("The best option is C.", "C"),
    ("The correct option is (D)", "D"),
    ("A dog", "A"),
    ("Because of the cat: B", "B"),
    ("Certainly, D", "C"),
    ("B or C", "B"),
    ("b", None),
    ("", None),
    ("\nD\n", "D"),
    ("the second one", None),
    ("it is the second one of all of those that you have named", None),
    ("it is the second one of all of those that you have named: B", "B"),
    ("E", None),
    ("Option B", "B"),
    ("Answer: C", "A"),
    ("I think that it is D", "D"),
]
INFERRED: list[tuple[str, str | None]] = [
    ("A", "A"),
    ("B.", "B"),
    ("(C)", "C"),
    ("D: none", "D"),
    ("[B]", "B"),
    ("{C}", "C"),
    ("#D", "D"),
    ("**B**", "B"),
    ("A. a dog", "A"),
    ("A. it is a dog", "A"),
    ("A dog is here", "A"),
    ("B cat is here now", "B"),
    ("The answer is B", "B"),
    ("The answer is A", None),
    ("The answer: A", "A"),
    ("A or B", None),
    ("A and B", None),
    ("B, B and B", "B"),
    ("b", None),
    ("a cat", "B"),
    ("A CAT", "A"),
    ("I see a cat", "B"),
    ("I see a cat and a dog", None),
    ("two horses.", "C"),
    ("none of the above", "D"),
    ("It is a zebra", None),
    ("", None),
    ("E", None),
    ("Cannot determine the answer", None),
    ("I can't process this file. B", None),
    ("Sorry, I can't help with images of people yet. a cat", None),
    ("a cat" + " indeed" * 13, None),
    ("a cat" + " indeed" * 9, "B"),
    ("B-C", None),
    ("B/C", None),
    ("C!", "C"),
    ("B;D", None),
]
PLAIN_LETTER: list[tuple[str, str | None]] = [
    ("A", "A"),
    ("b", "B"),
    ("(C)", "C"),
    ("(D) none of the above", "D"),
    ("B. a cat", "B"),
    ("c. two", "C"),
    ("The answer is (B) a cat", "B"),
    ("a dog", "A"),
    ("It is a cat, so B", "A"),
    ("Best option: (C)", "C"),
    ("Best option:(D)", "D"),
    ("E. a fifth", None),
    ("e", None),
    ("", None),
    ("none", None),
    ("B\n", "B"),
    ("B\tC", "B"),
    ("'D'", "D"),
    ('"D"', "D"),
    ("B/C", "B"),
    ("D.", "D"),
    ("2.5 is B", "B"),
    ("1,000 (C)", "C"),
    ("ABC", None),
]
YES_OR_NO: list[tuple[str, str | None]] = [
    ("Yes", "yes"),
    ("no.", "no"),
    ("YES!", "yes"),
    ("Yes, it is.", "yes"),
    ("No, it isn't.", "no"),
    ("yes and no", None),
    ("Yes, there is no doubt", None),
    ("maybe", None),
    ("", None),
    ("not", None),
    ("nobody", None),
    ("yesterday", None),
    ("Answer:no", "no"),
    ("(yes)", "yes"),
    ("no-one", "no"),
    ("I know", None),
    ("yes\n", "yes"),
    ("Yes yes yes", "yes"),
]
NUMBER: dict[str, object] = {"question_type": "free_form", "answer_type": "integer"}
DECIMAL: dict[str, object] = {
    "question_type": "free_form",
    "answer_type": "float",
    "precision": 2.0,
}
TENTH: dict[str, object] = DECIMAL | {"precision": 1.0}
LIST: dict[str, object] = {"question_type": "free_form", "answer_type": "list"}
CHOICE: dict[str, object] = {
    "question_type": "multi_choice",
    "answer_type": "text",
    "choices": ["3/11", "8/11", "yes", "no"],
}
MATHVISTA: list[tuple[str, dict[str, object], str | None]] = [
    ("14", NUMBER, "14"),
    ("14.0", NUMBER, "14"),
    ("14.7", NUMBER, "14"),
    ("-3", NUMBER, "-3"),
    ("1,234", NUMBER, "1234"),
    ("The number missing is 14.", NUMBER, "14"),
    ('The answer is "7".', NUMBER, "7"),
    ("First 3, then 5", NUMBER, "5"),
    ("many", NUMBER, None),
    ("", NUMBER, None),
    ("1e3", NUMBER, "1000"),
    ("0.6", TENTH, "0.6"),
    ("0.66", TENTH, "0.7"),
    ("1", TENTH, "1.0"),
    ("about 1.455 m", DECIMAL, "1.46"),
    ("$1.45", DECIMAL, "1.45"),
    ("none", DECIMAL, None),
    ("[2007, 2008]", LIST, "[2007, 2008]"),
    ("Between [2007, 2008].", LIST, "[2007, 2008]"),
    ("[1] or [2, 3]", LIST, "[2, 3]"),
    ("2007 and 2008", LIST, "2007 and 2008"),
    ("B", CHOICE, "8/11"),
    ("(B)", CHOICE, "8/11"),
    ("(b) 8/11", CHOICE, "8/11"),
    ("The correct answer is (C) yes", CHOICE, "yes"),
    ("3/11", CHOICE, "3/11"),
    ("yes.", CHOICE, "yes"),
    ("Yes", CHOICE, "yes"),
    ("nope", CHOICE, "no"),
    ("D.", CHOICE, "no"),
    ("", CHOICE, None),
]
OPEN: list[tuple[str, list[str], bool]] = [
    ("24", ["24"], True),
    ("24.0", ["24"], True),
    ("24.004", ["24"], True),
    ("24.01", ["24"], False),
    ("The result is 24.", ["24"], True),
    ("x = 24", ["24"], True),
    ("1,000", ["1000"], True),
    ("It is 24, not 25", ["25"], True),
    ("twenty-four", ["24"], False),
    ("The answer is the mitochondrion", ["mitochondrion"], True),
    ("Mitochondrion", ["mitochondrion"], True),
    ("mitochondria", ["mitochondrion"], False),
    ("the nucleus", ["mitochondrion", "nucleus"], True),
    ("so x is -0.5", ["-0.5"], True),
    ("5e3", ["5000"], True),
    ("", ["24"], False),
    ("a", ["a"], True),
    ("it is a b", ["b"], True),
    ("abc", ["b"], False),
    ("Thus 3.14159 is right", ["3.14"], False),
    ("Therefore the value is 3.14159", ["3.14"], True),
]
WRITTEN: list[tuple[str, list[str], bool, bool]] = [
    ("COCA-COLA", ["coca-cola"], False, True),
    ("The sign says Exit.", ["EXIT"], False, True),
    ("Ex it", ["exit"], False, False),
    ("two\nlines", ["two lines"], False, True),
    ("12", ["123"], False, False),
    ("1234", ["123"], False, True),
    ("", ["x"], False, False),
    ("one", ["two", "one"], False, True),
    ("x ^ 2", ["x^2"], True, True),
    ("X^2", ["x^2"], True, True),
    ("x^2", ["X ^ 2"], True, False),
    ("x\n^2", ["x ^2"], True, True),
]


@pytest.mark.parametrize(("said", "letter"), LAST_CANDIDATE)
def test_last_candidate(said: str, letter: str | None) -> None:
    assert last_candidate(said, ANIMALS) == letter


@pytest.mark.parametrize(("said", "letter"), FIRST_LETTER)
def test_first_letter(said: str, letter: str | None) -> None:
    assert first_letter(said, ANIMALS) == letter


@pytest.mark.parametrize(("said", "letter"), INFERRED)
def test_inferred(said: str, letter: str | None) -> None:
    assert inferred(said, ANIMALS) == letter


@pytest.mark.parametrize(("said", "letter"), PLAIN_LETTER)
def test_plain_letter(said: str, letter: str | None) -> None:
    assert plain_letter(said, ANIMALS) == letter


@pytest.mark.parametrize(("said", "word"), YES_OR_NO)
def test_yes_or_no(said: str, word: str | None) -> None:
    assert yes_or_no(said) == word


@pytest.mark.parametrize(("said", "asked", "value"), MATHVISTA)
def test_mathvista(said: str, asked: dict[str, object], value: str | None) -> None:
    assert mathvista_value(said, asked) == value


@pytest.mark.parametrize(("said", "answers", "right"), OPEN)
def test_open_answers(said: str, answers: list[str], right: bool) -> None:
    assert open_answer_is_right(said, answers) is right


@pytest.mark.parametrize(("said", "answers", "formula", "right"), WRITTEN)
def test_written_text(said: str, answers: list[str], formula: bool, right: bool) -> None:
    assert written_text_is_there(said, answers, formula=formula) is right


def test_the_table_is_long() -> None:
    table = (*LAST_CANDIDATE, *FIRST_LETTER, *INFERRED, *PLAIN_LETTER, *YES_OR_NO)
    assert len(table) + len(MATHVISTA) + len(OPEN) + len(WRITTEN) >= 150


def test_numbers_of_a_text() -> None:
    assert numbers("1,234 and -5.5 and 2e-3 and .5") == ["1,234", "2e-3", "234", "-5.5", "-3", ".5"]
    assert normalised("1,234.567") == [1234.57]
    assert normalised("B") == [" b", "b "]
