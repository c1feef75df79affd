# Types for plain.py: the table of contents of the hot path.
cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.string cimport memcmp

from sallyport.audit.chunks cimport ChunkWriter
from sallyport.server.plain_answer cimport DESCRIBED, PART, ROW, PlainAnswer, is_ascii
from sallyport.server.plain_parameters cimport parameters
from sallyport.server.plain_record cimport (
    record_answer, record_bundle, record_complete, record_description, record_query, record_reply,
)
from sallyport.server.plain_request cimport BIND, CLOSE, FLUSH, PARSE, QUERY, SYNC, PlainRequest
from sallyport.server.plain_statement cimport (
    Pending, PlainStatement, entries_of, new_pending, plain_described, plain_parsed, plain_prepared, plain_query,
    portal_of, prepared_of,
)
from sallyport.session.activity cimport Activity
from sallyport.wire.frames cimport Output, write_masked_rows
from sallyport.wire.scan cimport blank_literals

cdef Py_ssize_t _TEMPLATED, _LONGEST, _MOST_PENDING, _MOST_BOUND, _FLOW, _IDLE, _KNOWN
cdef Py_ssize_t _PARSE_COMPLETE, _CLOSE_COMPLETE, _READY
cdef bytes _DESCRIBE_PORTAL


@cython.final
cdef class Scratch:
    cdef Output key, out
    cdef PlainRequest request
    cdef PlainAnswer reply


