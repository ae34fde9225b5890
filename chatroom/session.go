package chatroom

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/gorilla/websocket"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
)

const (
	helloTimeout = 5 * time.Second
	writeTimeout = 10 * time.Second
	// farewellTimeout bounds each write of a session that has ended: the last answers, and bye.
	farewellTimeout = time.Second
	// slots is how many requests of one connection may be unanswered. A client that sends more is not read from until
	// an answer has left, which bounds what a session can hold.
	slots = 64
	// pageSlots is how many of them may be pages that are read, or wait to be written. Further requests for pages wait in
	// their order: a page is ten thousand times as large as the request for it.
	pageSlots = 4
	// hardFrame is where a too large frame is not worth reading to its end any more.
	hardFrame = 1 << 20
	maxRooms  = 100
)

// session is one connection. The read loop owns the requests, and the work that waits for a database runs beside it.
//
// Who writes: a flusher, as long as the socket takes at once what there is for it. Where it does not, and where it is not a
// plain socket (TLS), the session has a goroutine of its own, until all is written. Both compose what is due under mu, so
// that there is one order, and nobody else writes. At the end the goroutine writes the last answers, and bye.
type session struct {
	// Immutable after the hello.
	srv  *Server
	conn *websocket.Conn
	raw  syscall.RawConn // nil: the flushers cannot write to it
	id   string
	user string

	ctx    context.Context
	cancel context.CancelCauseFunc // with a *goodbye where there is one to say
	ended  func()                  // called last
	work   sync.WaitGroup          // requests under way; Add only by the read loop
	reads  sync.WaitGroup          // pages being read to catch up

	mu      sync.Mutex      // guards the fields below and the mutable ones of subs; taken before a room's mu
	subs    []*subscription // at most maxRooms
	dirty   []*subscription // to be written to
	replies []reply
	framed  int            // how many of them are in what is being written
	pending int            // slots that are taken
	freed   chan struct{}  // closed when one is given back; nil while nobody waits
	pages   int            // page slots that are taken
	asked   []frame.Client // requests for pages that wait for a page slot
	typing  []frame.Typing // bounded, the rest is dropped
	pong    *[]byte        // the last ping that was not answered
	timer   *time.Timer    // of the heartbeat
	beat    bool           // it is due
	rest    []byte         // what the socket did not take; it comes first
	writing bool           // by the goroutine
	written chan struct{}  // set at the end: closed when nothing will be written any more
	failed  bool           // a write did; nothing is written any more
	where   place
}

// reply is a frame that answers a request; it holds a slot, and a page slot where it is a page, until it is written.
type reply struct {
	data       []byte // nil once it is framed
	slot, page bool
}

// goodbye is a reason to end a session that the client is told.
type goodbye struct {
	code    int
	message string
	retryMS *[2]int64
}

func (g *goodbye) Error() string { return g.message }

func newSession(srv *Server, conn *websocket.Conn) *session {
	s := &session{
		srv: srv, conn: conn, id: newID(),
		raw: rawConn(conn.NetConn()),
	}
	// Not the request's context: the handler returns after the upgrade.
	s.ctx, s.cancel = context.WithCancelCause(srv.ctx)
	return s
}

// start serves the connection, from now to its end; then it calls ended.
func (s *session) start(ended func()) {
	s.conn.SetReadLimit(hardFrame)
	s.conn.SetPongHandler(func(string) error { return s.extend() })
	// The library answers pings and closes itself, beside the writers and with a deadline of its own. Here they do.
	s.conn.SetPingHandler(func(data string) error {
		payload := []byte(data)
		s.mu.Lock()
		s.pong = &payload
		s.mu.Unlock()
		s.wake()
		return s.extend()
	})
	s.conn.SetCloseHandler(func(int, string) error { return nil })
	s.mu.Lock()
	s.timer = time.AfterFunc(s.srv.opts.Heartbeat, s.heartbeat)
	s.mu.Unlock()
	s.ended = ended
	s.srv.register(s)
	go func() {
		if err := s.hello(); err != nil {
			s.end(err)
			return
		}
		go s.readLoop()
	}()
}

