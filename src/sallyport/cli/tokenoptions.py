"""The options that say where a command's token comes from, once for all commands that have them."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, get_type_hints

import typer

from sallyport.core.errors import SallyportError

if TYPE_CHECKING:
    from sallyport.core.secret import Secret

_KEYWORD: Final = inspect.Parameter.KEYWORD_ONLY
_SECRET_VARIABLE: Final = "SALLYPORT_CLIENT_SECRET"  # noqa: S105 - the variable's name

Issuer = Annotated[
    str,
    typer.Option(envvar="SALLYPORT_ISSUER", help="The issuer, as in the gateway's configuration."),
]
ClientId = Annotated[
    str, typer.Option(envvar="SALLYPORT_CLIENT_ID", help="Who asks: the OAuth client id.")
]
SecretFile = Annotated[
    Path | None,
    typer.Option(
        help=f"File with the client's secret; without it, the variable {_SECRET_VARIABLE} has it."
    ),
]
Scope = Annotated[str, typer.Option(help="Scope to ask for.")]
Resource = Annotated[
    str, typer.Option(help="Resource the token is for (RFC 8707), if the issuer wants one.")
]
Audience = Annotated[str, typer.Option(help="Audience parameter, for issuers that want one.")]
CaFile = Annotated[
    str,
    typer.Option(
        envvar="SALLYPORT_ISSUER_CA", help="PEM file of the issuer's CA, instead of the system's."
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        envvar="SALLYPORT_TOKEN_FILE",
        help="File that has the token, as pods and CI jobs get it; read each time.",
    ),
]
SignIn = Annotated[
    str,
    typer.Option(
        "--sign-in",
        help="Have a person sign in: in a browser on this machine (browser), or on any (device).",
    ),
]


@dataclass(frozen=True, slots=True)
class TokenOptions:
    """As they were given. ``sign_in``: how a person signs in ("browser" or "device"); "": nobody
    does.
    """

    token_file: TokenFile = None
    issuer: Issuer = ""
    client_id: ClientId = ""
    secret_file: SecretFile = None
    scope: Scope = ""
    resource: Resource = ""
    audience: Audience = ""
    ca_file: CaFile = ""
    sign_in: SignIn = ""


def takes_token_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command that has a parameter ``options: TokenOptions``, as Typer wants it: with a parameter
    for each of the options, in their place.
    """
    hints = get_type_hints(command, include_extras=True)
    options = get_type_hints(TokenOptions, include_extras=True)
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        if name == "options":
            parameters += [
                inspect.Parameter(
                    field.name, _KEYWORD, default=field.default, annotation=options[field.name]
                )
                for field in fields(TokenOptions)
            ]
        else:
            parameters.append(parameter.replace(kind=_KEYWORD, annotation=hints[name]))

    @wraps(command)
    def run(**arguments: Any) -> None:
        chosen = TokenOptions(**{name: arguments.pop(name) for name in options})
        command(**arguments, options=chosen)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def client_secret(file: Path | None) -> Secret | None:
    """The client's secret, from the file or the environment. Raises SallyportError when the file
    cannot be read.
    """
    # Start-up time: most commands need none.
    from sallyport.core.secret import Secret

    if file is None:
        text = os.environ.get(_SECRET_VARIABLE, "")
    else:
        try:
            text = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SallyportError(
                f"the secret file {file} cannot be read: {type(error).__name__}"
            ) from None
    return Secret(text) if text else None
