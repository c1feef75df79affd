# Types for lane_legs.py, and the C functions it calls.
cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.errno cimport errno
from libc.stdint cimport uint32_t

from sallyport.server.plain cimport PlainTraffic
from sallyport.server.tls cimport TlsLayer
from sallyport.wire.frames cimport Output

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        void *ptr
    cdef struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int op, int fd, epoll_event *event)
    int epoll_wait(int epfd, epoll_event *events, int maxevents, int timeout)
    int EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL
    uint32_t EPOLLIN, EPOLLOUT

cdef extern from "<unistd.h>" nogil:
    int close(int fd)

cdef Py_ssize_t _KEPT


@cython.final
cdef class Leg:
    cdef readonly int fd
    cdef readonly bint is_client
    cdef Output out, part
    cdef TlsLayer tls
    cdef Output kept
    cdef Py_ssize_t out_start
    cdef uint32_t events
    cdef bint watched
    cdef LaneSession session
    cdef Leg other

    cdef bytes take(self)
    cdef int begin(self) except -1
    cdef int empty(self) except -1


@cython.final
cdef class LaneSession:
    cdef LegWatcher lane
    cdef object owner
    cdef readonly PlainTraffic traffic
    cdef Leg client, server
    cdef readonly bint inside, held, waits
    cdef long long tell_at

    cpdef enter(self)
    cpdef hold(self, bint hold)
    @cython.locals(lane=LegWatcher, part=Output, kept=Output)
    cpdef leave(self, bytes from_client=*, bytes from_server=*)


cdef class LegWatcher:
    cdef readonly int descriptor
    cdef epoll_event event
    cdef list left

    cdef int watch(self, Leg leg, uint32_t events) except -1
    @cython.locals(session=LaneSession, events=uint32_t, waiting=Output)
    cdef int rewatch(self, Leg leg) except -1
    cdef int unwatch(self, Leg leg) except -1
