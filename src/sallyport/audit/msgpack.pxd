# msgpack by hand, for native code that writes events straight into a chunk. Each function writes at `p` and returns the
# position behind what it wrote; the caller has made room. No function fails, none needs the GIL.
# Source: the msgpack specification (github.com/msgpack/msgpack, spec.md), "Formats". All numbers are big endian.
from libc.string cimport memcpy

# The most bytes that one header or number takes.
cdef enum:
    HEADER_BYTES = 9


cdef inline unsigned char *put_big_endian(
    unsigned char *p, unsigned long long value, int size
) noexcept nogil:
    cdef int shift = 8 * (size - 1)
    while shift >= 0:
        p[0] = <unsigned char>((value >> shift) & 0xFF)
        p += 1
        shift -= 8
    return p


# A header with a length of one, two or four bytes, whose codes are `code`, `code` + 1 and `code` + 2.
cdef inline unsigned char *put_length(
    unsigned char *p, unsigned char code, unsigned long long size
) noexcept nogil:
    if size < 0x100:
        p[0] = code
        return put_big_endian(p + 1, size, 1)
    if size < 0x10000:
        p[0] = code + 1
        return put_big_endian(p + 1, size, 2)
    p[0] = code + 2
    return put_big_endian(p + 1, size, 4)


cdef inline unsigned char *put_array(unsigned char *p, unsigned long long count) noexcept nogil:
    if count < 16:
        p[0] = <unsigned char>(0x90 | count)
        return p + 1
    if count < 0x10000:
        p[0] = 0xDC
        return put_big_endian(p + 1, count, 2)
    p[0] = 0xDD
    return put_big_endian(p + 1, count, 4)


cdef inline unsigned char *put_nil(unsigned char *p) noexcept nogil:
    p[0] = 0xC0
    return p + 1


cdef inline unsigned char *put_uint(unsigned char *p, unsigned long long value) noexcept nogil:
    if value < 0x80:
        p[0] = <unsigned char>value
        return p + 1
    if value < 0x100:
        p[0] = 0xCC
        return put_big_endian(p + 1, value, 1)
    if value < 0x10000:
        p[0] = 0xCD
        return put_big_endian(p + 1, value, 2)
    if value < 0x100000000ULL:
        p[0] = 0xCE
        return put_big_endian(p + 1, value, 4)
    p[0] = 0xCF
    return put_big_endian(p + 1, value, 8)


cdef inline unsigned char *put_float64(unsigned char *p, double value) noexcept nogil:
    cdef unsigned long long bits
    memcpy(&bits, &value, 8)
    p[0] = 0xCB
    return put_big_endian(p + 1, bits, 8)


# `size` bytes follow, which the caller writes.
cdef inline unsigned char *put_str_header(unsigned char *p, unsigned long long size) noexcept nogil:
    if size < 32:
        p[0] = <unsigned char>(0xA0 | size)
        return p + 1
    return put_length(p, 0xD9, size)


cdef inline unsigned char *put_bin_header(unsigned char *p, unsigned long long size) noexcept nogil:
    return put_length(p, 0xC4, size)


cdef inline unsigned char *put_raw(
    unsigned char *p, const unsigned char *source, Py_ssize_t size
) noexcept nogil:
    memcpy(p, source, size)
    return p + size


cdef inline unsigned char *put_str(
    unsigned char *p, const unsigned char *source, Py_ssize_t size
) noexcept nogil:
    return put_raw(put_str_header(p, size), source, size)


cdef inline unsigned char *put_bin(
    unsigned char *p, const unsigned char *source, Py_ssize_t size
) noexcept nogil:
    return put_raw(put_bin_header(p, size), source, size)
