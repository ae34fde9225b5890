//go:build !unix

package chatroom

import (
	"errors"
	"net"
	"syscall"
)

// directWrite is for systems whose sockets can be written to without waiting; here every connection has a writer of its
// own while there is something to write.
type directWrite struct{}

func (*directWrite) init() {}

func (*directWrite) write(syscall.RawConn, []byte) (int, error) { return 0, errors.ErrUnsupported }

func rawConn(net.Conn) syscall.RawConn { return nil }
