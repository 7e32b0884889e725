"""Overrides: what SET reads, which fields follow a change of name, and every refusal's one line."""

from typing import Any

import pytest
from pydantic import ValidationError

from harness.plans.hyperparameters import SGD, Adam, AdamW, Cosine, LRFinder, OneCycle, Optimizer, Step, kinds
from harness.plans.overrides import apply, around, explain, parse
from harness.plans.spec import DATASETS, Circumstances, Data, Model, Recipe, Transform
from harness.values import SpecError

DATA = Data(name="cifar10", title="CIFAR", image_size=32, mean=(0.5,), std=(0.2,), validation_fraction=0.1)
RECIPE = Recipe(
    data=DATA, model=Model(name="norm_cnn", norm="batch"), optimizer=SGD(lr=0.1), schedule=OneCycle(), epochs=5
)
FLIP = Transform(name="HorizontalFlip", p=0.5)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("epochs=2 batch_size=256", {"epochs": 2, "batch_size": 256}),
        ("optimizer.lr=1e-3", {"optimizer.lr": 0.001}),
        ("optimizer.betas=[0.8,0.9]", {"optimizer.betas": [0.8, 0.9]}),
        ("a=true b=True c=false d=False", {"a": True, "b": True, "c": False, "d": False}),
        ("a=null b=None c=", {"a": None, "b": None, "c": ""}),
        ("model.norm=group", {"model.norm": "group"}),
        ("data.title='CIFAR-10 (JPEG)'", {"data.title": "CIFAR-10 (JPEG)"}),
        ("data.title='\"10\"'", {"data.title": "10"}),
        ("data.name=folder:/a=b", {"data.name": "folder:/a=b"}),
        ("epochs=" + "9" * 5000, {"epochs": "9" * 5000}),
        ("epochs=" + "[" * 5000, {"epochs": "[" * 5000}),
    ],
)
def test_set_is_read_as_json_or_else_words(text: str, found: dict[str, Any]) -> None:
    """Numbers, lists, true, null as JSON has them, Python's words for them too; the rest stays text."""
    assert parse(text) == found
    assert [type(value) for value in parse(text).values()] == [type(value) for value in found.values()]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epochs", "SET must be field=value, separated by spaces; got 'epochs'"),
        (
            "epochs=5,optimizer.lr=1",
            "SET must be field=value, separated by spaces, not commas; got 'epochs=5,optimizer.lr=1'",
        ),
        ("=2", "SET must be field=value, separated by spaces; got '=2'"),
        ("epochs=1 epochs=2", "SET gives `epochs` twice; keep one"),
        ("data.title='x", 'SET cannot be read: No closing quotation; got "data.title=\'x"'),
    ],
)
def test_a_set_that_cannot_be_read_is_refused(text: str, said: str) -> None:
    """What is not field=value is said as it was given."""
    with pytest.raises(SpecError) as caught:
        parse(text)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("optimizer.betas=[0.8,0.9] optimizer.name=adam", "optimizer", Adam(lr=0.1, betas=(0.8, 0.9))),
        ("optimizer.name=adamw", "optimizer", AdamW(lr=0.1, weight_decay=0.0)),
        ("schedule.name=step", "schedule", Step()),
        ("schedule.warmup_epochs=1 schedule.name=cosine", "schedule", Cosine(warmup_epochs=1.0)),
        ("model.dropout=0.1", "model", Model(name="norm_cnn", norm="batch", dropout=0.1)),
        ("model.name=resnet", "model", Model(name="resnet")),
        ("model.name=norm_cnn", "model", Model(name="norm_cnn", norm="batch")),
        ("model.head_bias=true model.name=resnet", "model", Model(name="resnet", head_bias=True)),
        ("data.name=mnist", "data", Data(name="mnist", validation_fraction=0.1)),
        ("data.name=cifar10", "data", DATA),
        ("data.mean=[0.1] data.std=[0.3] data.name=mnist", "data.mean", (0.1,)),
        ("lr_finder.start_lr=1e-5", "lr_finder", LRFinder(start_lr=1e-5)),
        ("clip_norm=1", "clip_norm", 1.0),
    ],
)
def test_a_change_reaches_its_field(text: str, field: str, value: object) -> None:
    """Names first, in whatever order they are typed: another optimizer or schedule keeps the fields it shares, another
    model starts anew, another data set drops the old one's title, size and statistics. The same name changes nothing.
    """
    changed = apply(RECIPE, parse(text))
    for part in field.split("."):
        changed = getattr(changed, part)
    assert repr(changed) == repr(value)


def test_an_experiment_may_give_values_whole() -> None:
    """Variants set tuples of transforms, optimizers and None as the values they are; a part given with its whole wins,
    in whatever order."""
    variant = {"optimizer.lr": 0.5, "optimizer": Adam(lr=0.1), "augmentation": (FLIP,), "lr_finder": LRFinder()}
    changed = apply(RECIPE, variant)
    assert changed.augmentation == (FLIP,)
    assert changed.optimizer == Adam(lr=0.5)
    assert apply(changed, {"lr_finder": None}).lr_finder is None


