"""How many words or characters of a transcript are wrong."""

from collections.abc import Callable, Sequence
from typing import Any

from unisono.errors import MissingExtraError
from unisono.evaluation.score import Score


def word_error_rate(
    references: Sequence[str],
    hypotheses: Sequence[str],
    *,
    names: Sequence[str] | None = None,
    language: str = "en",
) -> Score:
    """WER: substituted, deleted and inserted words over the words of the references.

    Of a corpus it is a ratio of sums, not a mean of ratios. Texts are normalised as OpenAI's
    Whisper does before it counts (arXiv 2212.04356, appendix C): case, punctuation, and for
    English also numbers, contractions and spellings.

    Args:
        references: [N] what was said.
        hypotheses: [N] what was heard.
        names: [N] of the samples.
        language: "en" for the English normaliser, any other code for the plain one.

    Raises:
        MissingExtraError: jiwer or whisper-normalizer is not installed.
    """
    return _error_rate("process_words", references, hypotheses, names, language)


def character_error_rate(
    references: Sequence[str],
    hypotheses: Sequence[str],
    *,
    names: Sequence[str] | None = None,
    language: str = "en",
) -> Score:
    """CER: as `word_error_rate`, in characters, spaces between words among them."""
    return _error_rate("process_characters", references, hypotheses, names, language)


def _error_rate(
    process: str,
    references: Sequence[str],
    hypotheses: Sequence[str],
    names: Sequence[str] | None,
    language: str,
) -> Score:
    jiwer, normalise = _packages(language)
    compared = [
        getattr(jiwer, process)(normalise(said).strip(), normalise(heard).strip())
        for said, heard in zip(references, hypotheses, strict=True)
    ]
    return Score.of(
        [one.substitutions + one.deletions + one.insertions for one in compared],
        weights=[one.hits + one.substitutions + one.deletions for one in compared],
        names=names,
        higher_is_better=False,
    )


def _packages(language: str) -> tuple[Any, Callable[[str], str]]:
    try:
        import jiwer
        from whisper_normalizer.basic import BasicTextNormalizer
        from whisper_normalizer.english import EnglishTextNormalizer
    except ImportError as error:
        raise MissingExtraError(error.name or "jiwer", "eval") from error
    return jiwer, EnglishTextNormalizer() if language == "en" else BasicTextNormalizer()
