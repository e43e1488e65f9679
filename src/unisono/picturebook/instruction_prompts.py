"""Plain questions and requests in text: what a language model is asked so that it goes on talking.

They are templates, filled with common words of WordNet and with short lists written here. The test
has templates, topics and words of its own. No sums: a small model's own answers to them are wrong.
"""

import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from string import Formatter

from unisono.picturebook.packages import members
from unisono.picturebook.step import draws

Slots = Mapping[str, Sequence[str]]

_KINDS_OF_NOUNS = frozenset(("05", "06", "13", "17", "19", "20"))
"""WordNet's files of nouns for things: animals, artefacts, food, natural objects, phenomena, plants
(lexnames(5))."""

_WORD = re.compile(r"[a-z]{3,11}")
_NOT_ASKED = re.compile(
    r"sex|naked|nude|drug|kill|dead|death|bomb|gun|rape|slave|brothel|excre|faec|urin|genital|toilet"
    r"|contracept|narcot|poison|weapon|torture|corpse|execut"
)


@dataclass(frozen=True)
class Asked:
    """A prompt.

    Attributes:
        kind: of question.
        template: it was made from.
        text: as a person types it.
    """

    kind: str
    template: str
    text: str


@dataclass(frozen=True)
class Forms:
    """The templates of one kind.

    Attributes:
        train: that train.
        test: that never do.
        share: how many of a hundred prompts are of this kind, about.
    """

    train: tuple[str, ...]
    test: tuple[str, ...]
    share: int


KINDS: dict[str, Forms] = {
    "what": Forms(
        (
            "What is {a_noun}?",
            "Tell me what {a_noun} is.",
            "Explain the word {noun}.",
            "Can you explain what {a_noun} is?",
            "Describe {a_noun} in one sentence.",
            "What do people mean by {noun}?",
        ),
        ("How would you describe {a_noun} to a child?", "In a few words, what is {a_noun}?"),
        15,
    ),
    "use": Forms(
        (
            "What is {a_noun} used for?",
            "Where can I find {a_noun}?",
            "What does {a_noun} look like?",
            "Tell me one fact about {a_noun}.",
        ),
        ("Why would somebody want {a_noun}?", "What should I know about {a_noun}?"),
        10,
    ),
    "verb": Forms(
        (
            "What does it mean to {verb}?",
            "What does the verb {verb} mean?",
            "Use the verb {verb} in a sentence.",
        ),
        ("When do people {verb}?",),
        8,
    ),
    "sentence": Forms(
        (
            "Write a short sentence with the word {noun}.",
            "Make a sentence with {noun} and {other}.",
            "Give me a sentence about {a_noun}.",
        ),
        ("Put the words {noun} and {other} into one sentence.",),
        8,
    ),
    "compare": Forms(
        (
            "What is the difference between {a_noun} and {a_other}?",
            "Which is bigger, {a_noun} or {a_other}?",
        ),
        ("What do {a_noun} and {a_other} have in common?",),
        6,
    ),
    "meant": Forms(
        ("Which word means: {meaning}?", "What do you call this: {meaning}?"),
        ("I am looking for a word. It means: {meaning}.",),
        6,
    ),
    "topic": Forms(
        (
            "Tell me something about {topic}.",
            "Give me one tip about {topic}.",
            "Why do people like {topic}?",
            "What is {topic}?",
            "What is the best thing about {topic}?",
            "I want to learn about {topic}. Where do I start?",
            "Ask me a question about {topic}.",
        ),
        ("Teach me one thing about {topic}.", "What makes {topic} interesting?"),
        14,
    ),
    "poem": Forms(
        (
            "Write one line of a poem about {topic}.",
            "Tell me a very short story about {topic}.",
            "Write a title for a book about {topic}.",
        ),
        ("Write a short slogan for {topic}.",),
        6,
    ),
    "how": Forms(
        ("How do I {task}?", "What do I need to {task}?", "What is the first step to {task}?"),
        ("Please help me {task}.",),
        8,
    ),
    "capital": Forms(
        ("What is the capital of {country}?", "Where is {country}?", "Tell me about {country}."),
        ("Which language do people speak in {country}?",),
        5,
    ),
    "list": Forms(
        ("Name three {group}.", "Give me an example of {group}."),
        ("Which {group} do you know?",),
        4,
    ),
    "talk": Forms(("{chat}",), ("{chat}",), 5),
}

