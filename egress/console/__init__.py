"""The web console: pages that show what the proxy does, on the endpoint of the admin API.

To add a page:

  1. Add a module C{egress/console/pages/NAME.py} with a constant C{PAGE}, an L{egress.console.page.Page}.  It names the
     navigation entry, and makes the routes from the L{egress.console.sources.ConsoleSources}.  The console finds the
     modules of this package by itself.  A route is a method, a path below C{/console}, and a function.  The
     function takes a L{egress.console.page.Visit} and returns a result, such as L{egress.console.page.Html} or
     L{egress.console.page.Redirect}.  It can also return a Deferred, or be a coroutine.
  2. Add a view model: pure functions, or frozen C{attrs} classes, in a module C{egress/console/NAME_view.py}.  It
     contains every text and number that the template shows, so that tests need neither a template nor a site.
  3. Add a template C{egress/console/templates/NAME.html} that extends C{layout.html} and fills the block C{main}.  The
     macros in C{macros.html} make status chips, empty states, and forms with the token of the session.  Use the
     classes of C{static/console.css}.  Do not add inline script or style: the browser ignores them.  Every form works
     without script.
  4. Add tests.  C{tests/console/test_NAME_view.py} tests the view model.  C{tests/console/pages/test_NAME.py} tests the
     routes with C{tests.console.browser.ConsoleBrowser}.  The browser tests check each path in C{Page.examples} with
     axe-core, in light and dark, and at a width of 360 px.

The site checks every request before a route sees it: the host and the session.  For C{POST}, it also checks the origin,
the token of the form, and that the visitor is not a viewer.  A page shows buttons only if C{visit.may_change}.

Data comes from L{egress.console.sources.ConsoleSources}.  Reads of the audit store run in a thread:
C{sources.reads.search(...)} returns a Deferred.  A function that needs the result is a coroutine.  An exception of a
route is logged, and the visitor sees a page without its text; raise L{egress.console.page.Refused} for an error that
the visitor can repair.
"""
