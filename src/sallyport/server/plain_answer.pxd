# Types for plain_answer.py when Cython compiles it.
cimport cython

cdef enum:
    ROW = 0x44
    DESCRIBED = 0x54
    PART = 131072  # bytes of the server's longest message, and of what is kept of a request or answer until there is more of it

cdef Py_ssize_t _PARSED, _BOUND, _CLOSED, _PARAMETERS, _NO_DATA, _COMPLETED, _SUSPENDED, _READY, _MORE


@cython.final
cdef class PlainAnswer:
    cdef Py_ssize_t start, described, ended, completed, end, rows, parameters
    cdef unsigned char kind, status
    cdef bint parsed, bound, whole, suspended

    @cython.locals(p=Py_ssize_t, length=Py_ssize_t)
    cdef bint read(
        self, const unsigned char *src, Py_ssize_t size, Py_ssize_t limit, bint limited, bint synced
    ) noexcept
    @cython.locals(p=Py_ssize_t)
    cdef Py_ssize_t _begin(self, const unsigned char *src, Py_ssize_t size) noexcept
    @cython.locals(rows=Py_ssize_t, length=Py_ssize_t)
    cdef Py_ssize_t _rows(
        self, const unsigned char *src, Py_ssize_t size, Py_ssize_t p, Py_ssize_t limit
    ) noexcept
    @cython.locals(end=Py_ssize_t)
    cdef bint read_end(
        self, const unsigned char *src, Py_ssize_t size, Py_ssize_t p, bint limited, bint synced
    ) noexcept
    cdef bint read_acknowledged(
        self, const unsigned char *src, Py_ssize_t size, Py_ssize_t kind, bint synced
    ) noexcept
    @cython.locals(p=Py_ssize_t, length=Py_ssize_t)
    cdef bint read_prepared(self, const unsigned char *src, Py_ssize_t size, bint synced) noexcept
    cdef bint _ready(self, const unsigned char *src, Py_ssize_t size, Py_ssize_t p, bint synced) noexcept
    @cython.locals(length=Py_ssize_t)
    cdef Py_ssize_t _completion(
        self, const unsigned char *src, Py_ssize_t size, Py_ssize_t p, bint limited
    ) noexcept


@cython.locals(a=Py_ssize_t, b=Py_ssize_t, c=Py_ssize_t, d=Py_ssize_t)
cdef Py_ssize_t _uint32(const unsigned char *src, Py_ssize_t p) noexcept

@cython.locals(i=Py_ssize_t)
cdef bint is_ascii(const unsigned char *src, Py_ssize_t size) noexcept
