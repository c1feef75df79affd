# Types for plain.py: the table of contents of the hot path.
cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.string cimport memchr, memcmp

from sallyport.audit.chunks cimport ChunkWriter
from sallyport.audit.msgpack cimport (
    HEADER_BYTES, put_array, put_bin, put_float64, put_raw, put_str, put_uint,
)
from sallyport.server.plain_parameters cimport parameters, parameters_end, put_parameters
from sallyport.server.plain_statement cimport (
    Pending, PlainStatement, entries_of, now, plain_parsed, plain_prepared, plain_query, portal_of, prepared_of,
)
from sallyport.session.activity cimport Activity
from sallyport.wire.frames cimport Output, write_masked_rows
from sallyport.wire.scan cimport blank_literals

cdef Py_ssize_t _STATEMENT, _STATEMENT_FIELDS, _REPLY, _COMPLETE, _ANSWERED
cdef Py_ssize_t _QUERY, _BIND, _PARSE, _DESCRIBED, _LONGEST, _MOST_PENDING, _NAME, _KNOWN, _DECLARED, _PART, _FLOW, _ROW, _IDLE, _SUSPENDED
cdef bytes _DESCRIBE_PORTAL, _SUSPENDED_TAG


@cython.final
cdef class Scratch:
    cdef Output key, out


