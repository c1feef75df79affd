# Types for scan.py when Cython compiles it; says nothing else.
cimport cython

cdef Py_ssize_t _QUOTE, _DOUBLE, _BACKSLASH

cdef bint _is_word(Py_ssize_t c) noexcept

@cython.locals(size=Py_ssize_t, out=bytearray, n=Py_ssize_t, i=Py_ssize_t, c=Py_ssize_t, previous=Py_ssize_t)
cpdef literals(bytes sql, Py_ssize_t limit)

@cython.locals(c=Py_ssize_t)
cdef Py_ssize_t _string_end(bytes sql, Py_ssize_t i, Py_ssize_t size) noexcept

@cython.locals(a=Py_ssize_t, b=Py_ssize_t, c=Py_ssize_t, d=Py_ssize_t)
cdef Py_ssize_t _length(bytes buf, Py_ssize_t p) noexcept

@cython.locals(
    size=Py_ssize_t, stop=Py_ssize_t, end=Py_ssize_t, p=Py_ssize_t, a=Py_ssize_t, count=Py_ssize_t, code=Py_ssize_t,
    n=Py_ssize_t, length=Py_ssize_t, described=bint, i=Py_ssize_t,
)
cpdef bundle(bytes buf)

@cython.locals(
    size=Py_ssize_t, p=Py_ssize_t, bound=Py_ssize_t, kind=Py_ssize_t, start=Py_ssize_t, length=Py_ssize_t,
    described=Py_ssize_t, rows=Py_ssize_t, ended=Py_ssize_t, status=Py_ssize_t,
)
cpdef answer(bytes buf)