@cython.final
cdef class PlainTraffic:
    cdef readonly object session
    cdef object judge, subject_judge
    cdef Activity activity
    cdef readonly ChunkWriter chunks
    cdef Scratch scratch
    cdef dict statements, portals, cache, templates, assumed
    cdef list uncounted  # of PlainStatement
    cdef list offered
    cdef bytes offered_last, named_last
    cdef dict told, made
    cdef set known
    cdef Py_ssize_t generation, number, step, limit, longest, rows, bytes, binds
    cdef readonly Py_ssize_t pending
    cdef readonly long long intent
    cdef bint controls, unsynced, executed, has_block
    cdef unsigned char status
    cdef readonly Pending first
    cdef Pending last, running, bound, parsed, portal, portal_before
    cdef Output out
    cdef PlainRequest request  # the one that was read last
    cdef PlainAnswer reply     # likewise
    # what is to be sent
    cdef const unsigned char *piece
    cdef Py_ssize_t piece_size
    cdef bint wants_rest, wants_more  # see ask and answer

    cpdef begin(self)
    @cython.locals(request=PlainRequest, state=int)
    cdef Py_ssize_t ask(self, const unsigned char *src, Py_ssize_t size) except -1
    @cython.locals(
        request=PlainRequest, start=Py_ssize_t, size=Py_ssize_t, sql=bytes, statement=PlainStatement,
        pending=Pending, out=Output, sent=bytes,
    )
    cdef Py_ssize_t _query(self, const unsigned char *src) except -1
    @cython.locals(statement=PlainStatement)
    cdef PlainStatement _known(self, const unsigned char *src, Py_ssize_t size, bytes sql)
    cdef bint _passes(self, PlainStatement statement) except -1
    @cython.locals(key=Output, n=Py_ssize_t)
    cdef object _templated(self, const unsigned char *src, Py_ssize_t size, bytes sql)
    @cython.locals(request=PlainRequest, name=bytes, statement=PlainStatement, pending=Pending)
    cdef Py_ssize_t _bundle(self, const unsigned char *src) except -1
    @cython.locals(maker=Pending)
    cdef object _meaning(self, bytes name)
    @cython.locals(
        request=PlainRequest, start=Py_ssize_t, size=Py_ssize_t, sql=bytes, sent=bytes,
        statement=PlainStatement, pending=Pending, describes=bint,
    )
    cdef Py_ssize_t _parsed_bundle(self, const unsigned char *src) except -1
    @cython.locals(
        request=PlainRequest, start=Py_ssize_t, size=Py_ssize_t, sql=bytes, sent=bytes, name=bytes,
        statement=PlainStatement, pending=Pending, out=Output,
    )
    cdef Py_ssize_t _prepare(self, const unsigned char *src) except -1
    @cython.locals(request=PlainRequest, query=PlainStatement, types=bytes)
    cdef PlainStatement _declared(self, const unsigned char *src, bytes sql)
    cdef int _assume(self, bytes name, Pending pending) except -1
    @cython.locals(request=PlainRequest, pending=Pending)
    cdef Py_ssize_t _control(self, const unsigned char *src) except -1
    @cython.locals(request=PlainRequest, name=bytes, size=Py_ssize_t)
    cdef bytes _name(self, const unsigned char *src)
    @cython.locals(request=PlainRequest, out=Output, types=Py_ssize_t)
    cdef int _write_parse(self, const unsigned char *src, bytes sent) except -1
    @cython.locals(request=PlainRequest, out=Output)
    cdef int _write_bundle(self, const unsigned char *src, Py_ssize_t start, bint describes) except -1
    @cython.locals(parsed=Pending)
    cdef int _confirm_parsed(self) except -1
    cdef Pending _append(self, Pending pending)
    @cython.locals(pending=Pending)
    cdef Pending _asked(self, PlainStatement statement, bytes text)
    @cython.locals(request=PlainRequest, pending=Pending, size=Py_ssize_t, is_alone=bint)
    cdef Pending _asked_bundle(self, PlainStatement statement, bytes text, const unsigned char *src)
    cdef int _offer(self, PlainStatement statement, Py_ssize_t number, bytes text) except -1
    @cython.locals(event=bytes)
    cdef int _record_query(self, PlainStatement statement, Py_ssize_t number, bytes text) except -1
    cdef int _journal(self, bytes event) except -1
    @cython.locals(
        request=PlainRequest, bind="const unsigned char *", at=Py_ssize_t, size=Py_ssize_t, event=bytes
    )
    cdef int _record_bundle(
        self, PlainStatement statement, Py_ssize_t number, const unsigned char *src, bytes text
    ) except -1
    cdef _record_hidden(
        self, PlainStatement statement, Py_ssize_t number, const unsigned char *bind, Py_ssize_t size,
        bytes text,
    )

    @cython.locals(
        pending=Pending, reply=PlainAnswer, statement=PlainStatement, is_bundle=bint, body=Py_ssize_t,
        start=Py_ssize_t,
    )
    cdef Py_ssize_t answer(self, const unsigned char *src, Py_ssize_t size) except -1
    cdef bint _is_bound(self, Pending pending) except -1
    @cython.locals(
        reply=PlainAnswer, is_plain=bint, kind=Py_ssize_t, statement=PlainStatement,
        traffic=PlainStatement, start=Py_ssize_t,
    )
    cdef Py_ssize_t _acknowledged(
        self, Pending pending, const unsigned char *src, Py_ssize_t size
    ) except -1
    @cython.locals(start=Py_ssize_t, size=Py_ssize_t, description=bytes)
    cdef object _program(self, PlainStatement statement, const unsigned char *src)
    @cython.locals(reply=PlainAnswer, text=bytes, size=Py_ssize_t)
    cdef bint _hides(self, Pending pending, const unsigned char *src) except -1
    @cython.locals(reply=PlainAnswer, out=Output, hide=bint, masks=bint, notice=bytes, body=Py_ssize_t)
    cdef Py_ssize_t _write_answer(self, Pending pending, const unsigned char *src) except -1
    @cython.locals(before=Py_ssize_t)
    cdef Py_ssize_t _write_rows(
        self, Pending pending, const unsigned char *src, Py_ssize_t start, Py_ssize_t end
    ) except -1
    @cython.locals(
        statement=PlainStatement, said=Py_hash_t, rows=Py_ssize_t, size=Py_ssize_t, is_bundle=bint
    )
    cdef _answered(self, Pending pending)
    cdef int _settled(self, Pending pending) except -1
    cdef int _forget(self) except -1
    @cython.locals(reply=PlainAnswer, out=Output, hide=bint, start=Py_ssize_t)
    cdef Py_ssize_t _begin_flow(self, Pending pending, const unsigned char *src) except -1
    @cython.locals(p=Py_ssize_t, rows=Py_ssize_t, length=Py_ssize_t)
    cdef Py_ssize_t _flow(self, Pending pending, const unsigned char *src, Py_ssize_t size) except -1
    @cython.locals(reply=PlainAnswer, out=Output)
    cdef Py_ssize_t _end_flow(self, Pending pending, const unsigned char *src, Py_ssize_t size) except -1
    @cython.locals(statement=PlainStatement)
    cpdef sync(self)
    @cython.locals(pending=Pending)
    cpdef leave(self)
    @cython.locals(before=Pending)
    cdef _leave_portal(self)


cdef inline Py_ssize_t _uint32(const unsigned char *src, Py_ssize_t p) noexcept:
    return (<Py_ssize_t> src[p] << 24) | (src[p + 1] << 16) | (src[p + 2] << 8) | src[p + 3]


cdef inline int _put_uint32_to(Output out, Py_ssize_t value) except -1:
    out.put((value >> 24) & 0xFF)
    out.put((value >> 16) & 0xFF)
    out.put((value >> 8) & 0xFF)
    return out.put(value & 0xFF)


cdef inline const unsigned char *_address(bytes value) except NULL:
    return <const unsigned char *> value