@cython.final
cdef class PlainTraffic:
    cdef readonly object session
    cdef object judge, subject_judge
    cdef Activity activity
    cdef readonly ChunkWriter chunks
    cdef Scratch scratch
    cdef dict statements, portals, cache, templates
    cdef list uncounted  # of PlainStatement
    cdef list offered
    cdef set known
    cdef Py_ssize_t generation, number, step, limit, longest, rows, bytes, parsing
    cdef readonly Py_ssize_t pending
    cdef readonly long long intent
    cdef bint controls
    cdef unsigned char status
    cdef readonly Pending first
    cdef Pending last, running, bound, parsed
    cdef Output out
    # what is to be sent, and how much of it is recorded
    cdef const unsigned char *piece
    cdef Py_ssize_t piece_size, body
    # the request that was parsed last
    cdef Py_ssize_t b_name, b_bound, b_end
    cdef bint b_described, b_limited
    # the answer that was parsed last
    cdef Py_ssize_t a_start, a_described, a_ended, a_completed, a_end, a_rows
    cdef unsigned char a_kind, a_status
    cdef bint a_parsed, a_bound, a_whole, a_suspended
    cdef bint wants_more  # see answer

    cpdef begin(self)
    cdef Py_ssize_t ask(self, const unsigned char *src, Py_ssize_t size) except -1
    @cython.locals(stop=Py_ssize_t, sql=bytes, statement=PlainStatement, pending=Pending, out=Output, sent=bytes)
    cdef Py_ssize_t _query(self, const unsigned char *src, Py_ssize_t size) except -1
    @cython.locals(statement=PlainStatement)
    cdef PlainStatement _known(self, const unsigned char *src, Py_ssize_t size, bytes sql)
    cdef bint _passes(self, PlainStatement statement) except -1
    @cython.locals(key=Output, n=Py_ssize_t)
    cdef object _templated(self, const unsigned char *src, Py_ssize_t size, bytes sql)
    @cython.locals(name=bytes, statement=PlainStatement, pending=Pending, out=Output)
    cdef Py_ssize_t _bundle(self, const unsigned char *src, Py_ssize_t size) except -1
    @cython.locals(
        stop=Py_ssize_t, end=Py_ssize_t, zero="const unsigned char *", sql=bytes, types=bytes, sent=bytes,
        query=PlainStatement, statement=PlainStatement, pending=Pending, out=Output, describes=bint,
    )
    cdef Py_ssize_t _parsed_bundle(self, const unsigned char *src, Py_ssize_t size) except -1
    @cython.locals(parsed=Pending)
    cdef int _confirm_parsed(self) except -1
    @cython.locals(stop=Py_ssize_t, p=Py_ssize_t, count=Py_ssize_t)
    cdef bint _parse_bundle(self, const unsigned char *src, Py_ssize_t size) noexcept
    @cython.locals(pending=Pending)
    cdef Pending _asked(self, PlainStatement statement, bytes text)
    @cython.locals(pending=Pending)
    cdef Pending _asked_bundle(self, PlainStatement statement, bytes text, const unsigned char *src)
    @cython.locals(offered=set)
    cdef int _offer(self, PlainStatement statement, Py_ssize_t number, bytes text) except -1
    @cython.locals(
        chunks=ChunkWriter, after=bytes, size=Py_ssize_t, start="unsigned char *", p="unsigned char *"
    )
    cdef int _record_query(self, PlainStatement statement, Py_ssize_t number, bytes text) except -1
    @cython.locals(event=bytes)
    cdef int _commit_statement(self, PlainStatement statement, unsigned char *start, Py_ssize_t size) except -1
    @cython.locals(
        chunks=ChunkWriter, before=bytes, after=bytes, size=Py_ssize_t, start="unsigned char *",
        p="unsigned char *",
    )
    cdef int _record_bundle(
        self, PlainStatement statement, Py_ssize_t number, const unsigned char *src, bytes text
    ) except -1
    cdef _record_hidden(self, PlainStatement statement, Py_ssize_t number, const unsigned char *src, bytes text)

    @cython.locals(pending=Pending, statement=PlainStatement)
    cdef Py_ssize_t answer(self, const unsigned char *src, Py_ssize_t size) except -1
    @cython.locals(p=Py_ssize_t, length=Py_ssize_t, rows=Py_ssize_t)
    cdef bint _parse_answer(self, const unsigned char *src, Py_ssize_t size) noexcept
    @cython.locals(end=Py_ssize_t)
    cdef bint _parse_end(self, const unsigned char *src, Py_ssize_t size, Py_ssize_t p) noexcept
    @cython.locals(length=Py_ssize_t)
    cdef Py_ssize_t _parse_completion(self, const unsigned char *src, Py_ssize_t size, Py_ssize_t p) noexcept
    @cython.locals(start=Py_ssize_t, size=Py_ssize_t, description=bytes)
    cdef object _program(self, PlainStatement statement, const unsigned char *src)
    @cython.locals(out=Output, hide=bint, masks=bint, notice=bytes)
    cdef _write_answer(self, Pending pending, const unsigned char *src)
    cdef int _write_rows(
        self, Pending pending, const unsigned char *src, Py_ssize_t start, Py_ssize_t end
    ) except -1
    @cython.locals(statement=PlainStatement, said=Py_hash_t, rows=Py_ssize_t)
    cdef _answered(self, Pending pending, Py_ssize_t size)
    @cython.locals(out=Output, hide=bint)
    cdef Py_ssize_t _begin_flow(self, Pending pending, const unsigned char *src) except -1
    @cython.locals(p=Py_ssize_t, rows=Py_ssize_t, length=Py_ssize_t)
    cdef Py_ssize_t _flow(self, Pending pending, const unsigned char *src, Py_ssize_t size) except -1
    @cython.locals(out=Output)
    cdef Py_ssize_t _end_flow(self, Pending pending, const unsigned char *src, Py_ssize_t size) except -1
    @cython.locals(
        chunks=ChunkWriter, size=Py_ssize_t, start_at=Py_ssize_t, tag=Py_ssize_t, moment=double,
        start="unsigned char *", p="unsigned char *",
    )
    cdef int _record_answer(self, Pending pending) except -1
    @cython.locals(chunks=ChunkWriter, start="unsigned char *", p="unsigned char *")
    cdef int _record_reply(self, Pending pending, Py_ssize_t start_at, Py_ssize_t size) except -1
    @cython.locals(
        chunks=ChunkWriter, tag=Py_ssize_t, moment=double, start="unsigned char *", p="unsigned char *",
        text="const unsigned char *",
    )
    cdef int _record_complete(self, Pending pending, const unsigned char *src) except -1
    @cython.locals(statement=PlainStatement)
    cpdef sync(self)
    @cython.locals(pending=Pending)
    cpdef leave(self)


@cython.locals(a=Py_ssize_t, b=Py_ssize_t, c=Py_ssize_t, d=Py_ssize_t)
cdef Py_ssize_t _uint32(const unsigned char *src, Py_ssize_t p) noexcept

cdef int _put_uint32_to(Output out, Py_ssize_t value) except -1

cdef const unsigned char *_address(bytes value) except NULL

@cython.locals(i=Py_ssize_t)
cdef bint _is_ascii(const unsigned char *src, Py_ssize_t size) noexcept
