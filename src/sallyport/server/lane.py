# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: annotation_typing=False, infer_types=True
"""The lane: reads and writes the sockets of sessions with plain traffic, without entering Python.

One :class:`Lane` per event loop has an epoll descriptor of its own, which the loop watches. A
session whose traffic is plain (:attr:`~sallyport.session.state.SessionState.is_plain`) is entered
with both its sockets, which their asyncio transports do not read meanwhile. What
:class:`~sallyport.server.plain.PlainTraffic` recognises goes from socket to socket here; with the
first bytes that it does not, the session leaves: its sockets go back to their transports, and its
owner (:class:`~sallyport.server.ports.LaneOwner`) gets what was read and what could not be written.

A leg with TLS has the layer of its transport (:class:`~sallyport.server.tls.TlsLayer`): between any
two records the one can go on where the other has stopped.

What may change something waits in its session until the journal has it; at the end of every look
all of it is written at once (:mod:`sallyport.server.intents`).

Back-pressure: while a socket does not take what is written, the other one is not read. Exists
compiled only (types in ``lane.pxd``); see ``docs/adr`` for what was measured.

Source: epoll(7), recv(2), send(2).
"""

from __future__ import annotations

from typing import Any

from sallyport.core.errors import ProtocolError
from sallyport.server.lane_legs import MOST_KEPT, LaneSession, Leg, LegWatcher
from sallyport.server.latency import SAMPLE_EVERY, LatencyHistograms
from sallyport.server.plain import Scratch
from sallyport.server.tls import RECORD
from sallyport.wire.frames import Output

try:
    import cython
except ImportError:
    from sallyport.wire import interpreted as cython

COMPILED = bool(cython.compiled)

if not cython.compiled:
    # C functions that lane.pxd imports; only ever called by compiled code.
    EPOLLIN: Any = None
    EPOLLOUT: Any = None
    MSG_NOSIGNAL: Any = None
    EAGAIN: Any = None
    EINTR: Any = None
    EPROTO: Any = None
    epoll_wait: Any = None
    errno: Any = None
    malloc: Any = None
    free: Any = None
    recv: Any = None
    send: Any = None
    memcpy: Any = None
    now: Any = None
    PyBUF_WRITE: Any = None
    PyBytes_FromStringAndSize: Any = None
    PyMemoryView_FromMemory: Any = None

#: Bytes that one read takes at most.
_READ = 262144
#: Bytes of plaintext that may come of what one read takes: with it those of a record that was begun
#: before.
_OPENED = _READ + 2 * RECORD
#: Rounds of reading before other work of the event loop gets its turn.
_ROUNDS = 4
_EVENTS = 256
#: Bytes that wait for the recorder from which on its owner is told, and after how many more it is
#: told again.
_RECORDED = 65536
_TOLD = 16384
#: Bytes of answers that are gathered before they are sent.
_BATCH = 65536
#: Turns of the event loop after which a second look is tried again where the last one found
#: nothing.
_LOOKS = 16
#: Bytes that are read before other work of the event loop gets its turn.
_BUDGET = 1048576


