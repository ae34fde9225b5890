//go:build unix

package chatroom

import (
	"errors"
	"net"
	"syscall"
)

// directWrite writes to a socket without waiting for it. It goes through the connection's own [syscall.RawConn], which
// keeps the descriptor from being closed, and given to another connection, meanwhile.
type directWrite struct {
	// Of the call under way.
	data []byte
	n    int
	err  error

	call func(fd uintptr) bool // made once: a closure for each write would be an allocation for each
}

func (d *directWrite) init() {
	d.call = func(fd uintptr) bool {
		for {
			d.n, d.err = syscall.Write(int(fd), d.data)
			if !errors.Is(d.err, syscall.EINTR) {
				return true
			}
		}
	}
}

// write returns how much the socket took; that may be less than all, and nothing, without an error.
func (d *directWrite) write(conn syscall.RawConn, data []byte) (n int, err error) {
	d.data = data
	err = conn.Write(d.call)
	n, d.data = max(d.n, 0), nil
	if err == nil && !errors.Is(d.err, syscall.EAGAIN) {
		err = d.err
	}
	return n, err
}

// rawConn returns the connection's raw side, or nil where it has none to write to: what TLS sends is its own affair.
func rawConn(c net.Conn) syscall.RawConn {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}
