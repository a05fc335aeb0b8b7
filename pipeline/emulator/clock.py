"""The clock in a cartridge: it stands still, at the same time wherever the host lives.

mGBA turns a fixed clock's seconds into date and time of day by the C library's ``localtime``. So
a Game Boy Advance is given those seconds at which the host's own clocks show the date and time of
day that the game's description asks for in UTC. A Game Boy's clock counts days and seconds from
when the console was switched on: here always from midnight of that day.
"""

from __future__ import annotations

import calendar
import time

from pipeline.system.errors import PipelineError

IN_UTC = "clock in UTC"
"""What the provenance of a recording says of its emulator. Recordings from before it say nothing:
their clocks followed the time zone of the host that played them."""


def host_seconds(rtc_ms: int) -> int:
    """The seconds since 1970 at which ``localtime`` shows what ``gmtime`` shows at ``rtc_ms``.

    Raises:
        PipelineError: the host's time zone skips this time of day, as where summer time begins.
    """
    due = time.gmtime(rtc_ms // 1000)
    seconds = int(time.mktime((*due[:6], 0, 0, -1)))  # it reads TZ anew, as localtime does not
    if time.localtime(seconds)[:6] != due[:6]:
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", due)
        raise PipelineError(
            f"rtc {moment}: the clocks of this host's time zone ({time.tzname[0]}) skip that time "
            "of day, so mGBA cannot show it; set TZ=UTC for this command, or write another moment"
        )
    return seconds


def as_before(rtc_ms: int) -> int:
    """The ``rtc_ms`` that shows the same time in UTC as ``rtc_ms`` did in this host's time zone.

    Recordings from before clocks were in UTC showed the time of the host's zone.
    """
    time.tzset()
    return calendar.timegm(time.localtime(rtc_ms // 1000)) * 1000
