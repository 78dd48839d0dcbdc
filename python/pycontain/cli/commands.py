"""The commands by name, the options before them, and how their mistakes are told."""

import os
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Annotated, Any

import typer
from typer._click.core import Command, Context
from typer._click.exceptions import BadOptionUsage, BadParameter, MissingParameter, NoSuchOption, UsageError
from typer._click.formatting import HelpFormatter
from typer._click.globals import get_current_context
from typer.core import TyperCommand, TyperGroup

# name: (module, what it does); the module has a function `command`, which typer makes the command of
COMMANDS = {
    "run": ("run", "Create a container from an image and run a command in it"),
    "attach": ("attach", "Show what a container writes, and let it read what is typed"),
    "commit": ("commit", "Make an image of a container"),
    "cp": ("cp", "Copy files between a container and the host"),
    "create": ("create", "Make a container, and start nothing"),
    "diff": ("diff", "Show what a container changed in its image"),
    "events": ("events", "Show what happens, as it happens"),
    "exec": ("exec", "Run a command in a container that runs"),
    "export": ("export", "Write the files of a container as a tar"),
    "history": ("history", "Show how an image was made"),
    "images": ("images", "List images"),
    "import": ("import_", "Make an image of a tar archive of files"),
    "inspect": ("inspect", "Show all about containers, images, networks and volumes"),
    "kill": ("kill", "Send a signal to containers"),
    "load": ("load", "Load images from an archive"),
    "login": ("login", "Log in to a registry"),
    "logout": ("logout", "Log out of a registry"),
    "logs": ("logs", "Show what a container wrote"),
    "pause": ("pause", "Let nothing in containers run"),
    "port": ("port", "Show which ports of a container are published"),
    "ps": ("ps", "List containers"),
    "pull": ("pull", "Fetch an image from its registry"),
    "push": ("push", "Send an image to its registry"),
    "rename": ("rename", "Give a container another name"),
    "restart": ("restart", "Stop containers and start them"),
    "rm": ("rm", "Remove containers"),
    "rmi": ("rmi", "Remove images"),
    "save": ("save", "Write images to an archive"),
    "search": ("search", "Look for images in a registry"),
    "start": ("start", "Start containers"),
    "stats": ("stats", "Show what containers use"),
    "stop": ("stop", "Stop containers"),
    "tag": ("tag", "Give an image another name"),
    "top": ("top", "Show the processes of a container"),
    "unpause": ("unpause", "Let paused containers go on"),
    "update": ("update", "Change limits and the restart policy of containers"),
    "version": ("version", "Show which versions are at work"),
    "wait": ("wait", "Wait until containers do not run"),
}
_OF_CONTAINERS = (
    "attach commit cp create diff exec export kill logs pause port rename restart rm run start stats stop "
    "top unpause update wait"
).split()
# name: (what it is about, its commands); `pycontain image rm` is the same function as `pycontain rmi`
GROUPS = {
    "checkpoint": (
        "Manage checkpoints of processes",
        {"create": ("checkpoint_create", "Write down the processes of a container: not possible yet")},
    ),
    "container": (
        "Manage containers",
        {
            **{name: COMMANDS[name] for name in _OF_CONTAINERS},
            "fork": ("fork", "Make a container from the files of another as they are now"),
            "load": ("container_load", "Make a container of an archive"),
            "save": ("container_save", "Write a container as an archive, for another machine"),
            "inspect": ("container_inspect", "Show all about containers"),
            "ls": COMMANDS["ps"],
            "prune": ("container_prune", "Remove all containers that do not run"),
        },
    ),
    "image": (
        "Manage images",
        {
            "bootstrap": ("image_bootstrap", "Make a base image from a distribution's package mirror"),
            "history": COMMANDS["history"],
            "import": COMMANDS["import"],
            "inspect": ("image_inspect", "Show all about images"),
            "load": COMMANDS["load"],
            "ls": COMMANDS["images"],
            "prune": ("image_prune", "Remove images that nothing uses"),
            "pull": COMMANDS["pull"],
            "push": COMMANDS["push"],
            "rm": COMMANDS["rmi"],
            "save": COMMANDS["save"],
            "tag": COMMANDS["tag"],
        },
    ),
    "manifest": (
        "Look at manifests in registries",
        {"inspect": ("manifest_inspect", "Show the manifest or index of an image as its registry has it")},
    ),
    "network": (
        "Manage networks",
        {
            "connect": ("network_connect", "Let a container be in a network"),
            "create": ("network_create", "Make a network"),
            "disconnect": ("network_disconnect", "Take a container out of a network"),
            "inspect": ("network_inspect", "Show all about networks"),
            "ls": ("network_ls", "List networks"),
            "prune": ("network_prune", "Remove networks that nothing uses"),
            "rm": ("network_rm", "Remove networks"),
        },
    ),
    "system": (
        "Manage what is kept on disk",
        {
            "df": ("system_df", "Show what is kept on disk"),
            "events": COMMANDS["events"],
            "prune": ("system_prune", "Remove what nothing uses"),
            "start": ("system_start", "Start the containers that are to run after a boot"),
        },
    ),
    "volume": (
        "Manage volumes",
        {
            "create": ("volume_create", "Make a volume"),
            "export": ("volume_export", "Write the files of a volume as a tar"),
            "import": ("volume_import", "Fill an empty volume with the files of a tar"),
            "inspect": ("volume_inspect", "Show all about volumes"),
            "ls": ("volume_ls", "List volumes"),
            "prune": ("volume_prune", "Remove volumes that no container uses"),
            "rm": ("volume_rm", "Remove volumes"),
        },
    ),
}
# what else docker calls them
ALIASES = {"list": "ls", "remove": "rm"}
_TRUTH = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
_QUIET: Any = {"rich_markup_mode": None, "add_completion": False, "pretty_exceptions_enable": False}


