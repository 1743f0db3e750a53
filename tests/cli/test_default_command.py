"""A group whose command need not be named: its first argument may follow the group's name."""

from __future__ import annotations

from typing import Annotated

import pytest
import typer
from typer import Argument

from unimedvl.cli.command import command, ended
from unimedvl.cli.default_command import DefaultCommandGroup


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer(context_settings={"help_option_names": ["-h", "--help"]})

    @app.callback()
    def _program() -> None:
        pass

    group = typer.Typer(cls=DefaultCommandGroup, help="All of it.", no_args_is_help=True)

    def run(file: str, values: Annotated[list[str] | None, Argument()] = None, loud: bool = False) -> None:
        typer.echo(f"run {file} {values or []} {loud}")

    def plan(file: str) -> None:
        typer.echo(f"plan {file}")

    for function in (run, plan):
        command(group)(function)
    app.add_typer(group, name="train")
    return app


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a.yaml"], "run a.yaml [] False"),
        (["a.yaml", "k=1", "l.m=2"], "run a.yaml ['k=1', 'l.m=2'] False"),
        (["a.yaml", "--loud", "k=1"], "run a.yaml ['k=1'] True"),
        (["--loud", "a.yaml"], "run a.yaml [] True"),
        (["run", "a.yaml"], "run a.yaml [] False"),
        (["./plan"], "run ./plan [] False"),
        (["plan", "a.yaml"], "plan a.yaml"),
    ],
)
def test_arguments_reach_their_command(app, arguments, said, capsys):
    assert ended(app, ["train", *arguments]) == 0
    assert capsys.readouterr().out.strip() == said


@pytest.mark.parametrize("wish", ["-h", "--help"])
def test_help_is_the_groups(app, wish, capsys):
    assert ended(app, ["train", wish]) == 0
    out = capsys.readouterr().out
    assert "All of it." in out and "plan" in out and "run" in out


def test_a_wrong_option_is_told_with_where_to_read_on(app, capsys):
    assert ended(app, ["train", "a.yaml", "--wrong"]) == 2
    assert "train run --help" in capsys.readouterr().err
