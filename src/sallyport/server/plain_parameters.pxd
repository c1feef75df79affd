# Types for plain_parameters.py when Cython compiles it.
cimport cython

from sallyport.audit.msgpack cimport put_array, put_bin, put_nil, put_uint


@cython.locals(a=Py_ssize_t, b=Py_ssize_t, c=Py_ssize_t, d=Py_ssize_t)
cdef Py_ssize_t _uint32(const unsigned char *src, Py_ssize_t p) noexcept

cdef Py_ssize_t parameters(const unsigned char *src, Py_ssize_t p) noexcept

@cython.locals(count=Py_ssize_t, n=Py_ssize_t, length=Py_ssize_t, _=Py_ssize_t)
cdef Py_ssize_t parameters_end(const unsigned char *src, Py_ssize_t p, Py_ssize_t stop) noexcept

@cython.locals(
    formats=Py_ssize_t, count=Py_ssize_t, n=Py_ssize_t, length=Py_ssize_t, i=Py_ssize_t, _=Py_ssize_t
)
cdef unsigned char *put_parameters(unsigned char *out, const unsigned char *src, Py_ssize_t p) noexcept
