"""The script with which the engine changes token buckets, and the script that counts the processes that share them.

L{egress.authz.budgets.token_bucket.operate} describes the first one; a test compares both in a real engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from egress.authz.budgets.token_bucket import Operation, Outcome

TAKE: Final = "\n".join(
    (
        "local t=redis.call('time')",
        "local now=t[1]*1000000+t[2]",
        "local full,enough={},1",
        "for i,key in ipairs(KEYS) do",
        " local a=7*(i-1)",
        " local interval,span,latest=tonumber(ARGV[a+1]),tonumber(ARGV[a+2]),tonumber(ARGV[a+3])",
        " local owed,need,floor=tonumber(ARGV[a+4]),tonumber(ARGV[a+5]),tonumber(ARGV[a+7])",
        " local state=redis.pcall('getrange',key,0,19)",
        " local f=type(state)=='string' and string.match(state,'^%d+$') and tonumber(state) or 0",
        " f=math.min(math.max(f,floor,now),now+2*span)",
        " f=math.max(f+owed*interval,now)",
        " full[i]=f",
        " if need>0 and f+need*interval>now+latest then enough=0 end",
        "end",
        "local reply={enough,now}",
        "for i,key in ipairs(KEYS) do",
        " local a=7*(i-1)",
        " local interval,latest=tonumber(ARGV[a+1]),tonumber(ARGV[a+3])",
        " local need,want=tonumber(ARGV[a+5]),tonumber(ARGV[a+6])",
        " local f,granted=full[i],0",
        " if enough==1 and want>0 then",
        "  granted=math.max(math.min(want,math.floor((now+latest-f)/interval)),math.min(need,want))",
        " end",
        " local text=string.format('%.0f',f+granted*interval)",
        " f=tonumber(text)",
        " if f>now then redis.call('set',key,text,'PX',math.ceil((f-now)/1000)) else redis.call('del',key) end",
        " reply[2*i+1]=granted",
        " reply[2*i+2]=f",
        "end",
        "return reply",
    )
)

MEMBERS: Final = "\n".join(
    (
        "local t=redis.call('time')",
        "local now=t[1]*1000000+t[2]",
        "redis.call('zadd',KEYS[1],now,ARGV[1])",
        "redis.call('zremrangebyscore',KEYS[1],'-inf',now-ARGV[2])",
        "redis.call('pexpire',KEYS[1],math.ceil(ARGV[2]/1000))",
        "return redis.call('zcard',KEYS[1])",
    )
)
"""Registers a process, and returns the number of processes that were registered recently."""


def take_command(names: Sequence[bytes], operations: Sequence[Operation]) -> list[bytes | str | int | float]:
    """Return the command for operations.

    @param names: the names of the buckets, which are in one slot of a cluster.
    """
    command: list[bytes | str | int | float] = ["EVAL", TAKE, len(names), *names]
    for each in operations:
        rate = each.rate
        numbers = (rate.interval, rate.span, rate.latest, each.owed, each.need, each.want, each.floor)
        command += map(repr, numbers)
    return command


class InvalidReply(Exception):
    """A reply that is not one of the script."""


def read_reply(reply: Any, operations: Sequence[Operation]) -> tuple[bool, float, list[Outcome]]:
    """Return whether all needed tokens were taken, the time of the engine, and the outcomes.

    @raise InvalidReply: if it is not a reply to these operations.
    """
    if not isinstance(reply, list) or len(reply) != 2 + 2 * len(operations):
        raise InvalidReply("the engine sent an invalid reply")
    if not all(isinstance(each, int) and each >= 0 for each in reply):
        raise InvalidReply("the engine sent an invalid reply")
    enough, now, *rest = reply
    outcomes = [Outcome(granted, float(full_at)) for granted, full_at in zip(rest[::2], rest[1::2], strict=True)]
    return enough == 1, float(now), outcomes
