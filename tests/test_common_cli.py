"""Options from a file and from the command line, exit codes, and what a person sees."""

import io
import signal
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from examples.common import cli, options
from examples.common.config import TrainConfig
from examples.common.progress import Display
from examples.common.stop import Stopped


@dataclass(frozen=True)
class Inner:
    features: tuple[int, ...] = (1, 2)
    residual: bool = True
    data: str | None = "here"


@dataclass(frozen=True)
class Task:
    inner: Inner = field(default_factory=Inner)
    loss: str = "l1"


DEFAULTS = TrainConfig(steps=7, profile=(1, 2))


def call(*arguments, raises=None):
    """The exit code, and what the command got."""
    got = []

    def train(task: Task, config: TrainConfig = DEFAULTS) -> None:
        """Train."""
        got.extend([task, config])
        if raises:
            raise raises

    def other(*, out: Path = Path("x")) -> None:
        got.append(out)

    code = cli.run({"train": train, "other": other}, "python -m x", [str(a) for a in arguments])
    return code, got


def file(folder, text):
    (folder / "c.yaml").write_text(text)
    return folder / "c.yaml"


def test_the_command_line_wins_over_the_file_over_the_defaults(tmp_path):
    path = file(
        tmp_path,
        "learning_rate: 1e-4\nsteps: 9\nfeatures: [3, 4, 5]\nresidual: false\ndata: null\nprofile: null\n"
        "milestones: [0.2]\nout: some/where\n",
    )
    code, (task, config) = call("train", "--steps", 11, "--config", path, "--loss", "l2")
    assert code == 0
    assert task == Task(Inner((3, 4, 5), False, None), "l2")
    wanted = {"learning_rate": 1e-4, "steps": 11, "profile": None, "milestones": (0.2,)}
    assert config == replace(DEFAULTS, out=Path("some/where"), **wanted)
    _, (task, config) = call("train", f"--config={path}", "--residual", "--features", 6, "--steps=3")
    assert (task.inner.residual, task.inner.features, config.steps) == (True, (6,), 3)


def test_the_file_of_a_run_gives_the_same_run(tmp_path):
    task = Task(Inner(features=(7,), residual=False, data=None), "l3")
    config = replace(DEFAULTS, learning_rate=3e-5, fsdp=True, out=tmp_path)
    options.write(tmp_path / "config.yaml", task, config)
    assert call("train", "--config", tmp_path / "config.yaml") == (0, [task, config])
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["features"] == [7]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("learning_rat: 1", "there is no option learning_rat; the nearest one is learning_rate"),
        ("residul: true", "the nearest one is residual"),
        ("[1, 2", "is not YAML"),
        ("- steps", "is not a list of options: write NAME: VALUE"),
        ("steps:\n  many: 3", "steps has options below it"),
        (None, "no file"),
    ],
)
def test_a_file_that_is_wrong_is_one_line(tmp_path, capsys, text, complaint):
    path = tmp_path / "missing" if text is None else file(tmp_path, text)
    assert call("train", "--config", path) == (2, [])
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert complaint in error


def test_a_value_that_is_wrong_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        call("train", "--config", file(tmp_path, "steps: many"))
    assert end.value.code == 2
    assert "steps" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (ValueError("that is wrong"), 2, "error: that is wrong"),
        (OSError("no room"), 2, "error: no room"),
        (Stopped(signal.SIGTERM, 8), 143, "SIGTERM: step 8 is saved; the same command goes on from there"),
        (Stopped(signal.SIGINT, 8), 130, "SIGINT: step 8 is saved"),
        (KeyboardInterrupt(), 130, "the same command goes on from the last checkpoint"),
    ],
)
def test_exit_codes(capsys, error, code, words):
    assert call("train", raises=error)[0] == code
    assert words in capsys.readouterr().err


def test_help_is_of_all_commands(capsys):
    assert call("--help")[0] == 0
    text = capsys.readouterr().out
    words = set(text.replace(",", " ").split())
    assert {"--config", "--learning-rate", "--no-residual", "--features"} <= words


# The display.


def log(interval, terminal=False):
    text = io.StringIO()
    display = Display(Console(file=text, width=100, force_terminal=terminal), interval=interval)
    assert list(display.track("reading")("abc")) == list("abc")
    with display.status("waiting"), display.training(10, 4) as bar:
        bar.advance(5)
        bar.show(6, loss=0.25, gradient_norm=3.0)
        assert list(display.track("evaluating")(range(2))) == [0, 1]
        bar.measured(8, held_out_score=31.0625)
    return text.getvalue()


def test_a_log_has_plain_lines_now_and_then():
    assert log(0.0).splitlines() == [
        *("reading 1/3", "reading 2/3", "reading 3/3"),
        "step 6/10  loss 0.25  gradient norm 3  0:00:00 left",
        *("evaluating 1/2", "evaluating 2/2"),
        "step 8/10  loss 0.25  gradient norm 3  held out score 31.06  0:00:00 left",
    ]
    assert log(60.0).splitlines() == [
        "step 8/10  loss 0.25  gradient norm 3  held out score 31.06  0:00:00 left"
    ]


def test_a_terminal_has_bars():
    text = log(0.0, terminal=True)
    assert "training" in text
    assert "evaluating" in text
    assert "reading 1/3" not in text
    assert text.count("held out score 31.06") >= 1
    assert "\x1b[" in text
