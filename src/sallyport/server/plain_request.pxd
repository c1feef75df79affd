# Types for plain_request.py when Cython compiles it.
cimport cython
from libc.string cimport memchr, memcmp

from sallyport.server.plain_parameters cimport parameters_end

# Types of messages.
cdef enum:
    QUERY = 0x51
    PARSE = 0x50
    BIND = 0x42
    CLOSE = 0x43
    SYNC = 0x53
    FLUSH = 0x48

cdef Py_ssize_t _DESCRIBE, _EXECUTE, _STATEMENT, _PORTAL, _NAME


@cython.final
cdef class PlainRequest:
    cdef Py_ssize_t kind, text, text_size, types, parsed, name, name_size, bind, bound, end
    cdef bint described, limited, synced

    @cython.locals(stop=Py_ssize_t)
    cdef int read(self, const unsigned char *src, Py_ssize_t size, Py_ssize_t longest) noexcept
    @cython.locals(p=Py_ssize_t, zero="const unsigned char *")
    cdef int _parse(
        self, const unsigned char *src, Py_ssize_t stop, Py_ssize_t size, Py_ssize_t longest
    ) noexcept
    cdef int _close(self, const unsigned char *src, Py_ssize_t stop, Py_ssize_t size) noexcept
    @cython.locals(stop=Py_ssize_t, p=Py_ssize_t)
    cdef int _bundle(
        self, const unsigned char *src, Py_ssize_t start, Py_ssize_t size, Py_ssize_t longest
    ) noexcept
    @cython.locals(p=Py_ssize_t, count=Py_ssize_t)
    cdef bint _bind(self, const unsigned char *src, Py_ssize_t start, Py_ssize_t stop) noexcept
    @cython.locals(p=Py_ssize_t)
    cdef int _sync(self, const unsigned char *src, Py_ssize_t size) noexcept
    cdef Py_ssize_t _read_name(self, const unsigned char *src, Py_ssize_t p, Py_ssize_t stop) noexcept


@cython.locals(length=Py_ssize_t)
cdef Py_ssize_t _message_end(
    const unsigned char *src, Py_ssize_t p, Py_ssize_t size, Py_ssize_t longest
) noexcept

@cython.locals(a=Py_ssize_t, b=Py_ssize_t, c=Py_ssize_t, d=Py_ssize_t)
cdef Py_ssize_t _uint32(const unsigned char *src, Py_ssize_t p) noexcept
