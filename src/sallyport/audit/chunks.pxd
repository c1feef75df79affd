# The interface of chunks.py for other native modules, and its types when Cython compiles it.
cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.string cimport memcpy
from sallyport.audit.msgpack cimport (
    HEADER_BYTES, put_array, put_bin_header, put_float64, put_raw, put_str, put_str_header, put_uint,
)

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL

cdef Py_ssize_t _FIRST, _LARGEST, _STATEMENT, _ANSWERED, _STATEMENT_ITEMS


# What all writers of a recorder share.
@cython.final
cdef class Intake:
    cdef readonly long long accepted  # bytes of all sessions
    cdef readonly list dirty          # of ChunkWriter
    cdef public bint idle             # set by the recorder's thread
    cdef object wake
    cdef long long wake_bytes, wake_at


# Of one session. The event loop appends, the writer thread takes; both hold the GIL.
# A native caller writes an event itself:
#     p = writer.reserve(most)     # room for at most so many bytes; NULL: MemoryError was raised
#     ... fill from p on, with or without the GIL ...
#     writer.commit(size)          # or commit(size, statements, refused, rows); or abandon()
# `p` stays valid until commit or abandon, even when the writer thread asks for the chunk meanwhile.
@cython.final
cdef class ChunkWriter:
    cdef bytes chunk           # the buffer, filled from the front; None: there is none
    cdef unsigned char *data   # of ``chunk``
    cdef readonly Py_ssize_t n # bytes of complete events in ``chunk``
    cdef readonly Py_ssize_t capacity
    cdef readonly Py_ssize_t events, statements, refused, rows  # in ``chunk``
    cdef readonly long long accepted # bytes of the session, ever
    cdef readonly Py_ssize_t waiting # bytes that take() has not given yet
    cdef set sent              # digests of texts that the recording has
    cdef Py_ssize_t sent_bytes # of these texts
    cdef bint refers           # the next event refers to one of them
    cdef bint filling          # between reserve and commit
    cdef Py_ssize_t next_size  # of the next buffer
    cdef list full             # chunks before this one, oldest first; usually None
    cdef readonly Intake intake
    cdef public bint failed    # set by either thread; nothing more may pass
    cdef public bint indexing  # statements are to be offered to SessionRecording.texts before they are appended

    cdef unsigned char *reserve(self, Py_ssize_t more) except NULL
    # More room for an event whose first ``used`` bytes are written; they may move.
    cdef unsigned char *extend(self, Py_ssize_t used, Py_ssize_t more) except NULL
    cdef int commit(
        self, Py_ssize_t size, Py_ssize_t statements=*, Py_ssize_t refused=*, Py_ssize_t rows=*
    ) except -1
    cdef void abandon(self) noexcept
    @cython.locals(size=Py_ssize_t, chunk=bytes, before=bytes, data="unsigned char *")
    cdef int _renew(self, Py_ssize_t used, Py_ssize_t more) except -1
    cdef object _take(self)
    cdef int _set_aside(self) except -1
    @cython.locals(
        buffer=bytes, n=Py_ssize_t, events=Py_ssize_t, statements=Py_ssize_t, refused=Py_ssize_t, rows=Py_ssize_t,
        size=Py_ssize_t,
    )
    cdef object _close(self)
    @cython.locals(first=bint, intake=Intake)
    cdef int _count(
        self, Py_ssize_t size, Py_ssize_t statements, Py_ssize_t refused, Py_ssize_t rows
    ) except -1
    @cython.locals(intake=Intake)
    cpdef announce(self)
    cpdef bint repeats(self, bytes digest, Py_ssize_t size) except -1
    @cython.locals(sent=set)
    cdef bint _repeats(self, bytes digest, Py_ssize_t size) except -1
    @cython.locals(dropped=list)
    cdef list _drop(self)

    @cython.locals(size=Py_ssize_t)
    cpdef append(self, bytes event, Py_ssize_t statements=*, Py_ssize_t refused=*, Py_ssize_t rows=*)
    @cython.locals(
        start="unsigned char *", p="unsigned char *", text="const unsigned char *", size=Py_ssize_t
    )
    cpdef append_statement(self, double at, unsigned long long number, str sql, bytes rest, bint refused)
    @cython.locals(
        start="unsigned char *", p="unsigned char *", text="const unsigned char *", length=Py_ssize_t
    )
    cpdef append_answered(
        self, double at, unsigned long long number, bytes data, str tag, unsigned long long rows,
        double seconds,
    )
    @cython.locals(start="unsigned char *", p="unsigned char *")
    cpdef append_data(
        self, Py_ssize_t tag, double at, unsigned long long number, bytes data, Py_ssize_t start_at,
        Py_ssize_t size,
    )
    cpdef take(self)
    cpdef list drop(self)
