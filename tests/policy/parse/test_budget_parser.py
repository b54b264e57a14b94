"""Tests for L{egress.policy.parse.budget_parser}."""

from __future__ import annotations

from egress.model.budget import Budget, By, Unit, WithoutShared
from egress.policy.parse.budget_parser import KEYS
from tests.policy.policies import PolicyTestCase, parse

_RULE = 'version = 1\n[[rules]]\nname = "api"\naction = "allow"\n'


def budgets(text: str) -> tuple[Budget, ...]:
    """Return the budgets of a rule."""
    return parse(_RULE + text).rules[0].obligations.budgets


class BudgetTests(PolicyTestCase):
    """The budgets of a rule."""

    def test_rate(self) -> None:
        (found,) = budgets('[rules.rate]\nrequests = 100\nper = "1m"\nburst = 20\nby = "client"\n')
        expected = Budget(
            rule_id="api", table="rate", unit=Unit.REQUESTS, amount=100, per=60.0, capacity=20, by=By.CLIENT
        )
        self.assertEqual(found, expected)
        (found,) = budgets("rate = { requests = 5, per = 1 }\n")
        self.assertEqual((found.capacity, found.by, found.without_shared), (5, By.RULE, WithoutShared.SHARE))

    def test_budget(self) -> None:
        requests, size = budgets(
            '[rules.budget]\nrequests = 10\nbytes = "1GiB"\nper = "1d"\nby = "host"\nwithout_shared = "deny"\n'
        )
        self.assertEqual((requests.unit, requests.amount, requests.capacity), (Unit.REQUESTS, 10, 10))
        self.assertEqual((size.unit, size.amount, size.capacity), (Unit.BYTES, 1 << 30, 1 << 30))
        for each in (requests, size):
            self.assertEqual((each.table, each.per, each.by), ("budget", 86400.0, By.HOST))
            self.assertEqual(each.without_shared, WithoutShared.DENY)

    def test_several(self) -> None:
        found = budgets(
            '[[rules.rate]]\nrequests = 1\nper = "1s"\nby = "client"\n'
            '[[rules.rate]]\nrequests = 9\nper = "1s"\n[rules.budget]\nbytes = 5\nper = "1h"\n'
        )
        self.assertEqual([each.amount for each in found], [1, 9, 5])

    def test_ask(self) -> None:
        """A request that an approver allows is counted, too."""
        policy = parse('version = 1\n[[rules]]\naction = "ask"\nrate = { requests = 1, per = "1s" }')
        self.assertEqual(len(policy.rules[0].obligations.budgets), 1)
        self.assertEqual(budgets(""), ())
        self.assertEqual(KEYS, ("rate", "budget"))

    def test_whether_there_are_budgets(self) -> None:
        self.assertFalse(parse(_RULE).has_budgets)
        self.assertTrue(parse(_RULE + 'rate = { requests = 1, per = "1s" }').has_budgets)

    def test_refused(self) -> None:
        many = ", ".join(f'{{ requests = {number}, per = "1s" }}' for number in range(1, 6))
        for text, error in {
            "rate = 5": "5: rule api: 'rate' must be a table; write [rules.rate] before it",
            "budget = []": "5: rule api: 'budget' must be a table; write [rules.budget] before it",
            "rate = [5]": "5: rule api: 'rate' must be a table; write [rules.rate] before it",
            f"rate = [{many}]": "5: rule api: 'rate' has more than 4 tables; remove some",
            '[rules.rate]\nper = "1m"': (
                "5: rule api: rate: 'requests' is missing; write the number of requests in the time 'per', as in 100"
            ),
            "[rules.rate]\nrequests = 5": ('5: rule api: rate: \'per\' is missing; write the time, as in "1m" or "1d"'),
            '[rules.budget]\nper = "1m"': (
                "5: rule api: budget: write 'requests', 'bytes', or both, as in bytes = \"10GiB\""
            ),
            '[rules.rate]\nrequests = 0\nper = "1m"': (
                "6: rule api: rate: 'requests': must be a whole number of requests, from 1 to 1000000000"
            ),
            '[rules.rate]\nrequests = true\nper = "1m"': (
                "6: rule api: rate: 'requests': must be a whole number of requests, from 1 to 1000000000"
            ),
            '[rules.rate]\nrequests = 5\nper = "1m"\nburst = "x"': (
                "8: rule api: rate: 'burst': must be a whole number of requests, from 1 to 1000000000"
            ),
            '[rules.rate]\nrequests = 5\nper = "1m"\nbytes = 5': (
                "8: rule api: rate: 'bytes' is not known here; use burst, by, per, requests, without_shared"
            ),
            '[rules.budget]\nbytes = 0\nper = "1m"': (
                "6: rule api: budget: 'bytes': must be at least one byte, and at most 1024TiB"
            ),
            '[rules.budget]\nbytes = "9999TiB"\nper = "1m"': (
                "6: rule api: budget: 'bytes': must be at least one byte, and at most 1024TiB"
            ),
            '[rules.budget]\nbytes = 5\nper = "10ms"': ("7: rule api: budget: 'per': must be at least one second"),
            '[rules.budget]\nbytes = 5\nper = "1m"\nby = "clients"': (
                "8: rule api: budget: 'by': is not known; did you mean 'client'?"
            ),
            '[rules.budget]\nbytes = 5\nper = "1m"\nby = ["client"]': (
                "8: rule api: budget: 'by': must be one of rule, client, host"
            ),
            '[rules.budget]\nbytes = 5\nper = "1m"\nwithout_shared = 1': (
                "8: rule api: budget: 'without_shared': must be one of share, deny"
            ),
            '[[rules.rate]]\nrequests = 5\nper = "1m"\n[[rules.rate]]\nrequests = 5\nper = "60s"': (
                "5: rule api: a budget is given twice; remove one of them"
            ),
            '[[rules.rate]]\nrequests = 5\nper = "1m"\n[[rules.rate]]\nrequests = 5': (
                '8: rule api: rate 2: \'per\' is missing; write the time, as in "1m" or "1d"'
            ),
        }.items():
            self.refuses(_RULE + text, error)
        self.refuses(
            'version = 1\n[[rules]]\nname = "no"\naction = "deny"\nreason = "x"\nrate = { requests = 5, per = "1m" }',
            "6: rule no: 'rate' applies only to allowed requests; remove it from a rule that denies",
        )
