"""The Policy page: the rules with their use, a request to try, the suggested and the shadow policy, and the reload."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from twisted.logger import Logger

from egress.admin.api import Unanswered
from egress.admin.changes import uncancelled
from egress.config.model import ConfigError, ProxyConfig
from egress.console.new_rule import NewRulePage
from egress.console.page import ROOT, Download, Html, Page, Redirect, Refused, Route, Visit
from egress.console.policy_change import reload_policy
from egress.console.policy_reader import MAX_RECORDS, PolicyReader, PolicyState
from egress.console.policy_view import TIMES, PolicyView, policy_view, time_of
from egress.console.shadow_view import ShadowView
from egress.console.sources import ConsoleSources
from egress.console.suggestion_view import SuggestionView
from egress.console.try_view import EXAMPLE, METHODS, TryForm, decided, explained
from egress.model.explanation import InvalidExplainRequest
from egress.policy.learn.audit_reader import AuditLine
from egress.resources import read_shadow
from egress.store.filter_language import Filter
from egress.store.interfaces import StoreError

_log = Logger()

_PATH: Final = f"{ROOT}/policy"
_MAX_DIGITS: Final = 7


class PolicyPage:
    """The routes of the page.

    @param sources: the data.
    @param reader: reads the policies.
    """

    def __init__(self, sources: ConsoleSources, reader: PolicyReader) -> None:
        self._sources = sources
        self._reader = reader

    def routes(self) -> Sequence[Route]:
        """Return the routes."""
        return (
            Route("GET", "/policy", self._show),
            Route("POST", "/policy/reload", self._reload),
            Route("GET", "/policy/try", self._form),
            Route("POST", "/policy/try", self._try, changes=False),
            Route("GET", "/policy/suggestion", self._suggest),
            Route("GET", "/policy/suggestion.toml", self._download),
            Route("GET", "/policy/shadow", self._shadow),
        )

    async def _show(self, visit: Visit, error: str = "") -> Html:
        since, seconds, words = time_of(visit.parameter("since"))
        now = self._sources.wall_clock()
        uses, store_error = None, ""
        reads = self._sources.reads
        if reads is not None:
            try:
                uses = await reads.call(lambda store: store.rule_uses(Filter(since=now - seconds)))
            except StoreError as fault:
                store_error = str(fault)
        state = await self._reader.shown()
        only_unused = visit.parameter("only") == "unused" and uses is not None
        given = visit.parameter("from")
        start = int(given) if given.isdecimal() and len(given) < _MAX_DIGITS else 0

        def make(state: PolicyState) -> PolicyView:
            return policy_view(state, uses, now, only_unused=only_unused, start=start)

        view = None if state is None else await self._sources.in_thread(partial(make, state))
        values = {
            "view": view,
            "uses": sorted((uses or {}).items(), key=lambda item: -item[1].records),
            "service": self._sources.config.authz_url,
            "file": self._sources.policy_file,
            "is_starter": self._sources.config.policy is None,
            "since": since,
            "words": words,
            "times": TIMES,
            "only_unused": only_unused,
            "has_store": reads is not None,
            "store_error": store_error,
            "error": error,
            "done": visit.parameter("done"),
            "added": visit.parameter("rule"),
            "request": visit.parameter("request"),
            "now": now,
        }
        return Html("policy.html", values, HTTPStatus.CONFLICT if error else HTTPStatus.OK)

    async def _reload(self, visit: Visit) -> Html | Redirect:
        try:
            await uncancelled(reload_policy(self._sources, self._reader, visit.actor))
        except ConfigError as error:
            _log.warn("a reload in the console failed: {error}", error=str(error))
            return await self._show(visit, str(error))
        _log.info("the policy and the certificates are reloaded in the console")
        return Redirect(f"{_PATH}?done=reloaded")

    # -- a request to try

    def _form(self, visit: Visit) -> Html:
        fields = {name: visit.parameter(name) for name in ("method", "url", "client") if visit.parameter(name)}
        return _try_page(TryForm(**fields))

    async def _try(self, visit: Visit) -> Html:
        form = TryForm(*(visit.field(name) for name in ("method", "url", "headers", "body", "client")))
        try:
            request = form.parse()
        except InvalidExplainRequest as error:
            return _try_page(form, error=str(error), status=HTTPStatus.BAD_REQUEST)
        try:
            document = await self._sources.backend.explain(request)
        except Unanswered as error:
            return _try_page(form, error=str(error), status=HTTPStatus.SERVICE_UNAVAILABLE)
        state = await self._reader.shown()
        changed = None
        if state is not None and state.changed is not None and state.changed.rules is not None:
            now = self._sources.wall_clock()
            changed = await self._sources.in_thread(partial(decided, state.changed.rules, request, now))
        return _try_page(form, result=explained(document), changed=changed)

    # -- the suggested policy

    async def _suggestion(self, visit: Visit) -> SuggestionView | None:
        now = self._sources.wall_clock()
        lines = await self._reader.recorded(now - time_of(visit.parameter("since"))[1])
        if lines is None:
            return None
        state = await self._reader.shown()
        rules = None if state is None else state.rules
        return await self._sources.in_thread(lambda: SuggestionView.of(lines, rules))

    async def _suggest(self, visit: Visit) -> Html:
        view, store_error = None, ""
        try:
            view = await self._suggestion(visit)
        except StoreError as error:
            store_error = str(error)
        return Html("policy_suggestion.html", {"view": view, **self._read(visit, store_error)})

    async def _download(self, visit: Visit) -> Download:
        try:
            view = await self._suggestion(visit)
        except StoreError as error:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, f"The audit store cannot be read: {error}") from error
        if view is None or not view.text:
            raise Refused(HTTPStatus.NOT_FOUND, "There is no recorded request from which to suggest a policy.")
        return Download(view.text.encode("utf-8"), "application/toml", "policy.toml")

    # -- the shadow policy

    async def _shadow(self, visit: Visit) -> Html:
        config, view, error, store_error = self._sources.config, None, "", ""
        if config.shadow_policy is not None:
            try:
                since = self._sources.wall_clock() - time_of(visit.parameter("since"))[1]
                lines = await self._reader.recorded(since)
                state = await self._reader.shown()
                if lines is not None and state is not None:
                    view = await self._sources.in_thread(partial(_compared, config, state, lines))
            except StoreError as fault:
                store_error = str(fault)
            except ConfigError as fault:
                error = str(fault)
        values = {
            "view": view,
            "has_shadow": config.shadow_policy is not None,
            "error": error,
            **self._read(visit, store_error),
        }
        return Html("policy_shadow.html", values)

    def _read(self, visit: Visit, store_error: str) -> dict[str, Any]:
        """Return what a page says of the records that it reads."""
        since, _, words = time_of(visit.parameter("since"))
        return {
            "since": since,
            "words": words,
            "times": TIMES,
            "limit": MAX_RECORDS,
            "has_store": self._sources.reads is not None,
            "store_error": store_error,
        }


def _compared(config: ProxyConfig, state: PolicyState, lines: Sequence[AuditLine]) -> ShadowView | None:
    """Compare the shadow policy with the policy that decides.

    @raise ConfigError: if the shadow policy is not valid.
    """
    shadow = read_shadow(config)
    if shadow is None or not shadow.is_loaded:
        raise ConfigError("--shadow-policy", "", "is not loaded yet")
    return ShadowView.of(state.rules, shadow, lines)


def _try_page(form: TryForm, *, error: str = "", status: HTTPStatus = HTTPStatus.OK, **results: Any) -> Html:
    values = {
        "form": form,
        "methods": METHODS,
        "example": EXAMPLE,
        "error": error,
        "result": None,
        "changed": None,
        **results,
    }
    return Html("policy_try.html", values, status)


def _routes(sources: ConsoleSources) -> Sequence[Route]:
    reader = PolicyReader(sources)
    return (*PolicyPage(sources, reader).routes(), *NewRulePage(sources, reader).routes())


PAGE = Page(
    name="policy",
    title="Policy",
    order=50,
    routes=_routes,
    examples=("/policy", "/policy/try", "/policy/suggestion", "/policy/shadow", "/policy/new-rule?request=example"),
)
