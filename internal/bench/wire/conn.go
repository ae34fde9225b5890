//go:build unix

// Package wire is the load generator's WebSocket client (RFC 6455): whole text frames over a plain or TLS connection, at
// as little cost as possible, since the generator shares the machine with what it measures.
//
// Client frames are masked with the key 0, which every server must take and which leaves the bytes as they are. A reader
// holds a buffer only while a frame is incomplete: a plain connection that is idle costs a goroutine and no buffer, since
// the kernel is asked for bytes when there are some.
//
// Limits: no compression, no fragmented frames (the servers measured send none), frames of at most 16 MiB. For load
// against servers that the user runs, not for untrusted ones.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Opcodes of RFC 6455 §5.2.
const (
	opText  = 1
	opClose = 8
	opPing  = 9
	opPong  = 10
)

const (
	bufferBytes  = 32 << 10
	maxFrame     = 16 << 20
	writeTimeout = 30 * time.Second
)

var buffers = sync.Pool{New: func() any { b := make([]byte, bufferBytes); return &b }}

// ClosedError is the server's close frame.
type ClosedError struct {
	Code   int // 0: none given
	Reason string
}

func (c *ClosedError) Error() string {
	return fmt.Sprintf("the server closed with %d %s", c.Code, c.Reason)
}

// Conn is a connection after the handshake. One goroutine reads; any may write.
type Conn struct {
	// Immutable.
	nc   net.Conn
	raw  syscall.RawConn // nil: TLS
	read func(fd uintptr) bool

	// Owned by the reader. buf[:n] is what was read and is not a whole frame yet; buf is nil while n is 0.
	buf    *[]byte
	n      int
	early  bool // what is there came with the handshake and was not looked at yet
	got    int
	gotErr error
}

func newConn(nc net.Conn) *Conn {
	c := &Conn{nc: nc}
	if tcp, ok := nc.(*net.TCPConn); ok {
		if raw, err := tcp.SyscallConn(); err == nil {
			c.raw, c.read = raw, c.tryRead
		}
	}
	return c
}

// Close ends the connection at once, without a close frame.
func (c *Conn) Close() error { return c.nc.Close() }

// Leave says that the connection ends, as a client that leaves does, and ends it without waiting for an answer.
func (c *Conn) Leave() error {
	const normal = 1000
	return errors.Join(c.Write(appendFrame(nil, opClose, binary.BigEndian.AppendUint16(nil, normal))), c.nc.Close())
}

// SetReadDeadline bounds the reads after it; zero: none.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.nc.SetReadDeadline(t) }

// AppendText appends a text frame with the mask 0 to dst. The payload may be changed in place afterwards: it stands in the
// frame as it is.
func AppendText(dst, payload []byte) []byte { return appendFrame(dst, opText, payload) }

func appendFrame(dst []byte, opcode byte, payload []byte) []byte {
	const final, masked = 0x80, 0x80
	dst = append(dst, final|opcode)
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, masked|byte(n))
	case n <= 0xffff:
		dst = binary.BigEndian.AppendUint16(append(dst, masked|126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, masked|127), uint64(n))
	}
	return append(append(dst, 0, 0, 0, 0), payload...)
}

// Write writes whole frames.
func (c *Conn) Write(frames []byte) error {
	if err := c.nc.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	_, err := c.nc.Write(frames)
	return err
}

// WriteText writes one text frame.
func (c *Conn) WriteText(payload []byte) error { return c.Write(AppendText(nil, payload)) }

// Read waits for bytes and hands the payload of every text frame that is whole to handle, which must not keep it. It may
// return without having called it. Pings are answered.
func (c *Conn) Read(handle func(payload []byte) error) error {
	if !c.early {
		if err := c.fill(); err != nil {
			return err
		}
	}
	c.early = false
	data := (*c.buf)[:c.n]
	for {
		opcode, payload, size, err := next(data)
		if err != nil {
			return err
		}
		if size == 0 || size > len(data) {
			c.keep(data, size)
			return nil
		}
		switch opcode {
		case opText:
			err = handle(payload)
		case opPing:
			err = c.Write(appendFrame(nil, opPong, payload))
		case opClose:
			err = closed(payload)
		}
		if err != nil {
			return err
		}
		data = data[size:]
	}
}

// keep moves what is left to the front of a buffer that holds the whole frame, or gives the buffer back.
func (c *Conn) keep(data []byte, size int) {
	if c.n = len(data); c.n == 0 {
		c.release()
		return
	}
	if size > len(*c.buf) {
		larger := make([]byte, size)
		copy(larger, data)
		c.release()
		c.buf = &larger
		return
	}
	copy(*c.buf, data)
}

func (c *Conn) release() {
	if c.buf != nil && len(*c.buf) == bufferBytes {
		buffers.Put(c.buf)
	}
	c.buf = nil
}

// fill reads at least one byte behind what is there.
func (c *Conn) fill() error {
	if c.raw != nil {
		c.got, c.gotErr = 0, nil
		if err := c.raw.Read(c.read); err != nil {
			return err
		}
	} else {
		c.take()
		c.got, c.gotErr = c.nc.Read((*c.buf)[c.n:])
	}
	c.n += c.got
	if c.got > 0 {
		return nil
	}
	if c.gotErr == nil {
		return io.ErrUnexpectedEOF
	}
	return c.gotErr
}

func (c *Conn) take() {
	if c.buf == nil {
		c.buf = buffers.Get().(*[]byte)
	}
}

// tryRead is called when the socket may be readable; false: it is not.
func (c *Conn) tryRead(fd uintptr) bool {
	c.take()
	for {
		c.got, c.gotErr = unix.Read(int(fd), (*c.buf)[c.n:])
		switch {
		case errors.Is(c.gotErr, unix.EINTR):
			continue
		case errors.Is(c.gotErr, unix.EAGAIN):
			if c.n == 0 {
				c.release()
			}
			return false
		default:
			c.got = max(c.got, 0)
			return true
		}
	}
}

// next finds the first frame. size is its whole length, also where more of it is to come; 0: not even the header is there.
func next(data []byte) (opcode byte, payload []byte, size int, err error) {
	if len(data) < 2 {
		return 0, nil, 0, nil
	}
	if data[0]&0xf0 != 0x80 {
		return 0, nil, 0, fmt.Errorf("frame header %#x: fragmented and compressed frames are not understood", data[0])
	}
	header, length := 2, uint64(data[1])
	switch {
	case data[1]&0x80 != 0:
		return 0, nil, 0, errors.New("a server's frame is masked")
	case length == 126:
		if header = 4; len(data) < header {
			return 0, nil, 0, nil
		}
		length = uint64(binary.BigEndian.Uint16(data[2:]))
	case length == 127:
		if header = 10; len(data) < header {
			return 0, nil, 0, nil
		}
		length = binary.BigEndian.Uint64(data[2:])
	}
	if length > maxFrame {
		return 0, nil, 0, fmt.Errorf("a frame of %d bytes is larger than any of the protocol", length)
	}
	size = header + int(length)
	if size <= len(data) {
		payload = data[header:size]
	}
	return data[0] & 0x0f, payload, size, nil
}

func closed(payload []byte) error {
	c := &ClosedError{}
	if len(payload) >= 2 {
		c.Code, c.Reason = int(binary.BigEndian.Uint16(payload)), string(payload[2:])
	}
	return c
}
