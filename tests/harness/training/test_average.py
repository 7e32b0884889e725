"""The moving average: what it keeps of each step, and that it is torch's own."""

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from harness.plans.hyperparameters import SGD
from harness.plans.spec import Circumstances, Recipe
from harness.training.average import Average
from harness.training.build import new_state
from harness.training.loop import take_step


def test_the_average_follows_the_weights(recipe: Recipe, circumstances: Circumstances) -> None:
    """The first step sets it to them; each further one keeps `ema_decay` of it; BatchNorm's statistics are averaged
    alike."""
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 3))
    averaged = recipe.model_copy(update={"ema_decay": 0.75, "optimizer": SGD(lr=0.5)})
    state = new_state(model, averaged, circumstances, lr=0.5, images=48)
    autocast, followed = torch.autocast("cpu", enabled=False), []
    for step in range(3):
        take_step(state, torch.randn(16, 1, 2, 2) + step, torch.arange(16) % 3, averaged, autocast)
        followed.append({name: value.clone() for name, value in model.state_dict().items()})
    for name, value in state.network.state_dict().items():
        if value.is_floating_point():
            expected = 0.75**2 * followed[0][name] + 0.25 * 0.75 * followed[1][name] + 0.25 * followed[2][name]
            torch.testing.assert_close(value, expected)


def test_the_average_is_torchs() -> None:
    """Bit for bit what AveragedModel makes of the same steps, but for whole numbers, which it averages too."""
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 2), torch.nn.BatchNorm2d(4), torch.nn.Flatten())
    ours, torchs = Average(model, 0.75), AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.75), use_buffers=True)
    for step in range(4):
        model(torch.randn(8, 1, 3, 3) + step)
        with torch.no_grad():
            model.get_parameter("0.weight").add_(torch.randn(4, 1, 2, 2))
        ours.follow(model, step)
        torchs.update_parameters(model)
    expected = torchs.module.state_dict()
    for name, value in ours.module.state_dict().items():
        assert torch.equal(value, expected[name] if value.is_floating_point() else torch.tensor(1))