// end ends the session for a reason, once nothing is read any more.
func (s *session) end(why error) {
	s.cancel(why)
	s.leaveAll()
	s.work.Wait()
	s.finish()
	s.reads.Wait()
	s.srv.unregister(s)
	_ = s.conn.Close() // whatever the client still had to say, it was said bye
	s.ended()
}

// interrupt wakes who waits for the socket, after ctx has ended: a read or a write blocks until its deadline.
func (s *session) interrupt() {
	_ = s.conn.SetReadDeadline(time.Now())
	_ = s.conn.NetConn().SetWriteDeadline(time.Now().Add(farewellTimeout))
}

// busy is how soon after one frame another one has to come for a reader to be worth a large stack.
const busy = time.Second

// readLoop reads to the end of the session. To parse and to serve a frame takes a stack that is larger than to wait for
// one, and goroutines keep theirs: so one that is about to wait for long hands on to a fresh one.
func (s *session) readLoop() {
	for last := time.Now(); ; {
		b, err := s.read()
		if err == nil && !s.acquire() {
			err = context.Cause(s.ctx)
		}
		if err != nil {
			s.end(err)
			return
		}
		joins := s.handle(b.Bytes())
		recycle(b)
		now := time.Now()
		if joins || now.Sub(last) > busy {
			go s.readLoop()
			return
		}
		last = now
	}
}

// texts are buffers for frames that were read.
var texts = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func recycle(b *bytes.Buffer) {
	b.Reset()
	texts.Put(b)
}

// errTooLong stands for a frame that was read to its end and dropped; errBinary likewise.
var (
	errTooLong = frame.Errorf(frame.TooLarge, "", "a frame is at most %d bytes", frame.MaxFrame)
	errBinary  = frame.Errorf(frame.BadRequest, "", "frames are JSON text, not binary")
)

// read returns the next frame, in a buffer to recycle. One that breaks the bounds of a frame is answered here, and the next
// one is read.
func (s *session) read() (*bytes.Buffer, error) {
	for {
		kind, r, err := s.conn.NextReader()
		if err != nil {
			return nil, s.readError(err)
		}
		b := texts.Get().(*bytes.Buffer)
		_, err = b.ReadFrom(io.LimitReader(r, frame.MaxFrame+1))
		if err == nil && b.Len() > frame.MaxFrame {
			_, err = io.Copy(io.Discard, r)
		}
		if err != nil {
			return nil, s.readError(err)
		}
		if err := s.extend(); err != nil {
			return nil, err
		}
		switch {
		case kind != websocket.TextMessage:
			err = errBinary
		case b.Len() > frame.MaxFrame:
			err = errTooLong
		default:
			return b, nil
		}
		recycle(b)
		if s.user == "" {
			return nil, &goodbye{code: frame.CloseBadHello, message: err.Error()}
		}
		if !s.acquire() {
			return nil, context.Cause(s.ctx)
		}
		s.answer(err)
	}
}

// readError turns a failed read into the reason to end: what already ended the session, silence, or the client's leave.
func (s *session) readError(err error) error {
	if cause := context.Cause(s.ctx); cause != nil {
		return cause
	}
	var netErr net.Error
	if errors.As(err, &netErr) && netErr.Timeout() {
		if s.user == "" {
			return &goodbye{code: frame.CloseBadHello, message: "no hello within 5 s"}
		}
		return &goodbye{code: frame.CloseNoPong, message: "no answer to two pings"}
	}
	return err
}

// extend gives the client two heartbeats more.
func (s *session) extend() error {
	if s.user == "" {
		return nil // the time for the hello is not extended by other frames
	}
	if err := s.conn.SetReadDeadline(time.Now().Add(2 * s.srv.opts.Heartbeat)); err != nil {
		return err
	}
	// The deadline that ends a stopped session must not be overwritten by one that was under way.
	if s.ctx.Err() != nil {
		return s.conn.SetReadDeadline(time.Now())
	}
	return nil
}

