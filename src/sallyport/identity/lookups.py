"""What is asked about a token whose signature has held: whether it still counts (Kubernetes
TokenReview), and in which groups its owner is (Google Directory).

Both are options of an issuer. An answer is kept for a moment, since pools open connections in
bursts; without an answer the login is refused. Sources: Kubernetes API, authentication.k8s.io/v1
TokenReview; Admin SDK Directory API, groups.list.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final, Generic, TypeVar
from urllib.parse import urlencode

import httpx2

from sallyport.core.clock import Clock, SystemClock
from sallyport.core.secret import Secret
from sallyport.core.subject import Subject
from sallyport.identity.oidc.fetch import FetchError, bearer_of, fetch_json, new_client, post_json
from sallyport.identity.problems import IdentityProblem, printable

_TIMEOUT: Final = 5.0
_MAX_BYTES: Final = 1 << 20
_KEPT: Final = 4096
#: Of 200 groups each.
_MAX_PAGES: Final = 20
_HINT: Final = "Try again in a minute. The gateway's log says what went wrong."

T = TypeVar("T")


class _Answers(Generic[T]):
    """Those of the last ``seconds``, by key."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock, self._seconds = clock, seconds
        self._kept: OrderedDict[str, tuple[float, T]] = OrderedDict()

    def get(self, key: str) -> T | None:
        ends, answer = self._kept.get(key, (0.0, None))
        return answer if self._clock.monotonic() < ends else None

    def put(self, key: str, answer: T) -> T:
        self._kept[key] = (self._clock.monotonic() + self._seconds, answer)
        self._kept.move_to_end(key)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return answer


class TokenReview:
    """Asks the API server at ``url`` whether the pod, node and account of a token still exist.
    ``token_file``: authorizes to ask (``system:auth-delegator``), read anew each time. ``seconds``:
    for how long a yes is kept; a no is never kept.
    """

    def __init__(
        self,
        url: str,
        audience: str,
        token_file: str,
        ca_file: str = "",
        *,
        clock: Clock | None = None,
        seconds: float = 5.0,
    ) -> None:
        self._url = url.rstrip("/") + "/apis/authentication.k8s.io/v1/tokenreviews"
        self._audience, self._token_file, self._ca_file = audience, token_file, ca_file
        self._accepted: _Answers[bool] = _Answers(clock or SystemClock(), seconds)

    async def complete(self, subject: Subject, token: Secret) -> Subject | IdentityProblem:
        """See :class:`~sallyport.identity.verifier.Lookup`."""
        digest = hashlib.sha256(token.reveal().encode()).hexdigest()
        if self._accepted.get(digest):
            return subject
        try:
            status, answer = await self._ask(token)
        except FetchError as error:
            return _unreachable(f"TokenReview: {error}", "the cluster cannot be asked")
        if status not in (200, 201):
            message = printable(str(answer.get("message", "")), 200)
            reason = f"TokenReview: the API server answers {status}: {message}"
            return _unreachable(reason, "the cluster cannot be asked")
        if problem := self._problem(answer, subject):
            return IdentityProblem(
                f"TokenReview: {problem}",
                "the cluster does not accept the token any more",
                "Get a fresh token: the pod or the service account may have been deleted.",
            )
        self._accepted.put(digest, True)
        return subject

    async def _ask(self, token: Secret) -> tuple[int, dict[str, Any]]:
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token.reveal(), "audiences": [self._audience]},
        }
        headers = {"Authorization": f"Bearer {bearer_of(self._token_file)}"}
        async with new_client(self._ca_file) as http:
            return await post_json(
                http, self._url, review, headers, timeout=_TIMEOUT, max_bytes=_MAX_BYTES
            )

    def _problem(self, answer: dict[str, Any], subject: Subject) -> str:
        status = answer.get("status")
        status = status if isinstance(status, dict) else {}
        if status.get("authenticated") is not True or status.get("error"):
            return printable(str(status.get("error") or "not authenticated"), 200)
        audiences, user = status.get("audiences"), status.get("user")
        # An API server that knows nothing of audiences leaves them out: then it has not checked it.
        if not isinstance(audiences, list) or self._audience not in audiences:
            return "the audience was not checked"
        if not isinstance(user, dict) or user.get("username") != subject.claims.get("sub"):
            return "the API server names another account"
        return ""


