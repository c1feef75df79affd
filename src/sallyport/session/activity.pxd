# Types of activity.py, for itself and for native callers.
cimport cython

cdef Py_ssize_t _MAX_TALLIES, _MAX_REFUSALS, _LONGEST, _FEW, _FEW_ROWS, _MAX_USUAL
cdef double _PERIOD


@cython.final
cdef class Tally:
    cdef readonly object verdict
    cdef readonly Py_ssize_t count, rows, size, largest, failed, repeats, first, last
    cdef Py_hash_t variant


@cython.final
cdef class RefusedStatement:
    cdef readonly Py_ssize_t number
    cdef readonly object code, relations, sql


@cython.final
cdef class Activity:
    cdef dict tallies
    cdef Tally recent
    cdef list refusals
    cdef set usual
    cdef readonly Py_ssize_t lost, count, rows, rows_taken, few_rows
    cdef double began
    cdef readonly bint is_unusual

    @cython.locals(tally=Tally)
    cpdef completed(
        self, object verdict, Py_ssize_t number, Py_ssize_t rows, Py_ssize_t size, bint failed,
        Py_hash_t variant,
    )
    @cython.locals(tally=Tally, identity=object)
    cdef Tally _tally(self, object verdict, Py_ssize_t number)
    cpdef refused(self, Py_ssize_t number, object code, object relations, bytes sql)
    cpdef bint is_due(self)
    cpdef take(self, double now)