// hello reads the first frame and answers it.
func (s *session) hello() error {
	if err := s.conn.SetReadDeadline(time.Now().Add(helloTimeout)); err != nil {
		return err
	}
	b, err := s.read()
	if err != nil {
		return err
	}
	c, ferr := frame.Parse(b.Bytes())
	recycle(b)
	switch {
	case ferr != nil:
		return &goodbye{code: frame.CloseBadHello, message: ferr.Message}
	case c.Type != frame.TypeHello:
		return &goodbye{code: frame.CloseBadHello, message: "the first frame must be a hello"}
	case c.Name == "" && c.Token != "":
		return &goodbye{code: frame.CloseBadHello, message: "this server runs open: say a name, not a token"}
	}
	if ferr := frame.CheckName(c.Name); ferr != nil {
		return &goodbye{code: frame.CloseBadHello, message: ferr.Message}
	}
	s.user = c.Name
	if err := s.extend(); err != nil {
		return err
	}
	o := &s.srv.opts
	s.queue(reply{data: frame.Encode(frame.Welcome{
		Type: frame.TypeWelcome, ID: c.ID, Protocol: frame.Protocol, User: s.user, Session: s.id, Epoch: s.srv.epoch,
		HeartbeatMS: o.Heartbeat.Milliseconds(), Server: o.Version,
		Limits: frame.Limits{TextBytes: frame.MaxText, RatePerS: o.SendRate, Burst: o.SendBurst, Rooms: maxRooms},
	})})
	return nil
}

// subLocked returns the subscription of a room, or nil. The session's mu is held.
func (s *session) subLocked(room string) *subscription {
	for _, sub := range s.subs {
		if sub.room.name == room {
			return sub
		}
	}
	return nil
}

// acquire takes a slot for a request; false where the session ends first.
func (s *session) acquire() bool {
	for s.ctx.Err() == nil {
		s.mu.Lock()
		if s.pending < slots {
			s.pending++
			s.mu.Unlock()
			return true
		}
		if s.freed == nil {
			s.freed = make(chan struct{})
		}
		freed := s.freed
		s.mu.Unlock()
		select {
		case <-freed:
		case <-s.ctx.Done():
		}
	}
	return false
}

// releaseLocked gives a slot back. The session's mu is held.
func (s *session) releaseLocked() {
	s.pending--
	if s.freed != nil {
		close(s.freed)
		s.freed = nil
	}
}

// answer queues the answer to a request and gives its slot on to it. A nil error is not an answer.
func (s *session) answer(v any) {
	s.queue(reply{data: frame.Encode(v), slot: true})
}

// done gives back the slot of a request that has no answer.
func (s *session) done() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.releaseLocked()
}

func (s *session) queue(r reply) {
	s.mu.Lock()
	s.replies = append(s.replies, r)
	s.mu.Unlock()
	s.wake()
}

// wake lets a flusher write what is due.
func (s *session) wake() { s.srv.flushers.wake(s) }

func (s *session) place() *place { return &s.where }

func (s *session) markDirtyLocked(sub *subscription) {
	if !sub.dirty && sub.cursor != nil {
		sub.dirty = true
		s.dirty = append(s.dirty, sub)
	}
}

// moveLocked sets a new cursor, or none, and ends what is read for the old one. The session's mu is held.
func (sub *subscription) moveLocked(c *cursor) {
	if sub.cursor != nil && sub.cursor.cancel != nil {
		sub.cursor.cancel()
	}
	sub.cursor = c
}

// leaveAll ends the subscriptions.
func (s *session) leaveAll() {
	s.mu.Lock()
	subs := s.subs
	s.subs, s.dirty = nil, nil
	for _, sub := range subs {
		sub.moveLocked(nil)
	}
	s.mu.Unlock()
	for _, sub := range subs {
		s.srv.leave(sub)
	}
}
