"""Local tasks for lmms-eval: a row has a question, and a medium of one of three kinds."""

from PIL import Image

from unisono.evaluation.metrics.matching import normalise_answer


def visuals(doc):
    path = doc["path"]
    return [Image.open(path).convert("RGB") if doc["kind"] == "image" else path]


def messages(doc, lmms_eval_specific_kwargs=None):
    (medium,) = visuals(doc)
    content = [{"type": doc["kind"], "url": medium}, {"type": "text", "text": doc["question"]}]
    return [{"role": "user", "content": content}]


def judged(doc, results):
    return {"exact_match": float(normalise_answer(results[0]) == normalise_answer(doc["answer"]))}