class GoogleDirectory:
    """Adds the groups of a person, ``group:ADDRESS`` each, nested ones not included. ``token``:
    gives what authorizes to list them. ``seconds``: for how long they are kept.
    """

    def __init__(
        self,
        token: Callable[[], Awaitable[Secret]],
        endpoint: str = "https://admin.googleapis.com",
        *,
        clock: Clock | None = None,
        seconds: float = 300.0,
    ) -> None:
        self._token, self._endpoint = token, endpoint.rstrip("/")
        self._groups: _Answers[frozenset[str]] = _Answers(clock or SystemClock(), seconds)

    async def complete(self, subject: Subject, token: Secret) -> Subject | IdentityProblem:
        """See :class:`~sallyport.identity.verifier.Lookup`. Service accounts, which no directory
        lists, keep what they have.
        """
        email = subject.email
        if not email or email.endswith(".gserviceaccount.com"):
            return subject
        groups = self._groups.get(email)
        if groups is None:
            try:
                groups = self._groups.put(email, await self._list(email))
            except FetchError as error:
                return _unreachable(f"Directory: {error}", "the directory cannot be asked")
        return replace(subject, groups=subject.groups | groups)

    async def _list(self, email: str) -> frozenset[str]:
        groups: set[str] = set()
        page = ""
        async with new_client() as http:
            http.headers["Authorization"] = f"Bearer {(await self._token()).reveal()}"
            for _ in range(_MAX_PAGES):
                answer = await self._page(http, email, page)
                for group in answer.get("groups") or []:
                    address = group.get("email") if isinstance(group, dict) else None
                    if not isinstance(address, str) or not address.isprintable():
                        raise FetchError("a group without an address")
                    groups.add(f"group:{address}")
                page = str(answer.get("nextPageToken") or "")
                if not page:
                    return frozenset(groups)
        # A group that was left out might be the one that a rule denies.
        raise FetchError(f"more than {_MAX_PAGES * 200} groups")

    async def _page(self, http: httpx2.AsyncClient, email: str, page: str) -> dict[str, Any]:
        query = {"userKey": email, "maxResults": "200", **({"pageToken": page} if page else {})}
        url = f"{self._endpoint}/admin/directory/v1/groups?{urlencode(query)}"
        document = await fetch_json(http, url, timeout=_TIMEOUT, max_bytes=_MAX_BYTES)
        return document.value


def directory_token(file: str, admin: str) -> Callable[[], Awaitable[Secret]]:
    """Tokens of a service account with domain-wide delegation, whose key is in ``file``, in the
    name of ``admin`` (extra ``sallyport[google]``). What it gives raises FetchError.
    """
    from google.auth.exceptions import GoogleAuthError
    from google.auth.transport.requests import Request
    from google.oauth2 import service_account

    scope = "https://www.googleapis.com/auth/admin.directory.group.readonly"
    lock = asyncio.Lock()
    made: list[service_account.Credentials] = []

    def fresh() -> str:
        if not made:
            load: Any = service_account.Credentials.from_service_account_file
            made.append(load(file, scopes=[scope], subject=admin))
        if not made[0].valid:
            made[0].refresh(Request())  # type: ignore[no-untyped-call]
        return str(made[0].token or "")

    async def token() -> Secret:
        async with lock:
            try:
                return Secret(await asyncio.to_thread(fresh))
            except (GoogleAuthError, OSError, ValueError) as error:
                raise FetchError(f"no token for the directory: {type(error).__name__}") from None

    return token


def _unreachable(reason: str, message: str) -> IdentityProblem:
    return IdentityProblem(reason, f"{message}, so the token cannot be checked", _HINT)
