# Types for tls.py when Cython compiles it.
cimport cython
from cpython.buffer cimport PyBUF_READ
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_FromMemory

cdef Py_ssize_t _COPIED


@cython.final
cdef class TlsLayer:
    cdef object _incoming, _outgoing, _object
    cdef object _read, _write, _put, _get
    cdef readonly bint established

    cdef bint is_drained(self) except -1
    @cython.locals(n=Py_ssize_t, count=Py_ssize_t)
    cdef Py_ssize_t decrypt(
        self, const unsigned char *src, Py_ssize_t size, object to, Py_ssize_t room
    ) except -1
    cdef bytes encrypt(self, const unsigned char *src, Py_ssize_t size)
    cdef bint has_outgoing(self) except -1


cdef object _piece(const unsigned char *src, Py_ssize_t size)
