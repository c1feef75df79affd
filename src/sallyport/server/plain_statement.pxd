# Types for plain_statement.py when Cython compiles it.
cimport cython

from sallyport.audit.chunks cimport ChunkWriter
from sallyport.server.plain_request cimport BIND, CLOSE, PARSE, QUERY

cdef extern from *:
    """
    #include <time.h>
    static inline double sallyport_now(void) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return t.tv_sec + t.tv_nsec * 1e-9;
    }
    """
    double now "sallyport_now"() nogil


cdef Py_ssize_t _DECLARED


@cython.final
cdef class PlainStatement:
    cdef readonly object verdict, script, subject_judge, record, literals
    cdef readonly bint hides_text, hides_binds
    cdef bytes before, after, digest, again  # again may be None
    cdef dict programs
    cdef bint has_plan, is_rewritten, changes, is_control
    cdef bytes notice, description, hidden_text, hidden_shown
    cdef tuple masked_columns, types
    cdef dict parsed, described
    cdef Py_ssize_t masked_rows, sent_bytes
    cdef object program

    cdef bytes recorded(self, bytes sql)
    cdef bytes after_in(self, ChunkWriter chunks)


cpdef PlainStatement plain_query(object script, object subject_judge)
cpdef PlainStatement plain_prepared(object prepared, object subject_judge)

@cython.locals(statement=PlainStatement)
cpdef PlainStatement plain_parsed(PlainStatement query, bytes types)

@cython.locals(described=PlainStatement)
cpdef PlainStatement plain_described(PlainStatement statement, bytes body)


@cython.final
@cython.freelist(64)
@cython.no_gc  # nothing that it refers to refers to it
cdef class Pending:
    cdef readonly PlainStatement statement
    cdef readonly Py_ssize_t number
    cdef Py_ssize_t kind, step
    cdef bytes text, name, bind
    cdef double started
    cdef bint is_parsed, is_described, is_synced, is_alone, hidden, limited
    cdef readonly bint flows
    cdef object program, prepared
    cdef readonly Py_ssize_t rows, size
    cdef Pending following


@cython.locals(pending=Pending)
cdef Pending new_pending(
    Py_ssize_t kind, PlainStatement statement, Py_ssize_t number, bytes text, Py_ssize_t step
)

@cython.locals(statement=PlainStatement)
cpdef object prepared_of(Pending pending)

@cython.locals(statement=PlainStatement)
cpdef object portal_of(Pending pending)

cpdef list entries_of(object session, Pending pending)

@cython.locals(statement=PlainStatement)
cdef object _query_entry(Pending pending)

@cython.locals(statement=PlainStatement)
cdef list _bundle_entries(object session, Pending pending)
