package chatroom

import (
	"context"
	"encoding/binary"
	"net"
	"time"

	"github.com/gorilla/websocket"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
)

// flushBytes is how much is collected before it is written.
const flushBytes = 64 << 10

// frameWriter collects WebSocket frames (RFC 6455 §5.2; a server's are not masked) and writes many with one call, since
// the system call is what a small frame costs. It writes beside the WebSocket library, which must write nothing itself.
// One goroutine owns it. After an error it drops everything.
type frameWriter struct {
	// Immutable.
	conn  net.Conn
	ctx   context.Context // of the session; when it ends writes must hurry
	alive func()          // called after a large write: the client reads

	buf     []byte // whole frames
	scratch []byte
	encoded [][]byte // for the events of one frame
	err     error
}

// text appends a text frame.
func (w *frameWriter) text(payload []byte) { w.append(websocket.TextMessage, payload) }

// events appends an events frame.
func (w *frameWriter) events(room string, encoded [][]byte) {
	w.scratch = frame.AppendEvents(w.scratch[:0], room, encoded)
	w.text(w.scratch)
	if cap(w.scratch) > flushBytes { // an idle connection should not keep what one large page took
		w.scratch = nil
	}
	clear(encoded)
}

// control appends a control frame; its payload has at most 125 bytes.
func (w *frameWriter) control(kind int, payload []byte) {
	w.append(kind, payload[:min(len(payload), 125)])
}

func (w *frameWriter) append(kind int, payload []byte) {
	if w.err != nil {
		return
	}
	const final = 0x80
	switch n := len(payload); {
	case n < 126:
		w.buf = append(w.buf, final|byte(kind), byte(n))
	case n <= 0xffff:
		w.buf = binary.BigEndian.AppendUint16(append(w.buf, final|byte(kind), 126), uint16(n))
	default:
		w.buf = binary.BigEndian.AppendUint64(append(w.buf, final|byte(kind), 127), uint64(n))
	}
	w.buf = append(w.buf, payload...)
	if len(w.buf) >= flushBytes {
		_ = w.flush() // the error stays in w.err
	}
}

// flush writes what was collected, within writeTimeout, or farewellTimeout where the session has ended.
func (w *frameWriter) flush() error {
	if w.err != nil || len(w.buf) == 0 {
		return w.err
	}
	if w.err = w.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); w.err == nil && w.ctx.Err() != nil {
		w.err = w.conn.SetWriteDeadline(time.Now().Add(farewellTimeout))
	}
	if w.err == nil {
		_, w.err = w.conn.Write(w.buf)
	}
	// A client that takes so much reads, though its answer to a ping may wait behind it. A small write proves nothing:
	// it fits into the buffers of a dead connection.
	if w.err == nil && len(w.buf) >= flushBytes {
		w.alive()
	}
	w.buf = w.buf[:0]
	if cap(w.buf) > 4<<10 {
		w.buf = nil
	}
	return w.err
}
