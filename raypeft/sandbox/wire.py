"""What supervisor and zygote tell each other about a process: records of fixed length, beside the frames of JSON.

    socket.send_fds(control, [REQUEST.pack(cpu_seconds, filtered)], [program_end, report_end])
    kind, pid = STARTED.unpack(report.recv(STARTED.size))

In the zygote only `forking` imports this, after the holes are filled (`packing`): every fork writes to the records'
reference counts, and on a page that processes share each such write costs a copy.
"""

from __future__ import annotations

import struct

REQUEST = struct.Struct("<IB")
"""To the zygote, with two sockets: CPU seconds that end the process in any case; 1 to put it under the filter."""
STARTED = struct.Struct("<cq")
"""From the zygote: FORKED and the pid, which is 0 where only the pidfd that comes along tells it; or NOT_FORKED and the
kernel's errno."""
FORKED, NOT_FORKED = b"S", b"F"
ENDED = struct.Struct("<ciddq")
"""From the zygote: GONE, wait status, user and system CPU seconds, peak resident KiB."""
GONE = b"E"
