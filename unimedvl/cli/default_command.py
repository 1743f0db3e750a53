"""A group of commands one of which need not be named: what follows the group's name is its first argument."""

from __future__ import annotations

from typer.core import TyperGroup


class DefaultCommandGroup(TyperGroup):
    """`group X` is `group run X`, unless X is one of the group's commands or asks for help.

    A file that is called as a command is must be given with its folder, as in ./plan.
    """

    default = "run"

    def parse_args(self, ctx, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [self.default, *args]
        return super().parse_args(ctx, args)
