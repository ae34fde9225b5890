package db

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgtype"
)

// What is encoded here is what pgx encodes.
func TestArraysAreEncodedAsPgxDoes(t *testing.T) {
	t.Parallel()
	own, pgx := pgtype.NewMap(), pgtype.NewMap()
	registerArrays(own)
	at := time.UnixMilli(1767366245678)
	for _, tc := range []struct {
		oid   uint32
		value any
	}{
		{pgtype.TextArrayOID, []string{}}, {pgtype.TextArrayOID, []string(nil)},
		{pgtype.TextArrayOID, []string{"", "a", "– ✓", strings.Repeat("x", 70_000)}},
		{pgtype.ByteaArrayOID, [][]byte{{}, {0}, []byte("abc")}}, {pgtype.ByteaArrayOID, [][]byte{{1}, nil, {2}, nil}}, {pgtype.ByteaArrayOID, [][]byte{}},
		{pgtype.Int8ArrayOID, []int64{0, 1, -1, 1<<63 - 1, -1 << 63}},
		{pgtype.TimestamptzArrayOID, []time.Time{
			at, at.UTC(), at.In(time.FixedZone("", 3600)), at.Add(1500 * time.Nanosecond), {}, time.Unix(-1, 999_999_999),
			time.Date(1999, 12, 31, 23, 59, 59, 999_999_999, time.UTC), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC),
		}},
		{pgtype.Int2ArrayOID, []int16{0, 7, -1}}, {pgtype.VarcharArrayOID, []string{"a"}}, {pgtype.Int8ArrayOID, []int32{1}}, {pgtype.TextArrayOID, []*string{nil}},
	} {
		want, wantErr := pgx.Encode(tc.oid, pgtype.BinaryFormatCode, tc.value, []byte("before"))
		got, err := own.Encode(tc.oid, pgtype.BinaryFormatCode, tc.value, []byte("before"))
		if diff := cmp.Diff(want, got); diff != "" || (err == nil) != (wantErr == nil) {
			t.Errorf("%T as %d: error %v, want %v (-want +got):\n%s", tc.value, tc.oid, err, wantErr, diff)
		}
	}
}

func BenchmarkArrays(b *testing.B) {
	own := pgtype.NewMap()
	registerArrays(own)
	ids, digests, seqs, times := make([]string, 1024), make([][]byte, 1024), make([]int64, 1024), make([]time.Time, 1024)
	for i := range ids {
		ids[i], digests[i], seqs[i], times[i] = fmt.Sprintf("0193b1c2-0000-7000-8000-%012d", i), make([]byte, 32), int64(i), time.UnixMilli(int64(i))
	}
	for _, tc := range []struct {
		name  string
		oid   uint32
		value any
	}{{"text", pgtype.TextArrayOID, ids}, {"bytea", pgtype.ByteaArrayOID, digests}, {"int8", pgtype.Int8ArrayOID, seqs}, {"timestamptz", pgtype.TimestamptzArrayOID, times}} {
		for name, m := range map[string]*pgtype.Map{"own": own, "pgx": pgtype.NewMap()} {
			b.Run(tc.name+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				var buf []byte
				for b.Loop() {
					var err error
					if buf, err = m.Encode(tc.oid, pgtype.BinaryFormatCode, tc.value, buf[:0]); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