def test_circumstances_are_changed_by_their_own_rules() -> None:
    """What may be set is set, and what breaks a rule is refused in one line."""
    changed = around(Circumstances(), {"threads": 2, "device": "cpu"})
    assert changed == Circumstances(threads=2, device="cpu")
    for name, value, said in (
        ("device", "tpu", "`device` must be auto, cpu, mps, cuda or cuda:<number>; got 'tpu'"),
        ("threads", 0, "`threads` must be greater than or equal to 1 or 'auto'; got 0"),
        ("step", "fused", "`step` must be 'auto', 'eager', 'compiled' or 'stacked'; got 'fused'"),
    ):
        with pytest.raises(SpecError) as caught:
            around(Circumstances(), {name: value})
        assert str(caught.value) == said


def test_no_change_is_the_same_recipe() -> None:
    """And a change leaves the recipe that it came from as it was."""
    assert apply(RECIPE, {}) == RECIPE
    apply(RECIPE, {"data.name": "digits", "epochs": 1})
    assert (RECIPE.epochs, RECIPE.data.name) == (5, "cifar10")


MODEL_OPTION = "must be a valid boolean or a valid integer or a finite number or a valid string"
OPTIMIZERS, CLASSES = ", ".join(kinds(Optimizer)), ", ".join(kind.__name__ for kind in kinds(Optimizer).values())
DATA_NAME = f"`data.name` must be one of {', '.join(DATASETS)}, "
DATA_NAME += "folder:PATH, csv:PATH, npz:PATH or torchvision/<name>"
REFUSED = [
    ("epochs=0", "`epochs` must be greater than or equal to 1; got 0"),
    ("epochs=2.0", "`epochs` must be a valid integer; got 2.0"),
    ("epochs=true", "`epochs` must be a valid integer; got True"),
    ("epochs=1e400", "`epochs` must be a valid integer; got inf"),
    ("epochs=two", "`epochs` must be a valid integer; got 'two'"),
    ("batch_size=0", "`batch_size` must be greater than or equal to 1; got 0"),
    ("batch_size=-3", "`batch_size` must be greater than or equal to 1; got -3"),
    ("label_smoothing=1", "`label_smoothing` must be less than 1; got 1"),
    ("clip_norm=0", "`clip_norm` must be greater than 0; got 0"),
    ("precision=fp16", "`precision` must be 'auto', 'fp32' or 'bf16'; got 'fp16'"),
    ("lr=0.1", "`lr` is not a field; did you mean 'optimizer.lr'?"),
    ("threds=1", "`threds` is not a field; did you mean 'threads'?"),
    ("optimizer.lr=-1", "`optimizer.lr` must be greater than 0 or 'find'; got -1"),
    ("optimizer.lr=fnid", "`optimizer.lr` must be a valid number or 'find'; got 'fnid'"),
    ("optimizer.lr=NaN", "`optimizer.lr` must be a finite number or 'find'; got nan"),
    ("optimizer.lr=find", "optimizer.lr is 'find', so lr_finder must be given (start_lr, end_lr, iterations)"),
    ("optimizer.name=adm",
     f"`optimizer.name` must be one of {OPTIMIZERS}; got 'adm'; did you mean 'adam' or 'adamw'?"),
    ("optimizer.name=adam optimizer.betas=[0.9]", "`optimizer.betas.1` must be given"),
    ("optimizer.name=adam optimizer.betas=[0.9,2]", "`optimizer.betas.1` must be less than 1; got 2"),
    ("optimizer.nesterov=true optimizer.momentum=0", "`optimizer`: nesterov needs a momentum above 0"),
    ("schedule.name=cosin",
     "`schedule.name` must be one of onecycle, step, cosine, constant; got 'cosin'; did you mean 'cosine'?"),
    ("schedule.name=cosine schedule.warmup_epochs=9", "schedule.warmup_epochs must be below epochs; got 9.0 and 5"),
    ("lr_finder.start_lr=2", "`lr_finder`: start_lr must be below end_lr; got 2.0 and 1.0"),
    ("model.dropout=NaN", f"`model.dropout` {MODEL_OPTION}; got nan"),
    ("model.name=3", "`model.name` must be a valid string; got 3"),
    ("data.name=cifar", f"{DATA_NAME}; got 'cifar'; did you mean 'cifar10' or 'cifar100'?"),
    ("data.name=folder:", f"{DATA_NAME}; got 'folder:'"),
    ("data.name=digits.npz", f"{DATA_NAME}; got 'digits.npz'; did you mean 'npz:digits.npz'?"),
    ("data.name=my/table.CSV", f"{DATA_NAME}; got 'my/table.CSV'; did you mean 'csv:my/table.CSV'?"),
    ("data.name=my/pets", f"{DATA_NAME}; got 'my/pets'; did you mean 'folder:my/pets'?"),
    ("data.name=Folder:a", f"{DATA_NAME}; got 'Folder:a'; did you mean 'folder:a'?"),
    ("data.name=MNIST", f"{DATA_NAME}; got 'MNIST'; did you mean 'mnist' or 'fashion_mnist'?"),
    ("seeds=3", "`seeds` is not a field of the recipe; it is set by SEEDS=, outside SET"),
    ("data.mean=null", "`data`: mean and std must be given together, one number a channel"),
    ("data.mean=[1,1]", "`data`: mean and std must be given together, one number a channel"),
    ("data.std=[0]", "`data.std.0` must be greater than 0; got 0"),
    ("data.title=\udcff",
     "`data.title` must be in UTF-8; got '\\udcff': rename what it names"),
    ("augmentation=none", "`augmentation` must be a list, as [] where there is none; got 'none'"),
    ("augmentation=[{}]", "`augmentation.0.name` must be given"),
    ("epoch=1", "`epoch` is not a field; did you mean 'epochs'?"),
    ("optimizer.betas=[0.8,0.9]",
     "`optimizer.betas` is not a field; did you mean 'optimizer.name' or 'optimizer.lr' or 'optimizer.nesterov'?"),
    ("a.b=1", "`a.b` is not a field; its fields: data, model, optimizer, schedule, augmentation, lr_finder, epochs, "
              "batch_size, label_smoothing, clip_norm, ema_decay, test_time_flip, precision"),
    ("optimzer.lr=1", "`optimzer.lr` is not a field; did you mean 'optimizer'?"),
    ("optimizer.lr.x=1", "`optimizer.lr.x` is not a field: `optimizer.lr` has no parts; set it whole"),
    ("model=resnet",
     "`model` must be set by its parts (model.name, model.norm); got 'resnet'; did you mean model.name=resnet?"),
    ("lr_finder=5", "`lr_finder` must be an object; got 5"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), REFUSED, ids=[text for text, _ in REFUSED])
