"""Trains a small GPT on a text, character by character: `python -m examples.gpt_text --text FILE`.

Without a text it learns the source code of lucidfn itself. Batches, dropout and sampling are pure
functions of the seed and the step number, so that a run continued with `--resume` is the run that
was not interrupted, bit for bit. In the output folder are then the checkpoints, the history of the
losses in JSON, and a figure of them. In the end the model writes a text, shown as it is made.
"""

from __future__ import annotations

import argparse
import codecs
import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

if not __package__:  # python examples/gpt_text.py
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import lucidfn as lf
import lucidfn.numpy as lnp
from examples.experiment import device, positive, write_json
from examples.figures import GREY, plt
from lucidfn import data, models, nn, optim, random
from lucidfn.models.gpt import next_token

try:
    from tqdm import tqdm
except ImportError as error:
    sys.exit(f"this example needs {error.name}: pip install 'lucidfn[demo]'")

Tokenizer = data.CharTokenizer | data.ByteTokenizer
State = dict[str, Any]
Settings = dict[str, Any]
WARMUP = 100  # steps until the learning rate is reached; it falls with 1 / sqrt(step) then
VALIDATION_SHARE, MOST_WINDOWS = 0.1, 64


class UserError(Exception):
    """Something that the user can mend, said in one line."""


@dataclass
class History:
    """The loss of each step, [step, loss] of each validation, and the seconds that all took."""

    loss: list[float] = field(default_factory=list)
    validation: list[Any] = field(default_factory=list)
    seconds: float = 0.0

    def saved(self) -> dict[str, Any]:
        return {**asdict(self), "loss": np.array(self.loss)}

    @classmethod
    def restored(cls, saved: dict[str, Any]) -> History:
        return cls(np.asarray(saved["loss"]).tolist(), saved["validation"], saved["seconds"])

    def last_validation(self) -> str:
        return f", validation {self.validation[-1][1]:.3f}" if self.validation else ""


# ------------------------------------------------------------------ text

def own_source() -> str:
    """The source files of lucidfn, one after the other."""
    root = Path(lf.__file__).parent
    return "\n".join(path.read_text("utf-8") for path in sorted(root.rglob("*.py")))


