package db

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// A batch goes to the server as one array for each column. pgx encodes the elements of an array as values of any type, one
// allocation and some calls for each, which was a fourteenth of a busy chat room's CPU. For the slices that batches are made
// of, what it sends is written here directly, to the byte the same.

// registerArrays makes a connection encode these slices so. All else about the types stays pgx's.
func registerArrays(m *pgtype.Map) {
	for _, oid := range []uint32{pgtype.TextArrayOID, pgtype.ByteaArrayOID, pgtype.Int2ArrayOID, pgtype.Int8ArrayOID, pgtype.TimestamptzArrayOID} {
		t, ok := m.TypeForOID(oid)
		if !ok {
			continue
		}
		if codec, ok := t.Codec.(*pgtype.ArrayCodec); ok {
			m.RegisterType(&pgtype.Type{Name: t.Name, OID: oid, Codec: batchArray{codec}})
		}
	}
}

type batchArray struct{ *pgtype.ArrayCodec }

// PlanEncode implements [pgtype.Codec].
func (c batchArray) PlanEncode(m *pgtype.Map, oid uint32, format int16, value any) pgtype.EncodePlan {
	if format == pgtype.BinaryFormatCode {
		element := c.ElementType.OID
		switch value.(type) {
		case []string:
			if element == pgtype.TextOID {
				return elements[string]{element, func(s string) int { return len(s) }, func(b []byte, s string) []byte { return append(b, s...) }}
			}
		case [][]byte:
			if element == pgtype.ByteaOID {
				return elements[[]byte]{element, func(v []byte) int { return len(v) }, appendBytes}
			}
		case []int64:
			if element == pgtype.Int8OID {
				return elements[int64]{element, func(int64) int { return 8 }, func(b []byte, n int64) []byte { return binary.BigEndian.AppendUint64(b, uint64(n)) }}
			}
		case []int16:
			if element == pgtype.Int2OID {
				return elements[int16]{element, func(int16) int { return 2 }, func(b []byte, n int16) []byte { return binary.BigEndian.AppendUint16(b, uint16(n)) }}
			}
		case []time.Time:
			if element == pgtype.TimestamptzOID {
				return elements[time.Time]{element, func(time.Time) int { return 8 }, appendTime}
			}
		}
	}
	return c.ArrayCodec.PlanEncode(m, oid, format, value)
}

func appendBytes(b, v []byte) []byte {
	if v == nil {
		return nil
	}
	return append(b, v...)
}

// postgresEpoch is 2000-01-01, from which the server counts microseconds.
const postgresEpoch = 946_684_800_000_000

func appendTime(b []byte, t time.Time) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(t.Unix()*1_000_000+int64(t.Nanosecond())/1000-postgresEpoch))
}

// elements encodes a slice as a one-dimensional array, in the form of array_send in PostgreSQL's
// src/backend/utils/adt/arrayfuncs.c: dimensions, whether there are NULLs, the element's type, length and lower bound of
// the dimension, then each element behind its length, which is -1 for NULL. append returns nil for that, and size tells how
// many bytes it appends.
type elements[T any] struct {
	oid    uint32
	size   func(T) int
	append func([]byte, T) []byte
}

const (
	arrayHeader, elementHeader = 20, 4 // bytes
	// The arrays of a batch share a buffer, which append alone would grow by a quarter at a time, and pgx does not keep. Where
	// the largest array comes first, there is space behind it for the others: so many bytes for each row.
	largeArray = 4 << 10
	beside     = 384
)

// Encode implements [pgtype.EncodePlan].
func (e elements[T]) Encode(value any, b []byte) ([]byte, error) {
	vs := value.([]T)
	n := arrayHeader + elementHeader*len(vs)
	for _, v := range vs {
		n += e.size(v)
	}
	if n > cap(b)-len(b) {
		if n > largeArray {
			n += min(n*3/2, beside*len(vs))
		}
		b = slices.Grow(b, n)
	}
	be := binary.BigEndian
	nulls := len(b) + 4
	b = be.AppendUint32(be.AppendUint64(b, 1<<32), e.oid)
	b = be.AppendUint32(be.AppendUint32(b, uint32(len(vs))), 1)
	for _, v := range vs {
		b = append(b, 0xff, 0xff, 0xff, 0xff)
		with := e.append(b, v)
		if with == nil {
			be.PutUint32(b[nulls:], 1)
			continue
		}
		be.PutUint32(with[len(b)-4:], uint32(len(with)-len(b)))
		b = with
	}
	return b, nil
}
