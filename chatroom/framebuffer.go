package chatroom

import (
	"encoding/binary"

	"github.com/gorilla/websocket"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
)

// frameBuffer collects WebSocket frames (RFC 6455 §5.2; a server's are not masked) that go out with one call, since the
// system call is what a small frame costs. A piece that many connections share is not copied while it stands alone. The
// zero value is empty.
type frameBuffer struct {
	shared  []byte // frames that belong to a room, and are not changed; only while buf is empty
	buf     []byte
	scratch []byte
}

// bytes returns the frames, until the next call of reset.
func (w *frameBuffer) bytes() []byte {
	if w.shared != nil {
		return w.shared
	}
	return w.buf
}

func (w *frameBuffer) len() int { return len(w.shared) + len(w.buf) }

// reset empties the buffer. An idle connection should not keep what one large page took.
func (w *frameBuffer) reset() {
	w.shared, w.buf = nil, w.buf[:0]
	if cap(w.buf) > 2*writeBytes {
		w.buf = nil
	}
	if cap(w.scratch) > 2*writeBytes {
		w.scratch = nil
	}
}

// whole appends frames that are encoded already, and that nobody changes.
func (w *frameBuffer) whole(frames []byte) {
	if len(frames) == 0 {
		return
	}
	if w.len() == 0 {
		w.shared = frames
		return
	}
	w.own()
	w.buf = append(w.buf, frames...)
}

// text appends a text frame.
func (w *frameBuffer) text(payload []byte) {
	w.own()
	w.buf = appendFrame(w.buf, websocket.TextMessage, payload)
}

// events appends an events frame.
func (w *frameBuffer) events(room string, encoded [][]byte) {
	w.scratch = frame.AppendEvents(w.scratch[:0], room, encoded)
	w.text(w.scratch)
}

// control appends a control frame; its payload has at most 125 bytes.
func (w *frameBuffer) control(kind int, payload []byte) {
	w.own()
	w.buf = appendFrame(w.buf, kind, payload[:min(len(payload), 125)])
}

// own copies the shared piece, so that something can follow on it.
func (w *frameBuffer) own() {
	if w.shared != nil {
		w.buf = append(w.buf, w.shared...)
		w.shared = nil
	}
}

// maxFrameHeader is the length of the longest header of a frame without a mask.
const maxFrameHeader = 10

func appendFrame(b []byte, kind int, payload []byte) []byte {
	const final = 0x80
	switch n := len(payload); {
	case n < 126:
		b = append(b, final|byte(kind), byte(n))
	case n <= 0xffff:
		b = binary.BigEndian.AppendUint16(append(b, final|byte(kind), 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, final|byte(kind), 127), uint64(n))
	}
	return append(b, payload...)
}
