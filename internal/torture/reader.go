package torture

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
	"github.com/rafaeldepontes/go-chat/internal/torture/check"
)

// habit is how a reader reads.
type habit int

const (
	steady habit = iota // from the first event to the end
	slow                // likewise, and far slower than others write
	fickle              // comes in the middle, stays for a while, and begins anew as another reader
)

// reader reads one room over a bare WebSocket, without the client library: what it writes down is what was on the wire.
type reader struct {
	// Immutable.
	name    string
	room    string
	habit   habit
	doors   []string
	journal *journal
	rng     *rand.Rand  // owned by run
	full    atomic.Bool // no habits any more: to the head as fast as it goes

	// Owned by run.
	door  int
	epoch string
	now   *check.Reader // the journal that is being written
	begun bool          // now has its After

	last atomic.Int64 // the highest seq in now
}

func newReader(n int, room string, h habit, doors []string, j *journal, seed uint64) *reader {
	r := &reader{
		name: fmt.Sprintf("reader-%d", n), room: room, habit: h, doors: doors, journal: j, door: n,
		rng: rand.New(rand.NewPCG(seed, 1<<32+uint64(n))), //nolint:gosec // a run must be the same again
	}
	r.anew()
	return r
}

// anew begins another journal.
func (r *reader) anew() {
	r.now = &check.Reader{Name: r.name, Room: r.room}
	r.begun = r.habit != fickle
	r.last.Store(0)
	r.journal.reading(r.now)
}

// run reads until ctx ends, over as many connections as it takes.
func (r *reader) run(ctx context.Context) {
	for ctx.Err() == nil {
		stay, end := ctx, func() {}
		if r.habit == fickle && !r.full.Load() {
			stay, end = context.WithTimeout(ctx, time.Second+time.Duration(r.rng.Int64N(int64(8*time.Second))))
		}
		err := r.connection(stay)
		left := stay.Err() != nil && ctx.Err() == nil
		end()
		var bad *badFrameError
		if errors.As(err, &bad) {
			r.journal.complain("%s: %v", r.name, err)
		}
		if left && !r.full.Load() { // who comes to the head at last does not begin again
			r.anew()
			continue
		}
		pause(ctx, 20*time.Millisecond+time.Duration(r.rng.Int64N(int64(200*time.Millisecond))))
	}
	r.now.Live = r.begun // nothing is owed to one that never joined
}

// errWider ends the connection of a slow reader that is to be slow no more.
var errWider = errors.New("a wider connection")

// badFrameError is what a server must never send.
type badFrameError struct{ text string }

func (b *badFrameError) Error() string { return b.text }

// connection reads over one connection to its end.
func (r *reader) connection(ctx context.Context) error {
	addr := r.doors[r.door%len(r.doors)]
	r.door++
	d := websocket.Dialer{Subprotocols: []string{frame.Protocol}, HandshakeTimeout: 5 * time.Second, ReadBufferSize: 16 << 10}
	narrow := r.habit == slow && !r.full.Load()
	if narrow {
		d.NetDialContext = dialNarrow
	}
	conn, resp, err := d.DialContext(ctx, "ws://"+addr+"/ws", nil)
	if resp != nil && err != nil {
		_ = resp.Body.Close()
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	r.journal.readers.Add(1)
	defer r.journal.readers.Add(-1)
	conn.SetReadLimit(8 << 20)
	if err := conn.WriteMessage(websocket.TextMessage, frame.Encode(frame.Client{Type: frame.TypeHello, Name: r.name})); err != nil {
		return err
	}
	join := frame.Client{Type: frame.TypeJoin, ID: "j", Room: r.room, Epoch: r.epoch}
	if r.begun {
		after := max(r.now.After, r.last.Load())
		join.After = &after
	}
	if err := conn.WriteMessage(websocket.TextMessage, frame.Encode(join)); err != nil {
		return err
	}
	joined := false
	for {
		// The server pings every 2 s, which the library answers while it reads.
		if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			return err
		}
		_, b, err := conn.ReadMessage()
		if err != nil {
			return err
		}
		if err := r.frame(b, &joined); err != nil {
			return err
		}
		if narrow {
			if r.full.Load() {
				return errWider
			}
			pause(ctx, 100*time.Millisecond)
		}
	}
}

// frame writes down what came.
func (r *reader) frame(b []byte, joined *bool) error {
	var f frame.Server
	if err := json.Unmarshal(b, &f); err != nil {
		return &badFrameError{fmt.Sprintf("a frame that is no JSON: %v", err)}
	}
	switch f.Type {
	case frame.TypeError:
		return fmt.Errorf("refused: %s", f.Message)
	case frame.TypeJoined:
		return r.join(&f, joined)
	case frame.TypeStored:
		if f.Seq > r.last.Load() {
			return &badFrameError{fmt.Sprintf("stored %d of %s, of which only %d were shown", f.Seq, r.room, r.last.Load())}
		}
		r.journal.told(f.Room, f.Seq)
	case frame.TypeEvents:
		if !*joined {
			return &badFrameError{"events before joined"}
		}
		for _, e := range f.Events {
			r.now.Events = append(r.now.Events, check.Seen{Seq: e.Seq, Digest: check.DigestOf(e.ID, e.From, e.Text, e.SentAt, e.Kind)})
			r.last.Store(max(r.last.Load(), e.Seq))
		}
		r.journal.delivered.Add(int64(len(f.Events)))
	}
	return nil
}

func (r *reader) join(f *frame.Server, joined *bool) error {
	switch {
	case *joined:
		return &badFrameError{"joined twice"}
	case f.Reset:
		return &badFrameError{fmt.Sprintf("reset of %s at %d, epoch %s", r.room, f.Head, f.Epoch)}
	case r.epoch != "" && f.Epoch != r.epoch:
		return &badFrameError{fmt.Sprintf("epoch %s, and %s before", f.Epoch, r.epoch)}
	case f.Head < r.last.Load():
		return &badFrameError{fmt.Sprintf("head %d of %s, of which %d were shown", f.Head, r.room, r.last.Load())}
	}
	*joined, r.epoch = true, f.Epoch
	if !r.begun {
		r.begun, r.now.After = true, max(0, f.Head-frame.DefaultTail)
	}
	return nil
}

// dialNarrow makes a connection that takes little before its reader has read.
func dialNarrow(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, network, addr)
	if tcp, ok := c.(*net.TCPConn); ok {
		err = tcp.SetReadBuffer(16 << 10)
	}
	return c, err
}
