"""The one place where embeddings of media replace their placeholders.

Shapes: B batch, T tokens, D width.
"""

from collections.abc import Iterable, Mapping

from torch import Tensor

from unisono.errors import PlaceholderMismatchError


def merge(
    embeddings: Tensor,
    input_ids: Tensor,
    features: Mapping[int, Tensor],
    placeholder_ids: Iterable[int],
) -> Tensor:
    """Put media embeddings where `input_ids` holds their placeholder.

    Args:
        embeddings: [B, T, D] of the text; what stands at placeholders does not matter.
        input_ids: [B, T].
        features: placeholder id -> [tokens, D], in the order of the placeholders.
        placeholder_ids: every id that is a placeholder; one without features must not occur.

    Returns:
        [B, T, D], a new tensor that gradients flow through.

    Raises:
        PlaceholderMismatchError: a placeholder's count differs from its features'.
    """
    for token_id in placeholder_ids:
        at_placeholder = input_ids == token_id
        feature = features.get(token_id)
        wanted, given = int(at_placeholder.sum()), 0 if feature is None else len(feature)
        if wanted != given:
            raise PlaceholderMismatchError(
                f"the prompt has {wanted} placeholders of id {token_id}, "
                f"but there are {given} embeddings for them"
            )
        if feature is not None:
            mask = at_placeholder.unsqueeze(-1).to(embeddings.device)
            feature = feature.to(embeddings.device, embeddings.dtype)
            embeddings = embeddings.masked_scatter(mask, feature)
    return embeddings


def without_placeholders(input_ids: Tensor, placeholder_ids: tuple[int, ...]) -> Tensor:
    """Ids that can be looked up: placeholders, which lie beyond the vocabulary, become 0."""
    is_placeholder = input_ids == placeholder_ids[0]
    for token_id in placeholder_ids[1:]:
        is_placeholder = is_placeholder | (input_ids == token_id)
    return input_ids.masked_fill(is_placeholder, 0)
