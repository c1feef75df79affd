# Types for plain_statement.py when Cython compiles it.
cimport cython

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


@cython.final
cdef class PlainStatement:
    cdef readonly object verdict, script, prepared, subject_judge, record, literals
    cdef readonly bint hides_text, hides_binds
    cdef bytes before, after
    cdef dict programs
    cdef bint has_plan, is_rewritten, is_offered, changes, is_control
    cdef bytes notice, description
    cdef tuple masked_columns, types
    cdef dict parsed
    cdef Py_ssize_t masked_rows
    cdef object program


cpdef PlainStatement plain_query(object script, object subject_judge)
cpdef PlainStatement plain_prepared(object prepared, object subject_judge)
cpdef PlainStatement plain_parsed(PlainStatement query, bytes types, object subject_judge)


@cython.final
@cython.freelist(64)
cdef class Pending:
    cdef readonly PlainStatement statement
    cdef readonly Py_ssize_t number
    cdef Py_ssize_t step
    cdef bytes text, bind
    cdef double started
    cdef bint is_bundle, is_parsed, hidden, limited
    cdef readonly bint flows
    cdef object program, prepared
    cdef readonly Py_ssize_t rows, size
    cdef Pending following


@cython.locals(statement=PlainStatement)
cpdef object prepared_of(Pending pending)

@cython.locals(statement=PlainStatement)
cpdef object portal_of(Pending pending)

@cython.locals(statement=PlainStatement)
cpdef list entries_of(object session, Pending pending)
