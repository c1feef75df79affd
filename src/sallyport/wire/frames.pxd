# Types for frames.py when Cython compiles it; says nothing else. Every local that a hot loop uses is named here.
cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

cdef Py_ssize_t _DATA_ROW, _COPY_DATA, _NULL_LENGTH
cdef Py_ssize_t _KEEP, _NULL, _CONST, _CONST_UNLESS_NULL, _PARTIAL, _EMAIL, _CALL
cdef bytes _NULL_CELL, _COPY_SIGNATURE, _ESCAPES


@cython.final
cdef class RowProgram:
    cdef readonly Py_ssize_t columns
    cdef readonly bint keep_all
    cdef readonly bytes codes
    cdef bytes first, last
    cdef list values, cells, functions


@cython.final
cdef class CopyState:
    cdef public Py_ssize_t phase


@cython.final
cdef class _View:
    cdef Py_buffer view
    cdef bint held
    cdef const unsigned char *data
    cdef Py_ssize_t size


@cython.final
cdef class Output:
    cdef unsigned char *data
    cdef Py_ssize_t n, capacity

    cdef inline int reserve(self, Py_ssize_t more) except -1
    @cython.locals(size=Py_ssize_t, data="unsigned char *")
    cdef int grow(self, Py_ssize_t more) except -1
    cdef inline int write(self, const unsigned char *src, Py_ssize_t start, Py_ssize_t size) except -1
    cdef inline int write_bytes(self, bytes value) except -1
    cdef inline int put(self, unsigned char byte) except -1
    cdef bytes finish(self)


cdef void _copy(
    unsigned char *dst, Py_ssize_t at, const unsigned char *src, Py_ssize_t start, Py_ssize_t size
) noexcept

@cython.locals(a=Py_ssize_t, b=Py_ssize_t, c=Py_ssize_t, d=Py_ssize_t)
cdef Py_ssize_t _uint32(const unsigned char *src, Py_ssize_t p) noexcept

cdef void _put_uint32(unsigned char *dst, Py_ssize_t p, Py_ssize_t value) noexcept

cdef Py_ssize_t _malformed(str what) except -1

@cython.locals(
    view=_View, src="const unsigned char *", end=Py_ssize_t, kind=Py_ssize_t, length=Py_ssize_t, stop=Py_ssize_t,
    count=Py_ssize_t, spans=list,
)
cpdef tuple split(object buf, Py_ssize_t pos, Py_ssize_t limit, bint coalesce=*, Py_ssize_t alone=*)

@cython.locals(length=Py_ssize_t)
cdef Py_ssize_t _message_end(
    const unsigned char *src, Py_ssize_t p, Py_ssize_t end, Py_ssize_t kind
) except -1

@cython.locals(view=_View, size=Py_ssize_t, out=Output)
cpdef bytes mask_rows(object buf, Py_ssize_t start, Py_ssize_t end, RowProgram program)

@cython.locals(p=Py_ssize_t, stop=Py_ssize_t, head=Py_ssize_t)
cdef int write_masked_rows(
    const unsigned char *src, Py_ssize_t start, Py_ssize_t end, RowProgram program, Output out
) except -1

@cython.locals(
    codes="const unsigned char *", run=Py_ssize_t, i=Py_ssize_t, length=Py_ssize_t, after=Py_ssize_t,
    code=Py_ssize_t, head=Py_ssize_t,
)
cdef Py_ssize_t _mask_cells(
    const unsigned char *src, Py_ssize_t p, Py_ssize_t stop, RowProgram program, Output out
) except -1

cdef const unsigned char *_address(bytes value) except NULL

@cython.locals(code=Py_ssize_t)
cdef int _mask_value(
    RowProgram program, Py_ssize_t i, const unsigned char *src, Py_ssize_t a, Py_ssize_t b, Output out
) except -1

cdef int _call(
    RowProgram program, Py_ssize_t i, const unsigned char *src, Py_ssize_t a, Py_ssize_t b, Output out
) except -1