class Lane(LegWatcher):
    """See the module's docstring. ``descriptor``: to be watched for reading, and then :meth:`poll`
    called.

    ``latency``: what is told of every so many reads how long they were kept. ``intents``: writes
    the journal; None where there is none. Raises OSError.
    """

    ready: Any  # epoll_event[_EVENTS] when compiled

    def __init__(self, latency: LatencyHistograms, intents: Any = None) -> None:
        super().__init__()
        self.latency = latency
        self.intents = intents
        self.written = 0  # ordinal of the newest intent that is known to be in the journal
        self.waiting: list[Any] = []  # sessions that wait for the journal
        self.until_measured = SAMPLE_EVERY
        self.buffer = cython.cast("unsigned char *", malloc(_READ))
        self.opened = cython.cast("unsigned char *", malloc(_OPENED))  # what was decrypted
        if self.buffer == cython.NULL or self.opened == cython.NULL:
            raise MemoryError
        self.room = PyMemoryView_FromMemory(
            cython.cast("char *", self.opened), _OPENED, PyBUF_WRITE
        )
        self.batch = Output(4096)
        self.scratch = Scratch()
        self.requests = 0
        self.finds_more = False
        self.until_look = _LOOKS

    def __dealloc__(self) -> None:
        free(self.buffer)
        free(self.opened)

    def poll(self) -> None:
        """Handle what is there."""
        self.budget = _BUDGET
        for turn in range(_ROUNDS):
            if self.budget <= 0:
                break  # what is left is told again
            if turn == 1 and not self.looks_again():
                break
            count = epoll_wait(self.descriptor, self.ready, _EVENTS, 0)
            if turn == 1:
                self.finds_more = count > 0
            if count <= 0:
                break
            for i in range(count):
                if self.budget <= 0:
                    break
                leg = cython.cast(Leg, self.ready[i].data.ptr)
                try:
                    self.handle(leg, self.ready[i].events)
                except Exception as error:  # noqa: BLE001  the session ends; the others go on
                    session = leg.session
                    session.leave()
                    session.owner.lane_broken(error)
            if self.waiting:
                self.intents.commit(self)
            if self.left:
                self.left.clear()

    def looks_again(self) -> bool:
        """Whether a second look may find more: the last one did, or that was a while ago. The event
        loop would tell of it.
        """
        self.until_look -= 1
        if self.until_look <= 0:
            self.until_look = _LOOKS
            return True
        return self.finds_more

    def handle(self, leg: Leg, events: int) -> int:
        session: LaneSession = leg.session
        if not session.inside:
            return 0
        if leg.events & EPOLLOUT and events & ~EPOLLIN and not self.flush(leg):
            return 0
        if not session.inside:
            return 0
        if not leg.events & EPOLLIN:
            if events & ~EPOLLOUT and not leg.events:
                # closed by its peer while it is not read: for the general way to see
                session.leave()
            return 0
        if events & ~EPOLLOUT:
            self.receive(session, leg)
        return 0

    def receive(self, session: LaneSession, leg: Leg) -> int:
        kept = leg.part.n
        src = self.buffer
        if leg.tls is not None:
            src = self.opened
        if kept:
            memcpy(src, leg.part.data, kept)
        at = 0 if leg.tls is not None else kept
        size = recv(leg.fd, self.buffer + at, _READ - kept, 0)
        if size > 0:
            self.budget -= size
            if leg.tls is not None:
                size = self.decrypt(session, leg, size, kept)
                if size <= 0:
                    return 0
            leg.begin()
            self.until_measured -= 1
            if self.until_measured <= 0:
                return self.measure(session, leg, src, kept + size)
            if leg.is_client:
                return self.from_client(session, src, kept + size)
            return self.from_server(session, src, kept + size)
        if size < 0:
            number = errno
            if number in (EAGAIN, EINTR):
                return 0
            return self.fail(session, leg, number)
        session.leave()  # its transport sees the end of the stream as well
        return 0

    def decrypt(self, session: LaneSession, leg: Leg, size: int, kept: int) -> int:
        """Into ``opened``, behind what was kept; gives how much it is, 0 when that is no whole
        record, and -1 when the session has left.
        """
        tls: Any = leg.tls
        try:
            room: Any = self.room[kept:] if kept else self.room
            size = tls.decrypt(self.buffer, size, room, _OPENED - kept)
            if tls.has_outgoing():
                answer = tls.outgoing()
                self.put(session, leg, _address(answer), len(answer))
        except ProtocolError:
            self.fail(session, leg, EPROTO)
            return -1
        return size if session.inside else -1

    def measure(self, session: LaneSession, leg: Leg, src: Any, size: int) -> int:
        """Handle what was read, and say how long it took."""
        self.until_measured = SAMPLE_EVERY
        started = now()
        if leg.is_client:
            self.from_client(session, src, size)
            self.latency.to_server.add(now() - started)
        else:
            self.from_server(session, src, size)
            self.latency.to_client.add(now() - started)
        return 0

    def from_client(self, session: LaneSession, src: Any, size: int) -> int:
        traffic = session.traffic
        p = traffic.ask(src, size)
        if p == size:
            self.requests += 1
            self.write(session, session.server, traffic.piece, traffic.piece_size)
            return self.check_recorder(session)
        batch = self.batch
        batch.n = 0
        used = p
        while used > 0:
            self.requests += 1
            batch.write(traffic.piece, 0, traffic.piece_size)
            if p >= size:
                break
            used = traffic.ask(src + p, size - p)
            p += used
        if batch.n:
            self.write(session, session.server, batch.data, batch.n)
        if p < size and session.inside:
            if not traffic.wants_rest:
                session.leave(
                    PyBytes_FromStringAndSize(cython.cast("const char *", src) + p, size - p)
                )
                return 0
            session.client.part.write(src, p, size - p)
        return self.check_recorder(session)

    def from_server(self, session: LaneSession, src: Any, size: int) -> int:
        traffic = session.traffic
        batch = self.batch
        batch.n = 0
        p = 0
        while p < size and session.inside:
            used = traffic.answer(src + p, size - p)
            if used == 0:
                break
            p += used
            if batch.n == 0 and (p == size or traffic.piece_size >= _BATCH):
                self.write(session, session.client, traffic.piece, traffic.piece_size)
                continue
            batch.write(traffic.piece, 0, traffic.piece_size)
            if batch.n >= _BATCH:
                self.write(session, session.client, batch.data, batch.n)
                batch.n = 0
        if batch.n:
            self.write(session, session.client, batch.data, batch.n)
        if p < size and session.inside:
            if not traffic.wants_more:
                session.leave(
                    b"", PyBytes_FromStringAndSize(cython.cast("const char *", src) + p, size - p)
                )
                return 0
            session.server.part.write(src, p, size - p)
        return self.check_recorder(session)

    def check_recorder(self, session: LaneSession) -> int:
        if session.inside and not session.held:
            chunks = session.traffic.chunks
            if chunks.waiting > _RECORDED and chunks.accepted >= session.tell_at:
                session.tell_at = chunks.accepted + _TOLD
                session.owner.lane_recorded()
        return 0

    def write(self, session: LaneSession, leg: Leg, src: Any, size: int) -> int:
        """Send, encrypted where the leg is."""
        if not session.inside:
            return 0
        if not leg.is_client and (session.waits or session.traffic.intent > self.written):
            return self.keep(session, leg, src, size)
        if leg.tls is None:
            return self.put(session, leg, src, size)
        tls: Any = leg.tls
        try:
            sealed = tls.encrypt(src, size)
        except ProtocolError:
            return self.fail(session, leg, EPROTO)
        return self.put(session, leg, _address(sealed), len(sealed))

    def keep(self, session: LaneSession, leg: Leg, src: Any, size: int) -> int:
        """Until the journal has what the session may change."""
        if leg.kept is None:
            leg.kept = Output(0)
        kept: Any = leg.kept
        kept.write(src, 0, size)
        if not session.waits:
            session.waits = True
            self.waiting.append(session)
        if kept.n > MOST_KEPT:
            self.rewatch(leg.other)
        return 0

    def release(self, written: int) -> bool:
        """Send what waits for no later intent; whether that was all."""
        self.written = written
        waiting, self.waiting = self.waiting, []
        for member in waiting:
            session: Any = member
            if not session.waits:
                continue
            if session.traffic.intent > written:
                self.waiting.append(session)
                continue
            leg = session.server
            kept = leg.kept
            leg.kept = None
            session.waits = False
            if kept.n > MOST_KEPT:
                self.rewatch(leg.other)
            self.write(session, leg, kept.data, kept.n)
        return not self.waiting

    def fail_waiting(self) -> None:
        """What waits is never sent: it could not be journaled."""
        waiting, self.waiting = self.waiting, []
        for member in waiting:
            session: Any = member
            if session.waits:
                session.server.kept = None
                session.owner.lane_unjournaled()

    def put(self, session: LaneSession, leg: Leg, src: Any, size: int) -> int:
        """Send, or keep what the socket does not take; then the other leg is not read."""
        done = 0
        if leg.out.n == 0:
            done = send(leg.fd, src, size, MSG_NOSIGNAL)
            if done == size:
                return 1
            if done < 0:
                number = errno
                if number not in (EAGAIN, EINTR):
                    return self.fail(session, leg, number)
                done = 0
        leg.out.write(src, done, size - done)
        self.rewatch(leg)
        self.rewatch(leg.other)
        return 0

    def flush(self, leg: Leg) -> bool:
        """Send what is left. False while some of it is, or the session has left."""
        session: LaneSession = leg.session
        out = leg.out
        done = send(leg.fd, out.data + leg.out_start, out.n - leg.out_start, MSG_NOSIGNAL)
        if done < 0:
            number = errno
            if number not in (EAGAIN, EINTR):
                self.fail(session, leg, number)
            return False
        leg.out_start += done
        if leg.out_start < out.n:
            return False
        leg.empty()
        self.rewatch(leg)
        self.rewatch(leg.other)
        return True

    def fail(self, session: LaneSession, leg: Leg, number: int) -> int:
        owner = session.owner
        session.leave()
        owner.lane_failed(OSError(number, "the connection failed"), leg.is_client)
        return 0


def _address(data: bytes) -> Any:
    return data
