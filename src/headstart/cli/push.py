"""headstart push: a student into a repository of the Hugging Face hub."""

from __future__ import annotations

from typing import Annotated

from typer import Argument, Option

from headstart.cli.errors import handle_errors


@handle_errors
def push(
    source: Annotated[str, Argument(metavar="RUN_OR_FILE", help="A run's folder, or its student.safetensors.")],
    repository: Annotated[str, Argument(metavar="OWNER/NAME", help="The repository; made if it is not there.")],
    private: Annotated[bool, Option("--private", help="The repository must be private.")] = False,
    license: Annotated[
        str | None, Option("--license", metavar="ID", help="Licence of the weights for the card, such as apache-2.0.")
    ] = None,
    dry_run: Annotated[bool, Option("--dry-run", help="Send nothing; write the card beside the weights.")] = False,
) -> None:
    """Send a student, its numbers and a model card to the Hugging Face hub.

    headstart push runs/small anna/blood-cells --license apache-2.0
    """
    from headstart.hub.push import push as send

    send(source, repository, private=private, license=license, dry_run=dry_run)
