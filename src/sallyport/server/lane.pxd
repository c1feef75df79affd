# Types for lane.py, and the C functions it calls.
cimport cython
from cpython.buffer cimport PyBUF_WRITE
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.errno cimport EAGAIN, EINTR, EPROTO, errno
from libc.stdint cimport uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from sallyport.audit.chunks cimport ChunkWriter
from sallyport.server.lane_legs cimport EPOLLIN, EPOLLOUT, LaneSession, Leg, LegWatcher, epoll_event, epoll_wait
from sallyport.server.plain cimport PlainTraffic, Scratch
from sallyport.server.plain_statement cimport now
from sallyport.server.tls cimport TlsLayer
from sallyport.wire.frames cimport Output

cdef extern from "<sys/socket.h>" nogil:
    ssize_t recv(int fd, void *buf, size_t size, int flags)
    ssize_t send(int fd, const void *buf, size_t size, int flags)
    int MSG_NOSIGNAL

cdef Py_ssize_t _READ, _OPENED, _BATCH, _ROUNDS, _EVENTS, _RECORDED, _TOLD, _LOOKS, _BUDGET


@cython.final
cdef class Lane(LegWatcher):
    cdef unsigned char *buffer
    cdef unsigned char *opened
    cdef object room  # a view of ``opened``
    cdef epoll_event ready[256]
    cdef Output batch
    cdef readonly Scratch scratch
    cdef list waiting
    cdef long long written
    cdef readonly Py_ssize_t requests
    cdef Py_ssize_t until_measured, budget, until_look
    cdef bint finds_more  # a second look found something, the last time
    cdef object latency, intents

    @cython.locals(count=int, turn=int, i=int, leg=Leg, session=LaneSession)
    cpdef poll(self)
    cdef bint looks_again(self) noexcept
    @cython.locals(session=LaneSession)
    cdef int handle(self, Leg leg, uint32_t events) except -1
    @cython.locals(kept=Py_ssize_t, at=Py_ssize_t, size=Py_ssize_t, number=int, src="unsigned char *")
    cdef int receive(self, LaneSession session, Leg leg) except -1
    @cython.locals(tls=TlsLayer, answer=bytes)
    cdef Py_ssize_t decrypt(self, LaneSession session, Leg leg, Py_ssize_t size, Py_ssize_t kept) except -2
    @cython.locals(started=double)
    cdef int measure(
        self, LaneSession session, Leg leg, const unsigned char *src, Py_ssize_t size
    ) except -1
    @cython.locals(traffic=PlainTraffic, p=Py_ssize_t, used=Py_ssize_t, batch=Output)
    cdef int from_client(self, LaneSession session, const unsigned char *src, Py_ssize_t size) except -1
    @cython.locals(traffic=PlainTraffic, p=Py_ssize_t, used=Py_ssize_t, batch=Output)
    cdef int from_server(self, LaneSession session, const unsigned char *src, Py_ssize_t size) except -1
    @cython.locals(chunks=ChunkWriter)
    cdef int check_recorder(self, LaneSession session) except -1
    @cython.locals(tls=TlsLayer, sealed=bytes)
    cdef int write(self, LaneSession session, Leg leg, const unsigned char *src, Py_ssize_t size) except -1
    @cython.locals(kept=Output)
    cdef int keep(self, LaneSession session, Leg leg, const unsigned char *src, Py_ssize_t size) except -1
    @cython.locals(waiting=list, session=LaneSession, leg=Leg, kept=Output)
    cpdef bint release(self, long long written) except -1
    @cython.locals(waiting=list, session=LaneSession)
    cpdef fail_waiting(self)
    @cython.locals(done=Py_ssize_t, number=int)
    cdef int put(self, LaneSession session, Leg leg, const unsigned char *src, Py_ssize_t size) except -1
    @cython.locals(session=LaneSession, out=Output, done=Py_ssize_t, number=int)
    cdef bint flush(self, Leg leg) except -1
    cdef int fail(self, LaneSession session, Leg leg, int number) except -1


cdef const unsigned char *_address(bytes data) except NULL
