"""The base recipe in words, like a paper's table of settings."""

from harness.plans.hyperparameters import Adam, AdamW, Constant, Cosine, OneCycle, Optimizer, Schedule, Step
from harness.plans.spec import Recipe
from reports.document import Text
from reports.select import Selection

OPTIMIZERS = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW"}


def base_recipe(selection: Selection) -> Text:
    """Sentences on the baseline's model, optimiser, schedule, length and augmentation, and on what was tuned."""
    recipe = selection.variants[selection.baseline][0].started.spec.recipe
    said = f"Base recipe, that of {selection.baseline}: {describe(recipe)}."
    if len(selection.variants) > 1:
        said += " The other variants use the same settings except for the factor"
        said += _tuned(selection) or ("." if _searched(selection) else "; nothing was tuned for any of them.")
    return Text(" ".join([said, *_searched(selection)]), selection.numbers())


def too_narrow(selection: Selection) -> list[Text]:
    """Warnings for variants whose best trial lies at an end of its range, beyond which better values may lie."""
    tuned = selection.summary.tuned
    edges = {variant: tuned.at_edge(variant) for variant in selection.variants} if tuned else {}
    said = [
        f"The best {field} of {variant} lies at the {end} end of the range in which it was tuned: the range may be too "
        "narrow, and this variant better than it is shown here."
        for variant, ends in edges.items()
        for field, end in ends.items()
    ]
    return [Text(" ".join(said), selection.numbers(*(v for v, ends in edges.items() if ends)))] if said else []


def _tuned(selection: Selection) -> str:
    """The end of a sentence on what was tuned; "" if nothing was."""
    tuned = selection.summary.tuned
    if tuned is None or not tuned.trials:
        return ""
    fields, trials = " and ".join(tuned.asked.space), tuned.asked.trials
    verb = "was" if len(tuned.asked.space) == 1 else "were"
    return f" and {fields}, which {verb} tuned for each with {trials} trials."


def _searched(selection: Selection) -> list[str]:
    """Sentences on learning rates that were found by LR range tests."""
    said: list[str] = []
    for variant, records in selection.variants.items():
        recipes = [record.started.spec.recipe for record in records]
        own = [r.lr_found.suggestion for r in records if r.lr_found and r.started.spec.recipe.optimizer.lr == "find"]
        if own:
            found = f"{min(own):.2g}" if min(own) == max(own) else f"{min(own):.2g} to {max(own):.2g}"
            said.append(f"Every run of {variant} found its own rate by a range test ({found}).")
        elif recipes[0].lr_finder:
            rate = f"{recipes[0].optimizer.lr:.2g}"
            said.append(f"The rate of {variant}, {rate}, was found by one LR range test for all of its runs.")
    return said


def describe(recipe: Recipe) -> str:
    """A recipe in words: "norm_cnn (norm=batch); SGD, learning rate 0.01, momentum 0.9; …"."""
    options = ", ".join(f"{name}={value}" for name, value in recipe.model.options.items())
    parts = [
        recipe.model.name + (f" ({options})" if options else ""),
        f"{_optimizer(recipe.optimizer)}, {_schedule(recipe.schedule, recipe.optimizer)}",
        f"{recipe.epochs} {'epoch' if recipe.epochs == 1 else 'epochs'} in batches of {recipe.batch_size}",
        "augmentation " + (", ".join(transform.name for transform in recipe.augmentation) or "none"),
    ]
    if recipe.label_smoothing:
        parts.append(f"label smoothing {recipe.label_smoothing:g}")
    if recipe.ema_decay:
        parts.append(f"weights averaged with decay {recipe.ema_decay:g}")
    return "; ".join(parts)


def _optimizer(optimizer: Optimizer) -> str:
    rate = "learning rate found by a range test" if optimizer.lr == "find" else f"learning rate {optimizer.lr:g}"
    parts = [OPTIMIZERS[optimizer.name], rate]
    if isinstance(optimizer, Adam | AdamW):
        parts.append(f"betas {optimizer.betas[0]:g} and {optimizer.betas[1]:g}")
    else:
        parts += [f"momentum {optimizer.momentum:g}"] if optimizer.momentum else []
        parts += ["Nesterov"] if optimizer.nesterov else []
    if optimizer.weight_decay:
        parts.append(f"weight decay {optimizer.weight_decay:g}")
    return ", ".join(parts)


def _schedule(schedule: Schedule, optimizer: Optimizer) -> str:
    match schedule:
        case OneCycle():
            peak = f"that rate at its peak, after {schedule.pct_start:.0%} of the steps"
            return f"One Cycle ({peak}{_swing(schedule, optimizer)})"
        case Step():
            return f"times {schedule.gamma:g} every {schedule.step_epochs} epochs"
        case Cosine():
            warmup = f" after {schedule.warmup_epochs:g} epochs of warm-up" if schedule.warmup_epochs else ""
            return f"cosine decay{warmup}"
        case Constant():
            return "constant"


def _swing(schedule: OneCycle, optimizer: Optimizer) -> str:
    """The range of momentum (or beta1) under One Cycle, which replaces the optimiser's own value."""
    if not schedule.cycle_momentum:
        return ""
    adam = isinstance(optimizer, Adam | AdamW)
    name, own = ("beta1", optimizer.betas[0]) if adam else ("momentum", optimizer.momentum)
    return f"; {name} from {schedule.max_momentum:g} to {schedule.base_momentum:g} and back in place of {own:g}"