_TOPICS = """
cooking;gardening;the weather;music;painting;football;swimming;reading books;learning a language;
travelling;cycling;the sea;mountains;dogs;cats;birds;horses;fish;insects;trees;flowers;the moon;
the sun;the stars;volcanoes;rivers;rain;snow;wind;thunderstorms;the seasons;spring;summer;autumn;
winter;school;teachers;mathematics;history;science;chemistry;physics;biology;geography;maps;
computers;the internet;telephones;robots;cars;trains;ships;airplanes;bridges;houses;castles;farms;
cities;villages;markets;money;work;holidays;birthdays;friendship;family;children;grandparents;sleep;
dreams;health;exercise;teeth;food;breakfast;bread;cheese;fruit;vegetables;coffee;tea;chocolate;
water;ice cream;soup;games;chess;puzzles;jokes;films;the theatre;dancing;singing;the piano;
the guitar;drums;photography;drawing;clothes;shoes;colours;time;clocks;letters;newspapers;libraries;
museums;electricity;light;sound;magnets;energy;recycling;forests;deserts;islands;dinosaurs;whales;
bees;spiders;butterflies;penguins;elephants;lions;languages;numbers;kindness;patience;courage
"""
_TASKS = """
bake a cake;boil an egg;make tea;clean a window;plant a tree;wash a shirt;tie my shoes;
write a letter;learn to swim;ride a bicycle;draw a face;read a map;save money;sleep better;
make new friends;cook rice;peel an orange;paint a wall;fix a flat tyre;take a good photo;
learn the guitar;write a poem;pack a suitcase;keep a plant alive;train a dog;feed a bird;
make a paper boat;build a snowman;light a candle;sharpen a pencil;wrap a present;fold a shirt;
set the table;make a sandwich;brush my teeth;wake up early;stay warm in winter;stay cool in summer;
remember names;prepare for a test;write a story;say sorry;thank a teacher;make soup;
grow tomatoes;catch a fish;sew a button;send a parcel;use a compass;play chess;find a lost key;
choose a book;plan a trip;cross a street safely;calm down;count to ten in French
"""
_COUNTRIES = """
France;Spain;Italy;Germany;Portugal;Greece;Norway;Sweden;Finland;Denmark;Poland;Austria;Hungary;
Ireland;Iceland;Switzerland;Belgium;Turkey;Egypt;Morocco;Kenya;Nigeria;Ghana;India;China;Japan;
Thailand;Vietnam;Indonesia;Australia;New Zealand;Canada;Mexico;Brazil;Argentina;Chile;Peru;Cuba;
Romania;Bulgaria;Croatia;Ukraine;Scotland;Nepal;Mongolia;Ethiopia;Tanzania;Colombia;Jamaica;Malta
"""
_GROUPS = """
animals;birds;trees;flowers;fruits;vegetables;colours;countries;rivers;planets;musical instruments;
sports;tools;pieces of furniture;kinds of weather;jobs;school subjects;languages;metals;shapes;
insects;fish;toys;drinks;kinds of bread;things in a kitchen;things in a garden;things that fly;
things that are round;things that are cold;parts of the body;games;vehicles;feelings;seasons
"""
_CHAT = """
Hello!;How are you?;Who are you?;What can you do?;Good morning!;Good night!;Thank you very much.;
I am tired.;I am hungry.;I am bored.;I feel happy today.;I feel sad today.;Tell me a joke.;
Do you like music?;Are you a person?;What is your name?;Can you help me?;I do not understand.;
Tell me something interesting.;It is raining today.;It is very hot today.;I like cats.;I like dogs.;
My birthday is tomorrow.;I had a good day.;I lost my keys.;I cannot sleep.;I love reading.;
What should I eat today?;What should I do this weekend?;Goodbye!;Nice to meet you.;
Say something nice.;Can you sing?;How old are you?;Do you sleep?;Do you dream?;I have a new bike.;
I passed my test!;My friend is ill.;I want to see the sea.;Which colour do you like?;
I made a cake.;What time is it?;Where do you live?;Are you happy?;I am learning English.;
Give me some advice.;My cat is sleeping.;I am going to school.
"""

TEST_SHARE = 0.15
"""Of every list of words: kept for the test."""


def slots(common: "Words", *, test: bool) -> dict[str, tuple[str, ...]]:
    """What fills the gaps; nothing is in both splits."""
    lists = {
        "noun": common.nouns,
        "verb": common.verbs,
        "meaning": common.meanings,
        "topic": _listed(_TOPICS),
        "task": _listed(_TASKS),
        "country": _listed(_COUNTRIES),
        "group": _listed(_GROUPS),
        "chat": _listed(_CHAT),
    }
    return {
        name: tuple(one for one in values if held_out(name, one) == test)
        for name, values in lists.items()
    }


def held_out(slot: str, value: str) -> bool:
    """Whether a word or topic is the test's: a lot that depends on it alone."""
    return draws("instructions", slot, value).random() < TEST_SHARE


@dataclass(frozen=True)
class Words:
    """Of WordNet, the common ones.

    Attributes:
        nouns: of things.
        verbs: of any kind.
        meanings: short definitions of some nouns.
    """

    nouns: tuple[str, ...]
    verbs: tuple[str, ...]
    meanings: tuple[str, ...]


