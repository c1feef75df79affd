# Types for tls.py when Cython compiles it.
cimport cython
from cpython.buffer cimport PyBUF_READ, PyBUF_WRITE
from cpython.memoryview cimport PyMemoryView_FromMemory


@cython.final
cdef class TlsLayer:
    cdef object _incoming, _outgoing, _object
    cdef readonly bint established

    cdef bint is_drained(self) except -1
    @cython.locals(n=Py_ssize_t, count=Py_ssize_t)
    cdef Py_ssize_t decrypt(
        self, const unsigned char *src, Py_ssize_t size, unsigned char *to, Py_ssize_t room
    ) except -1
    cdef bytes encrypt(self, const unsigned char *src, Py_ssize_t size)
    cdef bint has_outgoing(self) except -1
