"""`unisono train`: a recipe is planned, started, or taken up where it stopped."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unisono.errors import RecipeError

if TYPE_CHECKING:
    from unisono.training.recipe import Recipe


def train(
    recipe: Annotated[
        str | None,
        typer.Argument(
            metavar="RECIPE", help="A name of --list, or a YAML file.", show_default=False
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE...", help="Changes: stages.0.optimizer.lr=1e-4."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan: needs no data, weights or GPU.")
    ] = False,
    ranks: Annotated[
        int | None, typer.Option(min=1, help="Processes that --dry-run counts with.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin anew; the run that is there is thrown away.")
    ] = False,
    names: Annotated[bool, typer.Option("--list", help="Print the recipes there are.")] = False,
) -> None:
    """Pretrain, align or fine-tune a model as a recipe says.

    Stopped or killed, the same command goes on where the last checkpoint was. On several GPUs:
    torchrun --nproc-per-node 8 -m unisono train RECIPE.
    """
    if names:
        _print_names()
        return
    if recipe is None:
        raise RecipeError("a recipe must be named; `unisono train --list` names those there are")
    from unisono.training.plan import make_plan
    from unisono.training.plan_show import show
    from unisono.training.recipe_read import read_recipe
    from unisono.training.strategies import arranged

    chosen = arranged(read_recipe(recipe, overrides or ()))
    if dry_run:
        show(make_plan(chosen, ranks=ranks))
        return
    _make_data(chosen)
    from unisono.training.distributed import leave
    from unisono.training.run import train as run

    folder = run(chosen, resume=not fresh)
    if _is_first():
        typer.echo(f"model: {folder}")
    leave()


def _make_data(recipe: "Recipe") -> None:
    """Make what the recipe's sources need and is not there, if the recipe says what makes it.

    Raises:
        RecipeError: something is missing, but there are several processes.
    """
    if recipe.data is None:
        return
    from torch.distributed import is_torchelastic_launched

    from unisono.picturebook.build import STEPS, build, missing

    data = Path(str(recipe.data_dir))
    wanted = needed_steps(recipe, [step.name for step in STEPS])
    if not (lacking := missing(data, wanted)):
        return
    if is_torchelastic_launched():
        raise RecipeError(
            f"there is no {', '.join(lacking)} in '{data}': make the data with one process, "
            f"unisono picturebook {' '.join(lacking)} --to '{data}'"
        )
    typer.echo(f"making the data in '{data}': {', '.join(lacking)}", err=True)
    build(data, wanted)


def needed_steps(recipe: "Recipe", steps: Collection[str]) -> list[str]:
    """The steps whose folders a recipe reads, of those there are."""
    used = {name for stage in recipe.stages for name in stage.mixture}
    paths = [recipe.sources[name].path for name in sorted(used)]
    each = [one for path in paths for one in ([path] if isinstance(path, str) else path)]
    tokenizer = Path(recipe.model.tokenizer or "")
    if recipe.data_dir and tokenizer.is_relative_to(recipe.data_dir):
        each.append(str(tokenizer.relative_to(recipe.data_dir)))
    folders = [Path(path).parts[0] for path in each]
    return [step for step in steps if step in folders]


def _is_first() -> bool:
    """Whether this process is the one of a run that speaks."""
    from torch import distributed

    return not distributed.is_initialized() or distributed.get_rank() == 0


def _print_names() -> None:
    from rich.console import Console
    from rich.table import Table

    from unisono.training.recipe_read import read_recipe, recipe_names

    table = Table("recipe", "what it does")
    for name in recipe_names():
        table.add_row(name, read_recipe(name).title)
    Console().print(table)
