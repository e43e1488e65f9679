"""The words of the questions about scenes: for training, and others for tests alone.

A form of question has a name; its slots are {name}, {names} (plural), {are} (a name with its
verb), {other}, {colour}, {at} (a place) and {side} (beside another thing).
"""

from collections.abc import Mapping

AT: Mapping[str, str] = {
    "top left": "at the top left",
    "top": "at the top",
    "top right": "at the top right",
    "left": "on the left",
    "middle": "in the middle",
    "right": "on the right",
    "bottom left": "at the bottom left",
    "bottom": "at the bottom",
    "bottom right": "at the bottom right",
}
"""Place -> how a question says it."""

BESIDE: Mapping[str, str] = {
    "left": "left of",
    "right": "right of",
    "above": "above",
    "below": "below",
}
"""Side -> how questions and answers say it."""

_Words = tuple[str, ...]

TEMPLATES: Mapping[str, tuple[_Words, _Words]] = {
    "what": (
        (
            "What is this?",
            "What do you see?",
            "What is in the picture?",
            "What does the picture show?",
            "Which thing is this?",
            "Name the thing in the picture.",
            "What can be seen here?",
            "Tell me what you see.",
        ),
        ("What is shown here?", "What is that?", "Say what this picture shows."),
    ),
    "what both": (
        (
            "What is in the picture?",
            "What two things do you see?",
            "What do you see?",
            "Which two things are there?",
            "Name both things.",
        ),
        ("Which things are in this picture?", "Tell me the two things."),
    ),
    "what at": (
        (
            "What is {at}?",
            "What do you see {at}?",
            "Which thing is {at}?",
            "What stands {at}?",
            "What is {at} of the picture?",
        ),
        ("What can you see {at}?", "Name the thing {at}.", "What is shown {at}?"),
    ),
    "what coloured": (
        (
            "What is {colour}?",
            "Which thing is {colour}?",
            "What is the {colour} thing?",
            "Name the {colour} thing.",
        ),
        ("What thing has the colour {colour}?", "What is the thing that is {colour}?"),
    ),
    "colour": (
        (
            "What colour is the {name}?",
            "What color is the {name}?",
            "Which colour is the {name}?",
            "Which colour does the {name} have?",
            "What color does the {name} have?",
            "Name the colour of the {name}.",
        ),
        ("What is the colour of the {name}?", "Tell me the color of the {name}."),
    ),
    "colour of all": (
        (
            "What colour are the {names}?",
            "What color are the {names}?",
            "Which colour do the {names} have?",
            "Name the colour of the {names}.",
        ),
        ("What is the colour of the {names}?", "Tell me the color of the {names}."),
    ),
    "colour of it": (
        ("What colour is it?", "What color is it?", "Which colour is this?", "Name its colour."),
        ("What colour does it have?", "Tell me its color."),
    ),
    "how many": (
        (
            "How many {names} are there?",
            "How many {names} do you see?",
            "Count the {names}.",
            "How many {names} are here?",
            "What is the number of {names}?",
            "How many {names} does the picture show?",
        ),
        ("How many {names} are in the picture?", "How many {names} can you count?"),
    ),
    "where": (
        (
            "Where is the {name}?",
            "In which part of the picture is the {name}?",
            "Where do you see the {name}?",
            "At which place is the {name}?",
        ),
        ("Where in the picture is the {name}?", "Where can you see the {name}?"),
    ),
    "where seen from": (
        (
            "Where is the {name}, seen from the {other}?",
            "On which side of the {other} is the {name}?",
            "Is the {name} left of, right of, above or below the {other}?",
            "How does the {name} stand to the {other}?",
        ),
        (
            "From the {other}, where is the {name}?",
            "Is the {name} above, below, left of or right of the {other}?",
        ),
    ),
    "what beside": (
        (
            "What is {side} the {name}?",
            "Which thing is {side} the {name}?",
            "What do you see {side} the {name}?",
            "Name the thing {side} the {name}.",
        ),
        ("What can you see {side} the {name}?", "What is shown {side} the {name}?"),
    ),
    "presence": (
        ("Is there {a_name}?", "Do you see {a_name}?", "Is {a_name} in the picture?"),
        ("Can you see {a_name}?", "Does the picture show {a_name}?"),
    ),
    "is coloured": (
        ("Is the {name} {colour}?", "Is {colour} the colour of the {name}?"),
        ("Does the {name} look {colour}?",),
    ),
    "is at": (
        ("Is the {name} {at}?", "Do you see the {name} {at}?"),
        ("Can the {name} be seen {at}?",),
    ),
}
"""Form -> (words of training, words of tests)."""
