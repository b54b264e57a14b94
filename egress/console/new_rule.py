"""The part of the Policy page that creates a rule from a request."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import attrs
from twisted.logger import Logger

from egress.admin.changes import uncancelled
from egress.admin.policy_file import NotSaved, save_policy, why_not_writable
from egress.config.model import ConfigError
from egress.console.new_rule_view import ACTIONS, Choices, Draft, note_of, obstacle, proposed, request_kind
from egress.console.page import ROOT, Html, Redirect, Refused, Route, Visit
from egress.console.policy_change import wait_until_loaded
from egress.console.policy_reader import MAX_RECORDS, PolicyReader, PolicyState, line_of
from egress.console.sources import ConsoleSources
from egress.model.change import Change, ChangeKind, policy_change
from egress.model.policy_url import PolicyUrl
from egress.model.quote import quoted
from egress.policy.learn.audit_reader import AuditLine
from egress.policy.loaded_policy import use_of
from egress.policy.source_text import SourceText
from egress.store.interfaces import StoreError

_log = Logger()

_COMPARED_SECONDS: Final = 3600.0
_MAX_NAME: Final = 100


@attrs.frozen(kw_only=True)
class _Request:
    """The request for which a rule is created.

    @ivar line: its record.
    @ivar state: the policy in use.
    @ivar choices: the choices.
    """

    line: AuditLine
    state: PolicyState
    choices: Choices


class NewRulePage:
    """The routes of the page.

    @param sources: the data.
    @param reader: reads the policies.
    """

    def __init__(self, sources: ConsoleSources, reader: PolicyReader) -> None:
        self._sources = sources
        self._reader = reader

    def routes(self) -> Sequence[Route]:
        """Return the routes."""
        return (Route("GET", "/policy/new-rule", self._show), Route("POST", "/policy/new-rule", self._edit))

    # -- the request

    async def _request(self, visit: Visit) -> _Request:
        if not visit.may_change:
            raise Refused(HTTPStatus.FORBIDDEN, "You are signed in as a viewer, who cannot change the policy.")
        get = visit.field if visit.form else visit.parameter
        identifier = get("request")
        try:
            record = await self._reader.record(identifier)
        except StoreError as error:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, f"The audit store cannot be read: {error}") from error
        if record is None:
            raise Refused(HTTPStatus.NOT_FOUND, f"The audit store has no request {quoted(identifier)}.")
        line = line_of(record)
        if line is None:
            text = f"The proxy rejected this request before a policy decided: {record['reason']}. No rule changes that."
            raise Refused(HTTPStatus.CONFLICT, text)
        state = await self._reader.shown()
        if state is None:
            text = "The proxy has no policy of its own: an authorization service or the application decides."
            raise Refused(HTTPStatus.CONFLICT, text)
        choices = Choices.of(line, get("action"), get("scope"), get("methods"), this_client=get("client") == "this")
        return _Request(line=line, state=state, choices=choices)

    async def _draft(self, request: _Request, text: str) -> Draft:
        recorded = await self._reader.recorded(self._sources.wall_clock() - _COMPARED_SECONDS)
        return await self._sources.in_thread(lambda: Draft.of(request.state.rules, request.line, text, recorded or ()))

    def _note(self, visit: Visit, by: str = "") -> str:
        identifier = visit.field("request") or visit.parameter("request")
        return note_of(quoted(identifier).strip("'"), self._sources.wall_clock(), by)

    async def _show(self, visit: Visit) -> Html:
        request = await self._request(visit)
        text = proposed(request.line, request.choices, request.state.rules, self._note(visit))
        return self._page(visit, request, await self._draft(request, text))

    async def _edit(self, visit: Visit) -> Html | Redirect:
        request = await self._request(visit)
        text = visit.field("toml").replace("\r\n", "\n")
        by = visit.field("by").strip()
        if len(by) > _MAX_NAME or not by.isprintable():
            raise Refused(HTTPStatus.BAD_REQUEST, f"Write a name of up to {_MAX_NAME} printable characters.")
        draft = await self._draft(request, text)
        if visit.field("do") != "save":
            return self._page(visit, request, draft)
        if visit.field("digest") != request.state.loaded.digest:
            error = "The policy changed after this page was made, so nothing was saved. Look at the new preview."
            return self._page(visit, request, draft, error=error)
        reason = self._why_not(request.state, draft)
        if reason:
            return self._page(visit, request, draft, error=f"Nothing was saved. {reason}")
        if by:
            named = text.replace(self._note(visit), self._note(visit, by), 1)
            draft = await self._draft(request, named)
        return await uncancelled(self._save(visit, request, draft, by))

    # -- saving

    def _why_not(self, state: PolicyState, draft: Draft) -> str:
        """Return why a draft cannot be saved; empty if it can."""
        config = self._sources.config
        if config.policy is None:
            return (
                "The starter policy of the package has no file. Save the text as a file after a line version = 1, and "
                "start the proxy with --policy FILE."
            )
        if isinstance(config.policy, PolicyUrl):
            return f"The policy is at {config.policy}. Change it there: all proxies with this URL load it."
        if not config.console_policy_edit:
            return (
                "The console may not change the policy. Copy the text into the file, or start the proxy with "
                "--console-policy-edit."
            )
        if state.changed is not None:
            return "The files have another policy than the one in use. Reload the policy first."
        if draft.edited is None:
            return "The text has an error."
        if draft.problems:
            return "The policy would have a problem. Change the rule first."
        reason = why_not_writable(Path(draft.edited.where))
        return "" if reason is None else f"{reason[:1].upper()}{reason[1:]}. Copy the text into the file."

    async def _save(self, visit: Visit, request: _Request, draft: Draft, by: str) -> Html | Redirect:
        edited = draft.edited
        assert edited is not None  # the draft can be saved
        path, before = Path(edited.where), edited.before
        try:
            await self._sources.in_thread(lambda: save_policy(path, before.digest, edited.after))
        except NotSaved as error:
            return self._page(visit, request, draft, error=f"Nothing was saved: {error}.")
        try:
            await self._sources.reload()
        except ConfigError as error:
            # The rule is valid, but the proxy cannot use the policy, for example because a secret is missing.
            after = SourceText.of(edited.where, edited.after).digest
            await self._sources.in_thread(lambda: save_policy(path, after, before.text))
            return self._page(visit, request, draft, error=f"Nothing was saved, because the reload failed: {error}.")
        _log.info(
            "{who} added {rules} to {file}, line {line}, in the console, for request {request}: the policy is {digest}",
            who=by or "an administrator",
            rules=", ".join(edited.names),
            file=edited.where,
            line=edited.line,
            request=quoted(visit.field("request")),
            digest=edited.rules.digest,
        )
        text = (
            f"{by or 'an administrator'} added {', '.join(edited.names)} to {edited.where}, line {edited.line}, for "
            f"request {visit.field('request')}{policy_change(request.state.loaded.digest, edited.rules.digest)}"
        )
        author = by or f"{visit.actor.role} at {visit.actor.address or 'a socket'}"
        use = use_of(edited.rules, self._sources.wall_clock(), "console", author)
        self._sources.backend.record(Change(ChangeKind.RULE_ADDED, text, visit.actor, use))
        await wait_until_loaded(self._sources, edited.rules.digest)
        name = edited.names[0]
        query = urlencode({"done": "added", "rule": name, "request": visit.field("request")})
        return Redirect(f"{ROOT}/policy?{query}#rule-{name}")

    def _page(self, visit: Visit, request: _Request, draft: Draft, error: str = "") -> Html:
        line = request.line
        values = {
            "line": line,
            "kind": request_kind(line),
            "request_id": visit.field("request") or visit.parameter("request"),
            "obstacle": obstacle(line),
            "choices": request.choices,
            "actions": ACTIONS,
            "draft": draft,
            "digest": request.state.loaded.digest,
            "why_not": self._why_not(request.state, draft) if draft.can_be_saved else "",
            "by": visit.field("by"),
            "limit": MAX_RECORDS,
            "error": error,
        }
        return Html("new_rule.html", values, HTTPStatus.CONFLICT if error else HTTPStatus.OK)
