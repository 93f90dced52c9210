"""`ichweakseg models list | info | verify | import | remove`."""

from __future__ import annotations

import argparse

from ICHWeakSegLib.ct.errors import InputError


def add_to(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("models", help="list, check, import and remove models")
    actions = command.add_subparsers(title="actions", metavar="ACTION", required=True)
    actions.add_parser("list", help="which models there are").set_defaults(run=_list)
    for name, run, text in (
        ("info", _info, "a model's card: training data, measured quality, limits, licence"),
        ("verify", _verify, "check a model's files"),
        ("remove", _remove, "remove a model from the user's folder"),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("name", metavar="NAME|DIR")
        action.set_defaults(run=run)
    action = actions.add_parser("import", help="make a model package from published weights")
    action.add_argument("file", metavar="FILE", help="the authors' .pth file")
    action.add_argument("--format", choices=("hgi-sam",), required=True)
    action.add_argument("--name", required=True, help="name of the new model")
    action.add_argument(
        "--strategy", choices=("binary", "binary-sigmoid", "subtypes"), help="if not to be guessed"
    )
    action.add_argument(
        "--windows", choices=("ct-ich", "rsna"), default="ct-ich", help="windows it learned from"
    )
    action.add_argument("--overwrite", action="store_true", help="replace a model of this name")
    action.set_defaults(run=_import)


def _list(_: argparse.Namespace) -> None:
    from ICHWeakSegLib.models import list_models, user_folder

    for model in list_models():
        if model.card is None:
            print(f"{model.name:20} {model.origin:8} cannot be used: {model.problem}")
        else:
            size = model.card.weights.bytes / 1e6 if model.card.weights else 0
            hidden = (
                f"  (hidden by another of this name: use its folder {model.folder})" if model.hidden else ""
            )
            facts = f"{model.name:20} {model.origin:8} {model.card.version:10} {size:6.1f} MB"
            what = f"cannot be used: {model.problem}" if model.problem else model.card.description
            print(f"{facts}  {what}{hidden}")
    print(f"Your own models belong in {user_folder()}.")


def _info(options: argparse.Namespace) -> None:
    from ICHWeakSegLib.models import describe, find_model

    found = find_model(options.name, usable=False)
    if found.card is not None:
        print(describe(found.card))
    if found.problem:
        raise InputError(found.problem)


def _verify(options: argparse.Namespace) -> None:
    from ICHWeakSegLib.models import verify_model

    report = verify_model(options.name)
    print(report)
    if not report.ok:
        raise InputError(report.problem)


def _remove(options: argparse.Namespace) -> None:
    from ICHWeakSegLib.models import remove_model

    print(f"Removed {remove_model(options.name)}.")


def _import(options: argparse.Namespace) -> None:
    from ICHWeakSegLib.models import import_hgi_sam

    folder = import_hgi_sam(
        options.file,
        options.name,
        strategy=options.strategy,
        windows=options.windows,
        overwrite=options.overwrite,
    )
    print(f"Model {options.name} is ready in {folder}.")