def prompts(common: Words, count: int, *, test: bool) -> list[Asked]:
    """Different prompts, kinds in the proportion of their shares as far as there are enough.

    Args:
        common: words to ask about.
        count: of prompts.
        test: of the words and templates that never train.
    """
    filled = slots(common, test=test)
    draw = draws("instructions", "test" if test else "train")
    shares = [forms.share for forms in KINDS.values()]
    chosen: dict[str, Asked] = {}
    for _ in range(40 * count):
        if len(chosen) == count:
            break
        kind = draw.choices(list(KINDS), weights=shares)[0]
        forms = KINDS[kind]
        asked = _asked(kind, draw.choice(forms.test if test else forms.train), filled, draw)
        chosen.setdefault(asked.text, asked)
    return list(chosen.values())


def _asked(kind: str, template: str, filled: Slots, draw: random.Random) -> Asked:
    nouns = draw.sample(list(filled["noun"]), 2)
    values = {name: draw.choice(list(values)) for name, values in filled.items() if values}
    values |= {
        "noun": nouns[0],
        "other": nouns[1],
        "a_noun": with_article(nouns[0]),
        "a_other": with_article(nouns[1]),
    }
    needed = [gap for _, gap, _, _ in Formatter().parse(template) if gap]
    return Asked(kind, template, template.format(**{gap: values[gap] for gap in needed}))


def with_article(noun: str) -> str:
    """ "a boat", "an apple"."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _listed(text: str) -> tuple[str, ...]:
    return tuple(one.strip() for one in text.split(";"))


def common_words(nouns: int = 600, verbs: int = 300, meanings: int = 300) -> Words:
    """The words of WordNet that its corpus of tagged texts has most often.

    Args:
        nouns: at most so many, of things, with a short definition.
        verbs: at most so many.
        meanings: at most so many definitions.

    Raises:
        HubError: the package cannot be had.
    """
    files = _wordnet()
    times = list(_frequencies(files["cntlist.rev"]))
    glosses = definitions(files["data.noun"].splitlines())
    named = _commonest(times, "1", _KINDS_OF_NOUNS)
    # Names of places and people are no plain words there, so they are not defined.
    things = [noun for noun in named if noun in glosses][:nouns]
    doing = _commonest(times, "2", None)[:verbs]
    known = [glosses[noun] for noun in things[:meanings]]
    return Words(tuple(things), tuple(doing), tuple(known))


def defined_nouns() -> dict[str, str]:
    """The nouns of `common_words` with their definitions.

    Raises:
        HubError: the package cannot be had.
    """
    glosses = definitions(_wordnet()["data.noun"].splitlines())
    return {noun: glosses[noun] for noun in common_words().nouns}


def _wordnet() -> dict[str, str]:
    names = ("cntlist.rev", "data.noun")
    found = members("wordnet-base", lambda path: path.endswith(tuple(f"/{n}" for n in names)))
    return {path.rpartition("/")[2]: data.decode("utf-8") for path, data in found}


def _frequencies(text: str) -> Iterator[tuple[str, str, str, int, int]]:
    """Word, part of speech, WordNet's file, number of the sense and how often it was tagged."""
    for line in text.splitlines():
        key, sense, times = line.split()
        word, _, where = key.partition("%")
        part, file, *_ = where.split(":")
        yield word, part, file, int(sense), int(times)


def _commonest(
    times: Iterable[tuple[str, str, str, int, int]], part: str, files: frozenset[str] | None
) -> list[str]:
    """Words whose first sense is of these files, the most frequent first."""
    counted = {
        word: count
        for word, of, file, sense, count in times
        if of == part and sense == 1 and (files is None or file in files) and _is_plain(word)
    }
    return sorted(counted, key=lambda word: (-counted[word], word))


def _is_plain(word: str) -> bool:
    return bool(_WORD.fullmatch(word)) and not _NOT_ASKED.search(word)


def definitions(lines: Iterable[str]) -> dict[str, str]:
    """Noun -> the definition of the first synset that is named after it, if that is short.

    Args:
        lines: of WordNet's data.noun (wndb(5)).
    """
    found: dict[str, str] = {}
    for line in lines:
        if line.startswith(" "):  # the licence
            continue
        head, _, gloss = line.partition(" | ")
        _, file, _, _, word, *_ = head.split()
        meaning = gloss.split(";")[0].split('"')[0].strip()
        fits = file in _KINDS_OF_NOUNS and 4 <= len(meaning.split()) <= 14
        if fits and _is_plain(word) and not _NOT_ASKED.search(meaning) and "(" not in meaning:
            found.setdefault(word, meaning)
    return found
