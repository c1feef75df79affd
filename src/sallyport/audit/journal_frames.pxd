# Types for journal_frames.py when Cython compiles it.
cimport cython
from posix.stat cimport fstat, struct_stat


@cython.final
cdef class SegmentCipher:
    cdef object _encrypt, _decrypt
    cdef bytes _header
    cdef public long long number

    @cython.locals(number=bytes)
    cpdef bytes encrypt(self, bytes body)


@cython.locals(ids=list, events=list, body=bytes)
cpdef bytes encode_frame(list intents, dict marks, SegmentCipher cipher)

@cython.locals(count=long)
cpdef long names_of(int fd) except -1


cdef inline long links(int fd) noexcept:
    cdef struct_stat info
    if fstat(fd, &info) < 0:
        return -1
    return <long> info.st_nlink
