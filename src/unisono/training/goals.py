"""What a stage is to learn, as a recipe says it."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt


class Settings(BaseModel):
    """Of a recipe or a part of it: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class NextToken(Settings):
    """Cross-entropy of the next token (Ola).

    Attributes:
        kind: chooses this objective.
        supervision: which tokens are learned; see `models.ola.supervision`.
        pack: several conversations in one row, none of which sees another.
        max_tokens: a longer conversation is a bad row.
    """

    kind: Literal["next_token"] = "next_token"
    supervision: Literal["answers", "answers and controls"] = "answers"
    pack: bool = True
    max_tokens: PositiveInt = 16_384


class Contrastive(Settings):
    """The losses of ONE-PEACE: contrast between modalities, denoising contrast within them.

    Attributes:
        kind: chooses this objective.
        stage: the pair of modalities with the losses' weights.
        without: terms that are left out (ablations): see `losses.Stage.without`.
        full_gradients: let the contrast train both its sides on all ranks.
    """

    kind: Literal["onepeace"] = "onepeace"
    stage: Literal["vision_language", "audio_language", "audio_vision"]
    without: tuple[Literal["contrast", "alone", "joint", "text", "image", "audio"], ...] = ()
    full_gradients: bool = False


class ConnectorCtc(Settings):
    """Connector pre-alignment: CTC over the language model's own vocabulary, without a pass of it.

    Token logits are -scale * |h - E_v|^2 over the frozen input embeddings E of the tokens that
    occur in the texts, beside a blank head of its own.

    Attributes:
        kind: chooses this objective.
        scale: initial factor of the squared distances; learned.
        window_s: silence added behind an utterance, as at inference.
    """

    kind: Literal["connector_ctc"] = "connector_ctc"
    scale: PositiveFloat = 1.0
    window_s: Annotated[float, Field(ge=0.0)] = 1.0


class ConnectorCells(Settings):
    """Connector pre-alignment: cells of pictures say the words of what lies on them.

    Attributes:
        kind: chooses this objective.
        scale: as for `ConnectorCtc`.
    """

    kind: Literal["connector_cells"] = "connector_cells"
    scale: PositiveFloat = 1.0


class AudioSpectrum(Settings):
    """Pre-training of ONE-PEACE's audio stem: its frames hold the log-mel spectrum.

    Attributes:
        kind: chooses this objective.
        bands: of the spectrum, in as many of a frame's first numbers.
        seconds: of each clip that are heard.
    """

    kind: Literal["audio_spectrum"] = "audio_spectrum"
    bands: PositiveInt = 64
    seconds: Annotated[float, Field(ge=1.0)] = 1.0


Input = Literal["text", "image", "image_2", "audio"]


class Classification(Settings):
    """A class for a whole input, or several; or an answer out of a list (ONE-PEACE's head).

    Attributes:
        kind: chooses this objective.
        inputs: of a row what the model is given, encoded jointly.
        field: of a row where the right answer stands; "text" is the row's text.
        target: "one" label, a text; "several", a list of them; or "people", a list of what each
            of several people answered: an answer counts as much as they agree on it.
        labels: to choose from; None takes those that the data name, or that stand in its rows.
        most: only so many labels, the most frequent ones; None for all.
    """

    kind: Literal["classification"] = "classification"
    inputs: Annotated[tuple[Input, ...], Field(min_length=1)]
    field: str = "label"
    target: Literal["one", "several", "people"] = "one"
    labels: tuple[str, ...] | None = None
    most: PositiveInt | None = None


class Grounding(Settings):
    """Where in a picture a phrase points: a box.

    Attributes:
        kind: chooses this objective.
        field: of a row where the box stands, x, y, width, height in pixels.
    """

    kind: Literal["grounding"] = "grounding"
    field: str = "box"


class Ranking(Settings):
    """Which of some answers to a question about a picture or sound is right.

    Attributes:
        kind: chooses this objective.
        inputs: besides the question.
        candidates: answers of every row, in its field "choices"; "choice" is the right one's place.
        loss: "hinge" is the official code's, with margin 1.
    """

    kind: Literal["ranking"] = "ranking"
    inputs: Annotated[tuple[Literal["image", "audio"], ...], Field(min_length=1)]
    candidates: Annotated[int, Field(ge=2)] = 4
    loss: Literal["cross_entropy", "hinge"] = "cross_entropy"


Jitter = tuple[PositiveFloat, PositiveFloat]


class Segmentation(Settings):
    """A class for every pixel of a picture.

    Attributes:
        kind: chooses this objective.
        field: of a row where its map stands, a picture whose values are classes.
        first: value of the first class; with 1, pixels of value 0 teach nothing (ADE20K).
        labels: of the classes; None takes those that the data name.
        scale: from and to what part of the model's `crop_px` a picture's shorter side is resized
            before a square is cut out of it.
        mirror: half of the cuts.
        colour: change brightness, contrast and saturation by chance.
    """

    kind: Literal["segmentation"] = "segmentation"
    field: str = "segmentation"
    first: Literal[0, 1] = 0
    labels: tuple[str, ...] | None = None
    scale: Jitter = (0.5, 2.0)
    mirror: bool = True
    colour: bool = True


class Detection(Settings):
    """The things in a picture: classes, boxes, masks.

    Attributes:
        kind: chooses this objective.
        field: of a row where they stand; see `manifests.datasets`.
        labels: of their classes; None takes those that the data name.
        scale: from and to what part of the model's `image_px` a picture's longer side is resized
            before a square is cut out of it.
        mirror: half of the cuts.
    """

    kind: Literal["detection"] = "detection"
    field: str = "objects"
    labels: tuple[str, ...] | None = None
    scale: Jitter = (0.1, 2.0)
    mirror: bool = True


class VideoClassification(Settings):
    """A class for a clip, by its frames.

    Attributes:
        kind: chooses this objective.
        field, target, labels, most: as for `Classification`.
        area: least and most of a frame that is seen; the part is the same in all frames of a clip.
        mirror: half of the clips: not where left and right are what is to be told.
    """

    kind: Literal["video_classification"] = "video_classification"
    field: str = "label"
    target: Literal["one"] = "one"
    labels: tuple[str, ...] | None = None
    most: PositiveInt | None = None
    area: Jitter = (0.08, 1.0)
    mirror: bool = True


ObjectiveSettings = Annotated[
    NextToken
    | Contrastive
    | ConnectorCtc
    | ConnectorCells
    | AudioSpectrum
    | Classification
    | Grounding
    | Ranking
    | Segmentation
    | Detection
    | VideoClassification,
    Field(discriminator="kind"),
]

TaskSettings = Classification | Grounding | Ranking
"""Objectives of models with a head, which is called as their kind."""

DenseSettings = Segmentation | Detection | VideoClassification
"""Objectives of the dense vision models, whose head is called as their kind too."""

LabelledSettings = Classification | DenseSettings
"""Objectives of models that choose from labels."""


def task_inputs(objective: TaskSettings) -> tuple[str, ...]:
    """What a task's model is given."""
    if isinstance(objective, Classification):
        return objective.inputs
    return ("text", *objective.inputs) if isinstance(objective, Ranking) else ("text", "image")