class DockerCommand(TyperCommand):
    """A command whose flags may be given a truth: `--rm=true`, `-it=false`."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Docker's spellings first, then as ever."""
        return super().parse_args(ctx, self._without_truths(ctx, args))

    def collect_usage_pieces(self, ctx: Context) -> list[str]:
        """What has to be given stands plain, as in docker's manual; typer puts it in braces."""
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]

    def _without_truths(self, ctx: Context, args: list[str]) -> list[str]:
        flags: set[str] = set()
        valued: set[str] = set()
        negations: dict[str, str] = {}
        for param in self.get_params(ctx):
            (flags if getattr(param, "is_flag", False) else valued).update(param.opts)
            if param.secondary_opts:
                negations.update(dict.fromkeys(param.opts, param.secondary_opts[0]))
        result: list[str] = []
        rest = iter(args)
        for word in rest:
            if word == "--" or (
                not (word.startswith("-") and word != "-") and not ctx.allow_interspersed_args
            ):
                return [*result, word, *rest]
            name, equals, value = word.partition("=")
            letters = [f"-{letter}" for letter in name[1:]] if not name.startswith("--") else [name]
            if equals and letters and flags.issuperset(letters):
                if value.lower() not in _TRUTH:
                    raise BadOptionUsage(
                        name, f"invalid value `{value}` for `{name}`: must be true or false", ctx
                    )
                if _TRUTH[value.lower()]:
                    result.append(name)
                else:  # what is off by default is left out
                    result += [negations[letter] for letter in letters if letter in negations]
                continue
            of_last = bool(letters) and flags.issuperset(letters[:-1]) and letters[-1] in valued
            glued = equals and value and of_last and not name.startswith("--")
            result.append(f"{name}{value}" if glued else word)
            # an option that is still without its value takes the next word, whatever that looks like
            if not equals and of_last:
                result += [following] if (following := next(rest, None)) is not None else []
        return result