def read_text(path: Path | None) -> str:
    """The text of a file, or the default one; UserError for what cannot be read."""
    if path is None:
        return own_source()
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 (the byte at {error.start} is "
                        f"0x{error.object[error.start]:02x}); convert it first, such as with "
                        f"iconv -f LATIN1 -t UTF-8 {path.name}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def split(tokens: np.ndarray, context: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens to train on, and the last tenth to validate on; UserError for a short text."""
    cut = len(tokens) - max(int(VALIDATION_SHARE * len(tokens)), context + 1)
    if cut < context + 1:
        raise UserError(f"the text has {len(tokens)} tokens, and a context of {context} needs "
                        f"{2 * context + 2}: one window to train on and one to validate on; use a "
                        "longer text or a smaller --context")
    return tokens[:cut], tokens[cut:]


def validation_windows(tokens: np.ndarray, context: int) -> tuple[np.ndarray, np.ndarray]:
    """The same windows each time, spread over the text: inputs and targets [N, context]."""
    count = min(MOST_WINDOWS, (len(tokens) - 1) // context)
    starts = np.linspace(0, len(tokens) - context - 1, count).astype(int)
    windows = tokens[starts[:, None] + np.arange(context + 1)]
    return windows[:, :-1], windows[:, 1:]


# ------------------------------------------------------------------ training

def make_step(model: models.GPT, tx: optim.GradientTransformation) -> Callable[..., Any]:
    """The compiled step: (state, inputs, targets, key) -> (new state, loss)."""

    def loss_fn(params: Any, x: Any, y: Any, key: Any) -> Any:
        logits, _ = model.apply(params, {}, x, train=True, key=key)
        return nn.losses.cross_entropy(logits, y)

    @partial(lf.jit, donate_argnums=0)  # the memory of the old state holds the new one
    def step(state: State, x: Any, y: Any, key: Any) -> tuple[State, Any]:
        loss, grads = lf.value_and_grad(loss_fn)(state["params"], x, y, key)
        updates, opt = tx.update(grads, state["opt"], state["params"])
        return {"params": optim.apply_updates(state["params"], updates), "opt": opt}, loss

    return step


@partial(lf.jit, static_argnums=0)
def validation_loss(model: models.GPT, params: Any, x: Any, y: Any) -> Any:
    logits, _ = model.apply(params, {}, x)
    return nn.losses.cross_entropy(logits, y)


def windows(key: Any, tokens: np.ndarray, options: argparse.Namespace, start: int) -> Iterator[Any]:
    """The batches of the steps from `start`: a step's batch is decided by its number."""
    for step in range(start, options.steps):
        yield data.random_windows(random.fold_in(key, step), tokens, options.batch, options.context)


def train(model: models.GPT, parts: tuple[np.ndarray, np.ndarray], options: argparse.Namespace,
          settings: Settings) -> tuple[Any, History]:
    """Parameters and history after all steps; with --resume those of the folder are continued."""
    init_key, batch_key, dropout_key = random.split(random.key(options.seed), 3)
    tx = optim.chain(optim.clip_by_global_norm(1.0),
                     optim.adamw(optim.inverse_sqrt(options.lr, WARMUP), weight_decay=0.01))
    checkpoints = lf.Checkpointer(options.out / "checkpoints", keep=2, best="min")
    found = last_checkpoint(checkpoints, options, settings)
    params, _ = model.init(init_key)
    state, history = {"params": params, "opt": tx.init(params)}, History()
    if found is not None:
        state = lf.device_put(found["state"], options.device)
        history = History.restored(found["history"])
    step, held_out = make_step(model, tx), validation_windows(parts[1], options.context)
    start, running = len(history.loss), None

    with (tqdm(total=options.steps, initial=start, unit="step", dynamic_ncols=True) as bar,
          data.Loader(windows(batch_key, parts[0], options, start)) as batches):
        clock = perf_counter()
        for i, (x, y) in enumerate(batches, start + 1):
            state, loss = step(state, x, y, random.fold_in(dropout_key, i))
            loss = checked(float(loss), i, options)
            history.loss.append(loss)
            running = 0.95 * (running or loss) + 0.05 * loss
            if i % options.every == 0 or i == options.steps:
                held = float(validation_loss(model, state["params"], *held_out))
                history.validation.append([i, held])
                history.seconds, clock = history.seconds + perf_counter() - clock, perf_counter()
                kept = {"state": state, "settings": settings, "history": history.saved()}
                checkpoints.save(i, kept, score=held)
                write_json(options.out / "history.json", {"settings": settings, **asdict(history)})
            bar.set_postfix_str(f"loss {running:.3f}{history.last_validation()}", refresh=False)
            bar.update()
    return state["params"], history


def checked(loss: float, step: int, options: argparse.Namespace) -> float:
    if not np.isfinite(loss):
        raise UserError(f"the loss of step {step} is {loss}; a smaller --lr than {options.lr} may "
                        "help")
    return loss


def last_checkpoint(checkpoints: lf.Checkpointer, options: argparse.Namespace,
                    settings: Settings) -> Any:
    """What the folder has to continue, None for a new run; UserError where they do not agree."""
    if not options.resume:
        if checkpoints.steps:
            raise UserError(f"{options.out} has a run of {checkpoints.last_step} steps; --resume "
                            "continues it, another --out starts a new one")
        return None
    found = checkpoints.restore()
    if found is None:
        raise UserError(f"{options.out} has no checkpoints to resume from")
    before = found.tree["settings"]
    for name, value in settings.items():
        if value != before.get(name):
            raise UserError(f"the run in {options.out} has {name} = {before.get(name)!r}, got "
                            f"{value!r}; --resume needs the text and the options that it was "
                            "started with (only --steps may change)")
    if found.step > options.steps:
        raise UserError(f"the run in {options.out} has {found.step} steps, more than --steps "
                        f"{options.steps}")
    return found.tree


# ------------------------------------------------------------------ sampling

def sample(model: models.GPT, params: Any, key: Any, prompt: Any, length: int,
           temperature: float, top_k: int | None = None) -> Iterator[int]:
    """Tokens drawn one after the other, each as soon as it is drawn.

    Keys and values of earlier tokens are kept in a cache. When it is full, the last half of the
    context is read into a new one: there are positions up to the context length only.
    """
    context, half = model.context_length, max(model.context_length // 2, 1)
    seen = [int(token) for token in prompt][-context:]
    cache, used, unread = model.init_cache(1), 0, seen
    for i in range(length):
        if used + len(unread) > context:
            cache, used, unread = model.init_cache(1), 0, seen[-half:]
        drawn, cache = next_token(model, params, cache, lnp.array([unread], "int32"),
                                  random.fold_in(key, i), temperature, top_k, greedy=False)
        used, unread = used + len(unread), [int(drawn[0, 0])]
        seen = [*seen, *unread][-context:]
        yield unread[0]


def pieces(tokenizer: Tokenizer, tokens: Iterable[int]) -> Iterator[str]:
    """The text of tokens as they come; a character of several bytes when its last one is there."""
    if isinstance(tokenizer, data.CharTokenizer):
        yield from (tokenizer.decode([token]) for token in tokens)
    else:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        yield from (decoder.decode(bytes([token])) for token in tokens)
        yield decoder.decode(b"", final=True)


def show(text: Iterable[str]) -> str:
    """Prints the pieces of a text as they come, and returns the text."""
    made = []
    for piece in text:
        print(piece, end="", flush=True)
        made.append(piece)
    print()
    return "".join(made)


# ------------------------------------------------------------------ figure and arguments

def draw(history: History, vocabulary: int, path: Path) -> None:
    """Loss of each step, its running mean, and the validation loss."""
    losses = np.array(history.loss)
    steps = np.arange(1, len(losses) + 1)
    width = max(1, len(losses) // 50)
    smooth = np.convolve(losses, np.full(width, 1 / width), "valid")
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    axes.plot(steps, losses, color="#d5d8dc", linewidth=0.8)
    axes.plot(steps[width - 1:], smooth, color="#1f618d", label="training")
    if history.validation:
        axes.plot(*zip(*history.validation, strict=True), "o-", color="#b03a2e", markersize=3,
                  label="validation")
    axes.axhline(np.log(vocabulary), color=GREY, linestyle=":", label="guessing")
    axes.set_xlabel("step")
    axes.set_ylabel("cross entropy, nats a token")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e8e8e8", linewidth=0.8)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m examples.gpt_text", formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        description="Train a small GPT on a text, character by character, and let it write.")
    add, count = parser.add_argument, positive(int)
    add("--text", type=Path, metavar="FILE", help="UTF-8 (without: the source code of lucidfn)")
    add("--tokens", choices=["characters", "bytes"], default="characters",
        help="what a token is; bytes take any prompt")
    add("--context", type=count, default=64, help="tokens that the model sees at once")
    add("--embed", type=count, default=128, help="width of the model")
    add("--heads", type=count, default=4, help="attention heads in a layer")
    add("--layers", type=count, default=4, help="layers")
    add("--dropout", type=float, default=0.1, help="share of activations dropped in training")
    add("--steps", type=count, default=1000, help="training steps in all")
    add("--batch", type=count, default=16, help="windows of text in a step")
    add("--lr", type=positive(float), default=2e-3, help="largest learning rate of AdamW")
    add("--every", type=count, default=100, help="steps between validations and checkpoints")
    add("--seed", type=int, default=0, help="decides the start, the batches, dropout, the sample")
    add("--device", type=device, default="cpu",
        help=f"where to compute: {', '.join(lf.devices())}")
    add("--out", type=Path, metavar="FOLDER", default=Path("figures/gpt_text"),
        help="for everything that is written")
    add("--resume", action="store_true", help="continue the run in the folder")
    add("--length", type=count, default=500, help="tokens to write in the end")
    add("--temperature", type=positive(float), default=0.8,
        help="of the sample; a small one takes the likeliest tokens")
    add("--top-k", type=count, help="draw from so many likeliest tokens only")
    add("--prompt", help="the beginning of the sample (without: the text's first character)")
    return parser.parse_args(given)


def tokenized(text: str, options: argparse.Namespace) -> tuple[Tokenizer, np.ndarray, np.ndarray]:
    """The tokenizer, the tokens of the text and those of the prompt."""
    if not text:
        raise UserError(f"{options.text} is empty")
    options.prompt = text[0] if options.prompt is None else options.prompt
    if not options.prompt:
        raise UserError("--prompt is empty; one character at least is needed to start from")
    tokenizer: Tokenizer = data.ByteTokenizer()
    if options.tokens == "characters":
        tokenizer = data.CharTokenizer.from_text(text)
        if unknown := sorted(set(options.prompt) - set(tokenizer.alphabet)):
            raise UserError(f"--prompt has {', '.join(map(repr, unknown))}, which the text never "
                            "has; use characters of the text, or --tokens bytes")
    return tokenizer, tokenizer.encode(text), tokenizer.encode(options.prompt)


def make_model(vocabulary: int, options: argparse.Namespace) -> models.GPT:
    try:
        model = models.GPT(vocabulary, options.context, options.embed, options.heads,
                           options.layers, options.dropout)
        lf.eval_shape(model.init, random.key(0))  # the sizes of its layers are checked there
    except ValueError as error:
        raise UserError(str(error)) from None
    return model


def run(options: argparse.Namespace) -> None:
    text = read_text(options.text)
    tokenizer, tokens, prompt = tokenized(text, options)
    parts = split(tokens, options.context)
    model = make_model(tokenizer.vocab_size, options)
    settings = {name: getattr(options, name) for name in (
        "tokens", "context", "embed", "heads", "layers", "dropout", "batch", "lr", "seed")}
    settings["text"] = hashlib.sha256(text.encode()).hexdigest()[:16]
    print(f"{options.text or 'the source code of lucidfn'}: {len(tokens):,} {options.tokens}, "
          f"{len(set(tokens.tolist()))} different ones; {len(parts[1]):,} are for validation")
    example = lf.ShapeDtypeStruct((1, options.context), "int32")
    print(nn.summary(model, example, show=False).totals(), flush=True)

    params, history = train(model, parts, options, settings)
    draw(history, tokenizer.vocab_size, options.out / "losses.png")
    best, loss = min(history.validation, key=lambda pair: pair[1])
    print(f"best validation loss {loss:.3f} nats ({loss / np.log(2):.2f} bits) a token, at step "
          f"{best}\nsaved history.json, losses.png and checkpoints in {options.out}")
    print("\nThe model writes:\n")
    drawn = sample(model, params, random.key(options.seed + 1), prompt, options.length,
                   options.temperature, options.top_k)
    written = show(chain([options.prompt], pieces(tokenizer, drawn)))
    (options.out / "sample.txt").write_text(written, "utf-8")


def main() -> None:
    options = arguments()
    try:
        with lf.default_device(options.device):
            run(options)
    except KeyboardInterrupt:
        sys.exit("\nstopped; --resume goes on from the last checkpoint")
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
