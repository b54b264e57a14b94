"""The script with which the engine changes token buckets, and the script that counts the processes that share them.

L{egress.authz.budgets.token_bucket.operate} describes the first one; a test compares both in a real engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from egress.authz.budgets.token_bucket import Operation, Outcome
from egress.shared.script import Argument, Script


def _script(*lines: str) -> Script:
    return Script("\n".join(lines))


TAKE: Final = _script(
    "local t=redis.call('time')",
    "local now=t[1]*1000000+t[2]",
    "local full,bases,generations,enough={},{},{},1",
    "for i,key in ipairs(KEYS) do",
    " local a=8*(i-1)",
    " local interval,span=tonumber(ARGV[a+1]),ARGV[a+2]*ARGV[a+1]",
    " local need,seen,known=tonumber(ARGV[a+4]),tonumber(ARGV[a+6]),tonumber(ARGV[a+7])",
    " local state=redis.pcall('getrange',key,0,63)",
    " local f,base,g=string.match(type(state)=='string' and state or '','^(%d+) (%d+) (%d+)$')",
    " f,base,g=tonumber(f or 0),tonumber(base or 0),tonumber(g or 0)",
    " if g>now then g=0 end",
    " local limit=now+2*span",
    " f,seen=math.min(f,limit),math.min(seen,limit)",
    " if g==0 or known>g or known==g and ARGV[a+8]=='1' then",
    "  f=math.max(f,seen,now)",
    "  base,g=f,now",
    " elseif known<g and seen>base then",
    "  f=math.min(f+seen-base,limit)",
    "  base=seen",
    " end",
    " if f<now then base,f=base+(now-f),now end",
    " f=f+ARGV[a+3]*interval",
    " if f<now then base,f=base+(now-f),now end",
    " full[i],bases[i],generations[i]=f,base,g",
    " if need>0 and f+need*interval>now+(span+0.01*interval+1) then enough=0 end",
    "end",
    "local reply={enough,now}",
    "for i,key in ipairs(KEYS) do",
    " local a=8*(i-1)",
    " local interval,span=tonumber(ARGV[a+1]),ARGV[a+2]*ARGV[a+1]",
    " local need,want=tonumber(ARGV[a+4]),tonumber(ARGV[a+5])",
    " local f,g,granted=full[i],generations[i],0",
    " if enough==1 and want>0 then",
    "  local most=math.floor((now+(span+0.01*interval+1)-f)/interval)",
    "  granted=math.max(math.min(want,most),math.min(need,want))",
    " end",
    " local text=string.format('%.0f',f+granted*interval)",
    " f=tonumber(text)",
    " if f>now then",
    "  redis.call('set',key,text..string.format(' %.0f %.0f',bases[i],g),'PX',math.ceil((f-now)/1000))",
    " else redis.call('del',key) end",
    " reply[3*i]=granted",
    " reply[3*i+1]=f",
    " reply[3*i+2]=g",
    "end",
    "return reply",
)

MEMBERS: Final = _script(
    "local t=redis.call('time')",
    "local now=t[1]*1000000+t[2]",
    "local new=redis.call('zadd',KEYS[1],now,ARGV[1])",
    "redis.call('zremrangebyscore',KEYS[1],'-inf',now-ARGV[2])",
    "redis.call('pexpire',KEYS[1],math.ceil(ARGV[2]/1000))",
    "return {redis.call('zcard',KEYS[1]),new}",
)
"""Registers a process.

The reply is the number of processes that were registered recently, and whether this one was not.
"""


def arguments_of(operations: Sequence[Operation]) -> list[Argument]:
    """Return the arguments of L{TAKE} for operations on the buckets with its names."""
    arguments: list[Argument] = []
    for each in operations:
        rate = each.rate
        numbers = (rate.interval, rate.capacity, each.owed, each.need, each.want, each.seen, each.generation)
        arguments += map(repr, numbers)
        arguments.append("1" if each.moved else "0")
    return arguments


class InvalidReply(Exception):
    """A reply that is not one of the script."""


def read_reply(reply: Any, operations: Sequence[Operation]) -> tuple[bool, int, list[Outcome]]:
    """Return whether all needed tokens were taken, the time of the engine, and the outcomes.

    @raise InvalidReply: if it is not a reply to these operations.
    """
    if not isinstance(reply, list) or len(reply) != 2 + 3 * len(operations):
        raise InvalidReply("the engine sent an invalid reply")
    if not all(isinstance(each, int) and each >= 0 for each in reply):
        raise InvalidReply("the engine sent an invalid reply")
    enough, now, *rest = reply
    return enough == 1, now, [Outcome(*rest[at : at + 3]) for at in range(0, len(rest), 3)]
