"""The official procedure of ONE-PEACE on our modules' weights: the baseline of representation.py.

Plain PyTorch after the official code as it runs without xFormers, FlashAttention and apex. Only
leaf modules (Linear, LayerNorm, convolutions) and parameters are ours, so that nothing but the
procedure differs:

- sequences lie time first, [T, B, D];
- the relative bias is looked up once a pass, repeated for every sample and added into zeros
  [B, H, T, T], with -inf at padding; masked passes gather from it, after all was embedded;
- attention is written out: bmm, + bias, softmax in float32, bmm;
- stage 1 encodes texts and images alone (embedding and teacher in one), jointly without
  gradients, then the visible tokens alone and jointly, and sends all decoded tokens, masked or
  not, through the heads.

`fused=True` puts scaled_dot_product_attention in place of the third, with a bias that the samples
of a batch share in place of the second.

Shapes: B batch, T tokens with [CLS], K kept tokens, D width, H heads.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from unisono.models.onepeace import Masked, OnePeaceForPretraining
from unisono.models.onepeace.adapter import Kept, Part
from unisono.models.onepeace.attention import SHARED, AttentionWeights, attend
from unisono.models.onepeace.bias import bucket_index, grid_index
from unisono.models.onepeace.decoder import Decoder
from unisono.models.onepeace.encoder import Branch, Encoder, EncoderLayer, joint_bias
from unisono.models.onepeace.losses import JOINT, VISION_LANGUAGE

PAD, LONGEST = 1, 1024
LOGIT_SCALE, SMOOTHING = 2.5, 0.1


@dataclass(frozen=True)
class Piece:
    """What an official adapter gives: tokens [B, T, D], padding [B, T], bias [B, H, T, T]."""

    modality: str
    tokens: Tensor
    padding: Tensor
    bias: Tensor | None


@dataclass(frozen=True)
class Sequence:
    """What surrounds the tokens in every layer: (modality, tokens) of each part, padding [B, T],
    and a bias [B, H, T, T] with padding in it, or [1, H, T, T] without, or None.
    """

    spans: list[tuple[str, int]]
    padding: Tensor | None
    bias: Tensor | None


class Official:
    """`OnePeaceForPretraining` stepped by the official procedure."""

    def __init__(self, model: OnePeaceForPretraining, *, fused: bool = False) -> None:
        self.model, self.fused = model, fused
        config = model.config
        self.buckets = {  # made once, as the official buffers are
            "text": bucket_index(LONGEST, config.text_config.position_buckets),
            "image": grid_index((config.image_config.bias_grid,) * 2),
            "audio": bucket_index(LONGEST, config.audio_config.position_buckets),
        }

    def embed(self, modality: str, inputs: Mapping[str, Tensor]) -> Tensor:
        """Embeddings [B, D] of one modality, of length 1."""
        return self._project(modality, self._encode([modality], inputs)[modality])

    def pretrain(
        self, inputs: Mapping[str, Tensor], masks: Mapping[str, Masked]
    ) -> dict[str, Tensor]:
        """The loss of stage 1, and its terms by our names."""
        alone = {m: self._encode([m], inputs)[m] for m in VISION_LANGUAGE.pair}
        embedded = {m: self._project(m, x) for m, x in alone.items()}
        with torch.no_grad():
            joint = self._encode(["text", "image"], inputs)
        students = {m: self._decode([m], inputs, masks)[m] for m in VISION_LANGUAGE.pair}
        together = self._decode(["text", "image"], inputs, masks, JOINT)
        real = {"text": inputs["input_ids"].ne(PAD), "image": None}
        losses = {"contrast": self._contrast(embedded["text"], embedded["image"])}
        for m in VISION_LANGUAGE.pair:
            losses[m] = denoising(students[m], alone[m], masks[m].mask_indices, real[m])
            hidden = masks[JOINT + m].mask_indices
            losses[JOINT + m] = denoising(together[m], joint[m], hidden, real[m])
        loss = sum(VISION_LANGUAGE.weight(name) * term for name, term in losses.items())
        return {"loss": loss, **losses}

    def _project(self, modality: str, encoded: Tensor) -> Tensor:
        projected = self.model.onepeace.projections[modality](encoded[:, 0])
        return functional.normalize(projected, dim=1)

    def _contrast(self, text: Tensor, image: Tensor) -> Tensor:
        targets, scale = torch.arange(len(text)), self.model.onepeace.scale()
        forth = functional.log_softmax(scale * image @ text.detach().T, dim=-1)
        back = functional.log_softmax(scale * text @ image.detach().T, dim=-1)
        return (smoothed(forth, targets, 0.0) + smoothed(back, targets, 0.0)) / 2

    def _decode(
        self,
        modalities: list[str],
        inputs: Mapping[str, Tensor],
        masks: Mapping[str, Masked],
        prefix: str = "",
    ) -> dict[str, Tensor]:
        """Encode the visible tokens, decode all: modality -> [B, T, D]."""
        decoder: Decoder = self.model.decoder
        preserved = {m: masks[prefix + m].preserve_ids for m in modalities}
        pieces = []
        for m, visible in self._encode(modalities, inputs, preserved).items():
            length = masks[prefix + m].mask_indices.shape[1]
            tokens = self._unmasked(m, decoder.embed[m](visible), preserved[m], length)
            padding = torch.zeros(tokens.shape[:2], dtype=torch.bool)
            if m == "text":
                padding[:, 1:] = inputs["input_ids"].eq(PAD)
            pieces.append(Piece(m, tokens + decoder.positions[m][:length], padding, None))
        decoded = self._through(decoder.encoder, pieces)
        return {m: decoder.heads[m](x) for m, x in decoded.items()}

    def _unmasked(self, modality: str, visible: Tensor, preserved: Tensor, length: int) -> Tensor:
        """Mask tokens everywhere, the visible ones put back in their places."""
        batch = len(visible)
        tokens = self.model.decoder.mask_tokens[modality].repeat(batch * length, 1)
        places = (preserved + torch.arange(batch)[:, None] * length).flatten()
        taken = preserved.ne(-1).flatten().nonzero().flatten()
        tokens[places[taken]] = visible.reshape(-1, visible.shape[-1])[taken]
        return tokens.view(batch, length, -1)

    def _encode(
        self,
        modalities: list[str],
        inputs: Mapping[str, Tensor],
        preserved: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        adapters = {"text": self._text, "image": self._image, "audio": self._audio}
        pieces = [adapters[m](inputs, (preserved or {}).get(m)) for m in modalities]
        return self._through(self.model.onepeace.encoder, pieces)

    def _text(self, inputs: Mapping[str, Tensor], preserved: Tensor | None) -> Piece:
        adapter, ids = self.model.onepeace.adapter("text"), inputs["input_ids"]
        padding = torch.zeros(len(ids), ids.shape[1] + 1, dtype=torch.bool)
        padding[:, 1:] = ids.eq(PAD)
        places = torch.arange(padding.shape[1]).expand_as(padding)
        positions = functional.embedding(places, adapter.position_embedding)
        tokens = adapter.behind_cls(adapter.embed_tokens(ids))
        return self._piece("text", tokens, positions, padding, preserved)

    def _image(self, inputs: Mapping[str, Tensor], preserved: Tensor | None) -> Piece:
        adapter, x = self.model.onepeace.adapter("image"), inputs["pixel_values"]
        stem = adapter.stem
        for conv, norm in ((stem.conv1, stem.norm1), (stem.conv2, stem.norm2)):
            x = functional.gelu(norm(conv(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
        tokens = adapter.behind_cls(stem.conv3(x).flatten(2).transpose(1, 2))
        positions = adapter.position_embedding[None].expand(len(tokens), -1, -1)
        padding = torch.zeros(tokens.shape[:2], dtype=torch.bool)
        return self._piece("image", tokens, positions, padding, preserved)

    def _audio(self, inputs: Mapping[str, Tensor], preserved: None) -> Piece:
        """Only whole clips: stage 1 has no sound. Padding is let into the positions."""
        adapter, x = self.model.onepeace.adapter("audio"), inputs["audio_values"][:, None]
        for layer in adapter.stem.layers:
            x = functional.gelu(layer.norm(layer.conv(x).transpose(1, 2)).transpose(1, 2))
        frames = adapter.stem.projection(adapter.stem.norm(x.transpose(1, 2)))
        x = frames.transpose(1, 2)
        for layer in adapter.positions.layers:
            x = functional.gelu(layer.norm(layer.conv(x).transpose(1, 2)).transpose(1, 2))
        first = adapter.cls_position.expand(len(frames), -1, -1)
        positions = torch.cat([first, x.transpose(1, 2)], dim=1)
        padding = inputs["audio_mask"].eq(0)
        return self._piece("audio", adapter.behind_cls(frames), positions, padding, preserved)

    def _piece(
        self,
        modality: str,
        tokens: Tensor,
        positions: Tensor,
        padding: Tensor,
        preserved: Tensor | None,
    ) -> Piece:
        """Add the positions; of a masked pass only what is kept goes on."""
        length = tokens.shape[1]
        kept, ids = None, None
        if preserved is not None:
            padding = preserved.eq(-1)
            ids = preserved.masked_fill(padding, preserved.shape[1] - 1)
            kept = Kept(ids, padding)
            every = ids[..., None].expand(-1, -1, tokens.shape[-1])
            tokens, positions = tokens.gather(1, every), positions.gather(1, every)
        index = self.buckets[modality][:length, :length]
        if self.fused:
            bias = self.model.onepeace.adapter(modality).bias_at(index, kept)(0)
        else:
            bias = self._repeated_bias(modality, index, len(tokens), ids)
        return Piece(modality, tokens + positions, padding, bias)

    def _repeated_bias(
        self, modality: str, index: Tensor, batch: int, ids: Tensor | None
    ) -> Tensor:
        table = self.model.onepeace.adapter(modality).relative_bias.table(0)
        bias = functional.embedding(index, table)[None].expand(batch, -1, -1, -1)
        bias = bias.permute(0, 3, 1, 2)
        if ids is None:
            return bias
        heads, length, few = bias.shape[1], bias.shape[2], ids.shape[1]
        rows = bias.gather(2, ids[:, None, :, None].expand(-1, heads, -1, length))
        return rows.gather(3, ids[:, None, None, :].expand(-1, heads, few, -1))

    def _through(self, encoder: Encoder, pieces: list[Piece]) -> dict[str, Tensor]:
        """All layers and the final norms: modality -> [B, T, D]."""
        x = torch.cat([piece.tokens for piece in pieces], dim=1)
        padding = torch.cat([piece.padding for piece in pieces], dim=1)
        has_padding = bool(padding.any())
        if has_padding:
            x = x * (1 - padding[..., None].type_as(x))
        around = self._around(pieces, padding if has_padding else None)
        x = x.transpose(0, 1)
        for layer in encoder.layers:
            x = self._layer(layer, x, around)
        parts = torch.split(x, [length for _, length in around.spans])
        normed = [encoder.norms[m](part) for (m, _), part in zip(around.spans, parts, strict=True)]
        whole = torch.cat(normed).transpose(0, 1)  # the original puts the parts together again
        parts = torch.split(whole, [length for _, length in around.spans], dim=1)
        return {m: part for (m, _), part in zip(around.spans, parts, strict=True)}

    def _around(self, pieces: list[Piece], padding: Tensor | None) -> Sequence:
        spans = [(piece.modality, piece.tokens.shape[1]) for piece in pieces]
        if pieces[0].bias is None:  # then the original does not mask padding at all
            return Sequence(spans, None, None)
        if self.fused:
            parts = [Part(p.modality, p.tokens, None, lambda _, p=p: p.bias) for p in pieces]
            return Sequence(spans, padding, joint_bias(parts, 0))
        whole, heads = sum(length for _, length in spans), pieces[0].bias.shape[1]
        bias = pieces[0].tokens.new_zeros(len(pieces[0].tokens), heads, whole, whole)
        start = 0
        for piece, (_, length) in zip(pieces, spans, strict=True):
            end = start + length
            bias[:, :, start:end, start:end] += piece.bias
            start = end
        if padding is not None:
            bias.masked_fill_(padding[:, None, None].expand(-1, heads, whole, -1), float("-inf"))
        return Sequence(spans, padding, bias)

    def _layer(self, layer: EncoderLayer, x: Tensor, around: Sequence) -> Tensor:
        """[T, B, D] -> [T, B, D]."""
        weights, heads = layer.attention[SHARED], layer.attention.heads
        attention = self._fused_attention if self.fused else written_attention
        mixed = attention(weights, layer.attention_norm(x), heads, around)
        x = self._residual(weights.output(mixed), x, layer.attention_branch)
        parts = torch.split(layer.ffn_norm(x), [length for _, length in around.spans])
        done = [layer.ffn[m](part) for (m, _), part in zip(around.spans, parts, strict=True)]
        return self._residual(done[0] if len(done) == 1 else torch.cat(done), x, layer.ffn_branch)

    @staticmethod
    def _fused_attention(
        weights: AttentionWeights, x: Tensor, heads: int, around: Sequence
    ) -> Tensor:
        q, k, v = (
            project(x).unflatten(-1, (heads, -1)).permute(1, 2, 0, 3)
            for project in (weights.q_proj, weights.k_proj, weights.v_proj)
        )
        mixed = attend(q, k, v, bias=around.bias, padding=around.padding)
        return mixed.permute(2, 0, 1, 3).flatten(2)

    def _residual(self, branch: Tensor, residual: Tensor, way: Branch) -> Tensor:
        if way.gamma is not None:
            branch = way.gamma * branch
        if self.model.training and way.drop_path > 0:
            alive = branch.new_empty(1, branch.shape[1], 1).bernoulli_(1 - way.drop_path)
            branch = branch * alive.div_(1 - way.drop_path)
        return branch + residual


def written_attention(weights: AttentionWeights, x: Tensor, heads: int, around: Sequence) -> Tensor:
    """[T, B, D] -> the heads side by side [T, B, D], all weights [B * H, T, T] in memory."""
    length, batch, width = x.shape
    q, k, v = (
        project(x).view(length, batch * heads, -1).transpose(0, 1)
        for project in (weights.q_proj, weights.k_proj, weights.v_proj)
    )
    q *= q.shape[-1] ** -0.5
    scores = torch.bmm(q, k.transpose(1, 2))
    if around.bias is not None:
        scores += around.bias.view(-1, length, length)
    shares = functional.softmax(scores, dim=-1, dtype=torch.float32).type_as(scores)
    return torch.bmm(shares, v).transpose(0, 1).reshape(length, batch, width)


def denoising(students: Tensor, teachers: Tensor, masked: Tensor, real: Tensor | None) -> Tensor:
    """Masked students [B, T, D] against all teachers [B, T, D], [CLS] left out.

    Args:
        students, teachers: decoded, and of the unmasked pass.
        masked: [B, T].
        real: [B, T - 1], False at padding; None: there is none.
    """
    width = students.shape[-1]
    flat, hidden = students[:, 1:].reshape(-1, width), masked[:, 1:].flatten()
    wanted = teachers.detach()[:, 1:].reshape(-1, width)
    if real is not None:
        places = real.flatten().nonzero().flatten()
        flat, wanted, hidden = flat[places], wanted[places], hidden[places]
    targets = hidden.nonzero().flatten()
    flat = functional.normalize(flat[targets].float(), dim=1)
    logits = LOGIT_SCALE * flat @ functional.normalize(wanted.float(), dim=1).T
    return smoothed(functional.log_softmax(logits, dim=-1), targets, SMOOTHING)


def smoothed(log_shares: Tensor, targets: Tensor, epsilon: float) -> Tensor:
    """Cross-entropy with fairseq's label smoothing, from log-probabilities [R, M]."""
    loss = -log_shares.gather(-1, targets[:, None])[:, 0]
    if epsilon:
        others = epsilon / (log_shares.shape[-1] - 1)
        loss = (1 - epsilon - others) * loss - others * log_shares.sum(dim=-1)
    return loss.mean()
