# Types for scan.py when Cython compiles it; says nothing else.
cimport cython

cdef Py_ssize_t _QUOTE, _DOUBLE, _BACKSLASH

cdef bint _is_word(Py_ssize_t c) noexcept

@cython.locals(size=Py_ssize_t, out=bytearray, n=Py_ssize_t)
cpdef literals(bytes sql, Py_ssize_t limit)

@cython.locals(n=Py_ssize_t, i=Py_ssize_t, c=Py_ssize_t, previous=Py_ssize_t)
cdef Py_ssize_t blank_literals(const unsigned char *sql, Py_ssize_t size, unsigned char *out) noexcept

@cython.locals(c=Py_ssize_t)
cdef Py_ssize_t _string_end(const unsigned char *sql, Py_ssize_t i, Py_ssize_t size) noexcept

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

cdef Py_ssize_t _END, _WORD, _STRING, _NUMBER, _PARAMETER, _NAME, _OTHER, _BAD, _MOST_DEPTH, _PARAMETERS, _KEPT

@cython.locals(c=Py_ssize_t, depth=Py_ssize_t)
cdef Py_ssize_t _skip(bytes sql, Py_ssize_t i, Py_ssize_t size) noexcept

cdef bint _starts_name(Py_ssize_t c) noexcept

cdef Py_ssize_t _quoted(bytes sql, Py_ssize_t i, Py_ssize_t size, Py_ssize_t quote) noexcept

@cython.locals(c=Py_ssize_t, after=Py_ssize_t)
cdef Py_ssize_t _escaped(bytes sql, Py_ssize_t i, Py_ssize_t size) noexcept

@cython.locals(p=Py_ssize_t, closing=Py_ssize_t)
cdef Py_ssize_t _dollars(bytes sql, Py_ssize_t i, Py_ssize_t size) except? -2

@cython.locals(c=Py_ssize_t, after=Py_ssize_t, end=Py_ssize_t)
cdef Py_ssize_t _token(bytes sql, Py_ssize_t i, Py_ssize_t size) except? -2

@cython.locals(k=Py_ssize_t)
cdef bint _is(bytes sql, Py_ssize_t i, Py_ssize_t end, bytes word, Py_ssize_t length) noexcept

@cython.locals(p=Py_ssize_t, length=Py_ssize_t)
cdef Py_ssize_t _digits(bytes sql, Py_ssize_t i, Py_ssize_t end, Py_ssize_t sign) except? -2

@cython.locals(sign=Py_ssize_t, bracket=Py_ssize_t, token=Py_ssize_t, kind=Py_ssize_t, end=Py_ssize_t, what=Py_ssize_t)
cdef Py_ssize_t _constant(bytes sql, Py_ssize_t i, Py_ssize_t size, bytearray out) except? -2

@cython.locals(start=Py_ssize_t, token=Py_ssize_t)
cdef Py_ssize_t _type(bytes sql, Py_ssize_t i, Py_ssize_t size, bytearray out) except? -2

@cython.locals(depth=Py_ssize_t, c=Py_ssize_t, token=Py_ssize_t, kind=Py_ssize_t, end=Py_ssize_t)
cdef Py_ssize_t _item(bytes sql, Py_ssize_t i, Py_ssize_t size) except? -2

@cython.locals(size=Py_ssize_t, uses=bytearray, i=Py_ssize_t, number=Py_ssize_t)
cdef bytearray _uses(bytes sql)

@cython.locals(number=Py_ssize_t)
cdef Py_ssize_t _number(bytes sql, Py_ssize_t i, Py_ssize_t size) noexcept

cdef _stands_for(bytearray meant, Py_ssize_t number, Py_ssize_t kept)

@cython.locals(start=Py_ssize_t, length=Py_ssize_t, number=Py_ssize_t)
cdef Py_ssize_t _row(bytes sql, Py_ssize_t i, Py_ssize_t size, bytearray shape, bytearray uses, list numbers) except? -2

cdef _blank(bytearray out, Py_ssize_t i, Py_ssize_t end)

@cython.locals(
    seen=dict, kept=dict, end=Py_ssize_t, row_end=Py_ssize_t, count=Py_ssize_t, shape=bytearray, key=bytes, numbers=list, k=Py_ssize_t,
)
cdef Py_ssize_t _rows(bytes sql, Py_ssize_t i, Py_ssize_t size, bytearray out, bytearray uses, bytearray meant) except? -2

@cython.locals(
    kinds=bytearray, seen=set, number=Py_ssize_t, end=Py_ssize_t, constant_end=Py_ssize_t, shape=bytearray, key=bytes, kind=Py_ssize_t, is_known=Py_ssize_t,
    kept=dict, parameter=Py_ssize_t, first=Py_ssize_t, plain=Py_ssize_t,
)
cdef Py_ssize_t _list(
    bytes sql, Py_ssize_t i, Py_ssize_t size, Py_ssize_t close, bytearray out, bytearray uses, bytearray meant
) except? -2

@cython.locals(
    size=Py_ssize_t, comma=Py_ssize_t, factor=Py_ssize_t, copies=Py_ssize_t, weight=Py_ssize_t, group=Py_ssize_t,
    before=Py_ssize_t, exact=bint, row=Py_ssize_t, position=Py_ssize_t, positions=list, i=Py_ssize_t, token=Py_ssize_t, kind=Py_ssize_t, end=Py_ssize_t, c=Py_ssize_t,
    mark=Py_ssize_t, after=Py_ssize_t, out=bytearray, ends=list, commas=list, factors=list, uses=bytearray, meant=bytearray,
)
cpdef outline(bytes sql, Py_ssize_t limit, bint condense)

@cython.locals(size=Py_ssize_t, count=Py_ssize_t, i=Py_ssize_t)
cdef Py_ssize_t _count(bytes sql) except? -2

@cython.locals(size=Py_ssize_t, i=Py_ssize_t, c=Py_ssize_t, depth=Py_ssize_t, deepest=Py_ssize_t)
cpdef nesting(bytes text)

@cython.locals(size=Py_ssize_t, pieces=list, i=Py_ssize_t, start=Py_ssize_t, c=Py_ssize_t)
cpdef runs(bytes sql, Py_ssize_t length)
