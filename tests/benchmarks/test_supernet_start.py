"""Short trainings of a supernet that differ in how they start, and the command that makes them."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from rich.progress import Progress
from torch import Tensor

from monai_nas.benchmarks import supernet_start
from monai_nas.benchmarks.supernet_start import SETTINGS, Start, main, record_of, teach
from monai_nas.data.loaders import load_cases
from monai_nas.files import read_json
from monai_nas.pipelines.judging import foreground_region
from monai_nas.pipelines.one_shot_preset import one_shot_preset_named
from monai_nas.pipelines.run_folder import fold_cases, plan_for, sound_cases
from monai_nas.strategies import OneShotConfig
from monai_nas.tasks.task import load_task


def test_each_setting_is_one_change_further() -> None:
    for one, other in pairwise(map(record_of, SETTINGS.values())):
        assert sum(one[name] != other[name] for name in one) == 1
    assert SETTINGS["twice_the_rate"] == Start(OneShotConfig()), "as it is shipped"


def test_a_training_starts_as_asked_and_is_judged(phantoms: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supernet_start, "JUDGED", 2)
    task, values = load_task(None, phantoms), one_shot_preset_named("cpu")
    learn, held, _ = fold_cases(sound_cases(phantoms, task), 0)
    plan = replace(values.adapt(plan_for(None, learn, task)), width=4, batch_size=1, patch_size=(48, 16, 16))
    compute = supernet_start.choose_compute()
    items = load_cases(learn, task, plan)
    regions = [foreground_region(item, plan) for item in load_cases(held[:1], task, plan)]
    biases, kernels, optimizers = list[Tensor](), list[Tensor](), list[str]()
    build = supernet_start.build_one_shot

    def watched(*arguments: Any) -> Any:
        searcher = build(*arguments)
        optimizers.append(type(searcher.optimizer).__name__)
        state = searcher.supernet.state_dict()
        biases.append(state["head.conv.bias"])
        kernels.append(state["blocks.0.nodes.0.paths.0-0.operations.conv_3x3x3.transform.weight"])
        return searcher

    monkeypatch.setattr(supernet_start, "build_one_shot", watched)
    for rare in (True, False):
        start = Start(OneShotConfig(warmup_steps=1), rare_foreground=rare, alike=rare, adafactor=rare)
        with Progress(disable=True) as bar:
            found = teach(items, regions, plan, start, values=values, seed=0, steps=2, compute=compute, bar=bar)
        assert len(found["dice_percent"]) == 2 and all(0 <= dice <= 100 for dice in found["dice_percent"])
        assert found["loss"] > 0
    assert optimizers == ["Adafactor", "Adam"]
    first = [float(bias.softmax(0)[0]) for bias in biases]  # trained for two steps since
    assert first[0] > 0.9 and first[1] < 0.6
    middles = [float(kernel.diagonal()[1, 1, 1].mean() / kernel.std()) for kernel in kernels]
    assert middles[0] > 3 and middles[1] < 2, "a skip connection in the middle, and none"


def test_the_command_writes_each_training_once(phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []

    def taught(*arguments: Any, seed: int, **_: Any) -> dict[str, Any]:
        seeds.append(seed)
        return {"seed": seed, "loss": 1.0 + seed, "dice_percent": [10.0, 20.0 + 20 * seed]}

    monkeypatch.setattr(supernet_start, "teach", taught)
    out = tmp_path / "start.json"
    words = ["--data", str(phantoms), "--out", str(out), "--steps", "2", "--settings", "no_assistant"]
    main([*words, "--seeds", "0"])
    main(words)
    assert seeds == [0, 1]
    assert read_json(out)["settings"]["alike"] is None
    found = read_json(out)["settings"]["no_assistant"]
    assert found["loss"] == 1.5 and found["dice_percent"] == 20.0 and found["dice_percent_by_seed"] == [15.0, 25.0]
    with pytest.raises(SystemExit):
        main([*words[:4], "--steps", "3"])
    monkeypatch.setitem(SETTINGS, "no_assistant", Start(OneShotConfig(assistant="none", rate=1.0)))
    with pytest.raises(SystemExit):
        main([*words, "--seeds", "2"])
