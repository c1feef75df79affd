# Types for plain_record.py when Cython compiles it.
cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize

from sallyport.audit.chunks cimport ChunkWriter
from sallyport.audit.msgpack cimport (
    HEADER_BYTES, put_array, put_bin, put_float64, put_raw, put_str, put_uint,
)
from sallyport.server.plain_parameters cimport put_parameters
from sallyport.server.plain_statement cimport PlainStatement, now

cdef Py_ssize_t _STATEMENT, _STATEMENT_ITEMS, _REPLY, _COMPLETE, _ANSWERED, _TOLD
cdef bytes _SUSPENDED_TAG


@cython.locals(after=bytes, start="unsigned char *", p="unsigned char *")
cdef bytes record_query(
    ChunkWriter chunks, Py_ssize_t number, bytes text, PlainStatement statement
)

@cython.locals(before=bytes, after=bytes, start="unsigned char *", p="unsigned char *")
cdef bytes record_bundle(
    ChunkWriter chunks, Py_ssize_t number, bytes text, PlainStatement statement,
    const unsigned char *src, Py_ssize_t parameters, Py_ssize_t size,
)

@cython.locals(event=bytes, head=bytes)
cdef bytes _committed(
    ChunkWriter chunks, unsigned char *start, Py_ssize_t size, Py_ssize_t after,
    PlainStatement statement
)

@cython.locals(start="unsigned char *", p="unsigned char *", moment=double)
cdef int record_answer(
    ChunkWriter chunks, Py_ssize_t number, double started, const unsigned char *src, Py_ssize_t size,
    Py_ssize_t tag, Py_ssize_t rows,
) except -1

@cython.locals(start="unsigned char *", p="unsigned char *")
cdef int record_reply(
    ChunkWriter chunks, Py_ssize_t number, const unsigned char *src, Py_ssize_t size
) except -1

@cython.locals(message=bytes)
cdef int record_description(
    ChunkWriter chunks, dict told, Py_ssize_t number, bytes text, const unsigned char *src,
    Py_ssize_t size,
) except -1

@cython.locals(start="unsigned char *", p="unsigned char *", moment=double)
cdef int record_complete(
    ChunkWriter chunks, Py_ssize_t number, double started, const unsigned char *src, Py_ssize_t tag,
    Py_ssize_t rows,
) except -1

cdef unsigned char *_put_tag(unsigned char *out, const unsigned char *src, Py_ssize_t size) except NULL

cdef const unsigned char *_address(bytes value) except NULL
