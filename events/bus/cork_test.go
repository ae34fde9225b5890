package bus

import (
	"bytes"
	"errors"
	"net"
	"testing"
)

// wire is a connection that keeps what is written, write by write.
type wire struct {
	net.Conn
	writes [][]byte
	err    error
	closed bool
}

func (w *wire) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	w.writes = append(w.writes, bytes.Clone(p))
	return len(p), nil
}

func (w *wire) Close() error { w.closed = true; return nil }

func mustWrite(t *testing.T, c net.Conn, p []byte) {
	t.Helper()
	if n, err := c.Write(p); n != len(p) || err != nil {
		t.Fatalf("Write: got %d, %v, want %d, nil", n, err, len(p))
	}
}

func TestCorkedWritesGoTogetherAndInOrder(t *testing.T) {
	t.Parallel()
	w := &wire{}
	c := &corkedConn{Conn: w}
	mustWrite(t, c, []byte("a"))
	c.cork()
	c.cork() // another channel
	mustWrite(t, c, []byte("b"))
	if err := c.uncork(); err != nil || len(w.writes) != 1 {
		t.Fatalf("while one holds it corked: %d writes, %v, want 1", len(w.writes), err)
	}
	mustWrite(t, c, []byte("c"))
	large := bytes.Repeat([]byte("d"), corkBytes+1)
	mustWrite(t, c, large)
	mustWrite(t, c, []byte("e"))
	if err := c.uncork(); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, c, []byte("f"))
	want := [][]byte{[]byte("a"), []byte("bc"), large, []byte("e"), []byte("f")}
	if len(w.writes) != len(want) {
		t.Fatalf("got %d writes, want %d", len(w.writes), len(want))
	}
	for i := range want {
		if !bytes.Equal(w.writes[i], want[i]) {
			t.Errorf("write %d: got %d bytes, want %d", i, len(w.writes[i]), len(want[i]))
		}
	}
}

// Who wrote into a corked connection was told that all is well, so an error ends the connection.
func TestCorkedConnectionEndsWithAnError(t *testing.T) {
	t.Parallel()
	gone := errors.New("gone")
	w := &wire{err: gone}
	c := &corkedConn{Conn: w}
	c.cork()
	mustWrite(t, c, []byte("a"))
	if err := c.uncork(); !errors.Is(err, gone) || !w.closed {
		t.Errorf("uncork: got %v, closed: %v, want the error and the end of the connection", err, w.closed)
	}
}