@cython.locals(count=Py_ssize_t, p=Py_ssize_t, c=Py_ssize_t, more=Py_ssize_t)
cdef Py_ssize_t _characters(const unsigned char *src, Py_ssize_t a, Py_ssize_t b) noexcept

@cython.locals(count=Py_ssize_t, p=Py_ssize_t, index=Py_ssize_t, c=Py_ssize_t)
cdef int _partial(
    const unsigned char *src, Py_ssize_t a, Py_ssize_t b, Py_ssize_t first, Py_ssize_t last, Output out
) except -1

@cython.locals(at=Py_ssize_t, after=Py_ssize_t)
cdef int _email(const unsigned char *src, Py_ssize_t a, Py_ssize_t b, Output out) except -1

@cython.locals(dots=Py_ssize_t, previous=Py_ssize_t, p=Py_ssize_t, c=Py_ssize_t)
cdef bint _is_domain(const unsigned char *src, Py_ssize_t a, Py_ssize_t b) noexcept

@cython.locals(
    view=_View, src="const unsigned char *", out=Output, value=Output, masked=Output,
    codes="const unsigned char *", has_null=bint, columns=Py_ssize_t, p=Py_ssize_t, stop=Py_ssize_t, head=Py_ssize_t,
    last=Py_ssize_t, run=Py_ssize_t, i=Py_ssize_t, a=Py_ssize_t, b=Py_ssize_t, c=Py_ssize_t, escaped=bint,
    code=Py_ssize_t, value_written=bint,
)
cpdef bytes mask_copy_text(
    object buf, Py_ssize_t start, Py_ssize_t end, RowProgram program, Py_ssize_t delimiter, bytes null
)

@cython.locals(expected="const unsigned char *", i=Py_ssize_t)
cdef bint _equal(const unsigned char *src, Py_ssize_t a, Py_ssize_t b, bytes value) except -1

@cython.locals(c=Py_ssize_t)
cdef int _decode_text(
    const unsigned char *src, Py_ssize_t a, Py_ssize_t b, Py_ssize_t delimiter, Output value
) except -1

@cython.locals(i=Py_ssize_t, c=Py_ssize_t)
cdef int _encode_text(Output value, Py_ssize_t delimiter, Output out) except -1

@cython.locals(
    view=_View, src="const unsigned char *", out=Output, value=Output, masked=Output,
    codes="const unsigned char *", columns=Py_ssize_t, p=Py_ssize_t, stop=Py_ssize_t, head=Py_ssize_t,
    last=Py_ssize_t, run=Py_ssize_t, i=Py_ssize_t, a=Py_ssize_t, b=Py_ssize_t, quoted=bint, code=Py_ssize_t, value_written=bint,
)
cpdef bytes mask_copy_csv(
    object buf, Py_ssize_t start, Py_ssize_t end, RowProgram program, Py_ssize_t delimiter, Py_ssize_t quote,
    Py_ssize_t escape, bytes null,
)

@cython.locals(c=Py_ssize_t)
cdef Py_ssize_t _csv_end(
    const unsigned char *src, Py_ssize_t p, Py_ssize_t last, Py_ssize_t delimiter, Py_ssize_t quote, Py_ssize_t escape
) except -1

@cython.locals(c=Py_ssize_t)
cdef int _decode_csv(
    const unsigned char *src, Py_ssize_t a, Py_ssize_t b, Py_ssize_t quote, Py_ssize_t escape, Output value
) except -1

@cython.locals(needs=bint, i=Py_ssize_t, c=Py_ssize_t)
cdef int _encode_csv(
    Output value, Py_ssize_t delimiter, Py_ssize_t quote, Py_ssize_t escape, bytes null, Output out
) except -1

@cython.locals(
    view=_View, src="const unsigned char *", out=Output, p=Py_ssize_t, stop=Py_ssize_t, head=Py_ssize_t,
    count=Py_ssize_t,
)
cpdef bytes mask_copy_binary(object buf, Py_ssize_t start, Py_ssize_t end, RowProgram program, CopyState state)