def test_a_refused_override_says_field_rule_and_value(text: str, said: str) -> None:
    """Every rule that SET can break, in exactly these words."""
    with pytest.raises(SpecError) as caught:
        apply(RECIPE, parse(text))
    assert str(caught.value) == said


def test_a_long_value_is_cut_in_its_message() -> None:
    """A refusal stays a line that can be read."""
    with pytest.raises(SpecError, match=r"^`epochs` must be a valid integer; got '9{99}…$"):
        apply(RECIPE, {"epochs": "9" * 5000})


def test_a_value_that_no_recipe_holds_is_refused() -> None:
    """An experiment file can hold anything; what JSON cannot is refused by its type, whatever its text looks like."""
    said = (
        "^`augmentation` must be a number, text, true, false, null or a list of these: set is not a value of a recipe$"
    )
    with pytest.raises(SpecError, match=said):
        apply(RECIPE, {"augmentation": {FLIP.name}})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("epochs", "two"),
        ("batch_size", 0),
        ("label_smoothing", -0.1),
        ("clip_norm", -1.0),
        ("precision", "fp16"),
    ],
)
def test_a_file_and_an_override_are_refused_alike(field: str, value: object) -> None:
    """The same words for the same value, whether it stands in an experiment file or in SET."""
    given: dict[str, Any] = dict(RECIPE) | {field: value}
    with pytest.raises(ValidationError) as in_file:
        Recipe(**given)
    with pytest.raises(SpecError) as in_set:
        apply(RECIPE, {field: value})
    assert explain(in_file.value) == str(in_set.value)


@pytest.mark.parametrize(
    ("kind", "arguments", "said"),
    [
        (SGD, {"lr": 0.1, "nestrov": True}, "`nestrov` is not a field; did you mean 'nesterov'?"),
        (SGD, {"lr": 0.1, "xyz": 1}, "`xyz` is not a field; its fields: name, lr, momentum, nesterov, weight_decay"),
        (SGD, {}, "`lr` must be given"),
        (Model, {"name": "m", "norm": [1]}, "`norm` " + MODEL_OPTION.replace("finite", "valid") + "; got [1]"),
        (Recipe, dict(RECIPE) | {"optimizer": "sgd"}, f"`optimizer` must be one of {CLASSES}; got 'sgd'"),
        (Recipe, dict(RECIPE) | {"optimizer": {"lr": 1}}, f"`optimizer.name` must be given, one of {OPTIMIZERS}"),
        (
            Recipe,
            dict(RECIPE) | {"optimizer": {"name": "adam", "lr": 1.0, "beta": 0}},
            "`optimizer.beta` is not a field; did you mean 'betas'?",
        ),
        (
            Recipe,
            dict(RECIPE) | {"lr_finder": {"star_lr": 1.0}},
            "`lr_finder.star_lr` is not a field; did you mean 'start_lr'?",
        ),
    ],
)
def test_a_slip_in_a_file_is_answered_with_the_fields_of_what_was_being_made(
    kind: Any, arguments: dict[str, Any], said: str
) -> None:
    """SGD(nestrov=…) offers SGD's fields, an optimizer inside a recipe its own."""
    with pytest.raises(ValidationError) as caught:
        kind(**arguments)
    assert explain(caught.value) == said