class Group(TyperGroup):
    """Commands below one name; each one's module is imported when it is asked for."""

    table: Mapping[str, tuple[str, str]]

    @classmethod
    def of(cls, name: str) -> "Group":
        """The group of this name; alone it shows its help, as docker's do."""
        text, table = GROUPS[name]
        group = cls(
            name=name,
            help=f"{text}.",
            callback=_show_help,
            invoke_without_command=True,
            rich_markup_mode=None,
            subcommand_metavar="COMMAND",
        )
        group.table = table
        return group

    def list_commands(self, ctx: Context) -> list[str]:  # noqa: ARG002
        """All names."""
        return list(self.table)

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:  # noqa: ARG002
        """One command, made of its module's function `command`."""
        row = self.table.get(cmd_name) or self.table.get(ALIASES.get(cmd_name, ""))
        return _command(cmd_name, row[0]) if row else None

    def format_commands(self, ctx: Context, formatter: HelpFormatter) -> None:  # noqa: ARG002
        """The list in `--help`, for which no command has to be imported."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.table.items()])


class Commands(Group):
    """All commands, and the groups of further ones."""

    table = COMMANDS

    def list_commands(self, ctx: Context) -> list[str]:
        """All names."""
        return [*super().list_commands(ctx), *GROUPS]

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:
        """A command or a group."""
        return Group.of(cmd_name) if cmd_name in GROUPS else super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: Context, formatter: HelpFormatter) -> None:
        """The list in `--help`."""
        super().format_commands(ctx, formatter)
        with formatter.section("Groups of commands"):
            formatter.write_dl([(name, text) for name, (text, _) in GROUPS.items()])

    def execute(self, args: list[str]) -> int:
        """Run one command and return its status; mistakes of the command line go to stderr."""
        try:
            status: object = self.main(args, prog_name="pycontain", standalone_mode=False)
        except UsageError as error:
            return _mistake(error)
        except typer.Abort:
            print("aborted", file=sys.stderr)
            return 1
        return status if isinstance(status, int) else 0


def _command(name: str, module_name: str) -> Command:
    module = import_module(f"pycontain.cli.{module_name}")
    vars(module).update(Annotated=Annotated, typer=typer)  # for annotations: nothing but typer reads them
    if hasattr(module, "signature"):
        signature = module.signature()
        module.command.__signature__ = signature
        module.command.__annotations__ = {key: one.annotation for key, one in signature.parameters.items()}
    app = typer.Typer(**_QUIET)
    settings = {"allow_interspersed_args": getattr(module, "OPTIONS_ANYWHERE", True)}
    app.command(name, cls=DockerCommand, context_settings=settings)(module.command)
    return typer.main.get_command(app)


def _show_help() -> None:
    context = get_current_context()
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _mistake(error: UsageError) -> int:
    """Say what is wrong with the command line; 125 for a flag, 1 for a missing or unknown word, as docker."""
    if isinstance(error, NoSuchOption):
        message = f"unknown flag `{error.option_name}`"
        if error.possibilities:
            message += f": did you mean `{error.possibilities[0]}`?"
    elif isinstance(error, MissingParameter):
        message = f"{error.param.human_readable_name if error.param else 'an argument'} is missing"
    else:
        message = error.format_message().rstrip(".")
        message = message[:1].lower() + message[1:]
    print(f"pycontain: {message}", file=sys.stderr)
    if error.ctx is not None:
        print(f"\n{error.ctx.get_usage()}", file=sys.stderr)
        print(f"hint: `{error.ctx.command_path} --help` says more", file=sys.stderr)
    a_flag = isinstance(error, (NoSuchOption, BadOptionUsage, BadParameter))
    return 125 if a_flag and not isinstance(error, MissingParameter) else 1


def _show_version(wanted: bool) -> None:
    if wanted:
        from pycontain import __version__

        typer.echo(f"pycontain {__version__}")
        raise typer.Exit


def _before_any_command(
    context: typer.Context,
    root: Annotated[
        str | None, typer.Option(metavar="DIR", help="Where images and containers are kept ($PYCONTAIN_ROOT)")
    ] = None,
    version: Annotated[  # noqa: ARG001 - its callback has done it
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit"),
    ] = False,
) -> None:
    """Containers without a daemon."""
    if root is not None:
        from pycontain.paths import absolute

        os.environ["PYCONTAIN_ROOT"] = absolute(root)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def group() -> Commands:
    """The command line as a whole."""
    app = typer.Typer(cls=Commands, **_QUIET)
    app.callback(invoke_without_command=True)(_before_any_command)
    command: Any = typer.main.get_command(app)
    assert isinstance(command, Commands)
    return command
