//go:build unix

package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
	"github.com/rafaeldepontes/go-chat/internal/bench/stats"
	"github.com/rafaeldepontes/go-chat/internal/bench/wire"
)

// What the frames begin with, and what is looked for inside: the server writes its fields in the order of the protocol's
// page, so that nothing needs to be decoded while it is measured.
var (
	eventsPrefix   = []byte(`{"type":"events",`)
	pagePrefix     = []byte(`{"type":"events","id":`)
	acceptedPrefix = []byte(`{"type":"accepted","id":"`)
	storedPrefix   = []byte(`{"type":"stored",`)
	joinedPrefix   = []byte(`{"type":"joined",`)
	welcomePrefix  = []byte(`{"type":"welcome",`)
	errorPrefix    = []byte(`{"type":"error",`)
	byePrefix      = []byte(`{"type":"bye",`)
	seqMark        = []byte(`{"seq":`)
	seqField       = []byte(`"seq":`)
	timeMark       = []byte(`"text":"@@`)
)

// tally is what all members of a round count together.
type tally struct {
	base      time.Time
	run       string      // 8 characters, in every id
	sending   atomic.Bool // closed loops go on
	measuring atomic.Bool
	// Latencies of the measured time, from when a message was to be sent: until accepted, delivered, told to be stored, and late in sending.
	accepted, delivered, stored, late stats.Histogram

	mu     sync.Mutex // guards the fields below
	errors map[string]int64
	lost   error // why a connection ended
}

func newTally(run string) *tally {
	return &tally{base: time.Now(), run: run, errors: make(map[string]int64)}
}

func (t *tally) now() int64 { return int64(time.Since(t.base)) }

func (t *tally) failed(code string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.errors[code]++
}

func (t *tally) end(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lost == nil {
		t.lost = err
	}
}

// member is one connection in one room. Its reader, a goroutine, checks that every event comes once and in order.
type member struct {
	// Immutable.
	conn     *wire.Conn
	name     string
	room     string
	tally    *tally
	measures bool  // latencies of what is delivered to it
	closed   bool  // a closed loop: the answer to a message sends the next one
	gate     *gate // nil: nothing holds a closed loop up
	page     func(payload []byte)

	// Owned by the reader.
	last     int64
	own      int64 // the highest seq that an accepted of ours told
	welcomed bool
	joined   *frame.Joined
	seen     []uint64 // a bit for each message that was accepted
	next     int      // messages to be sent when what was read is done with
	times    []int64  // when the last events were to be sent, by seq; nil: when they are stored is not timed

	events, gaps, repeats atomic.Int64 // delivered; missing before one that came; came again
	answered, again       atomic.Int64 // accepted once; accepted more than once
	refused, stored       atomic.Int64
	parked                atomic.Int64 // sends that wait for the gate

	mu       sync.Mutex // guards the fields below
	frame    []byte     // a send, to be patched
	out      []byte     // what is written
	id, text int        // where its id and its time stand in frame
	sent     int64
}

// connect dials and says hello.
func connect(ctx context.Context, s *server, from net.IP, name string, t *tally) (*member, error) {
	conn, err := s.dialer.Dial(ctx, from)
	if err != nil {
		return nil, err
	}
	m := &member{conn: conn, name: name, tally: t}
	err = m.ask(ctx, fmt.Sprintf(`{"type":"hello","name":%q,"client":"gochat bench"}`, name), func() bool { return m.welcomed })
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("say hello as %s: %w", name, err)
	}
	return m, nil
}

// join joins a room, with the events above after, or with its last ones where after is negative, and reads them.
func (m *member) join(ctx context.Context, room string, after int64) error {
	m.room, m.last = room, after
	ask := fmt.Sprintf(`{"type":"join","id":"j","room":%q,"after":%d}`, room, after)
	if after < 0 {
		ask = fmt.Sprintf(`{"type":"join","id":"j","room":%q}`, room)
	}
	if err := m.ask(ctx, ask, func() bool { return m.joined != nil && m.last >= m.joined.Head }); err != nil {
		return fmt.Errorf("join %s: %w", room, err)
	}
	return nil
}

// ask writes a frame and reads until done; ctx interrupts it. Not while run is under way.
func (m *member) ask(ctx context.Context, text string, done func() bool) error {
	if err := m.conn.WriteText([]byte(text)); err != nil {
		return err
	}
	return m.read(ctx, done)
}

// read reads until done; ctx interrupts it. Not while run is under way.
func (m *member) read(ctx context.Context, done func() bool) error {
	if err := m.conn.SetReadDeadline(time.Now().Add(answerWithin)); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = m.conn.SetReadDeadline(time.Now()) })
	defer stop()
	for !done() {
		if err := m.conn.Read(m.handle); err != nil {
			return errors.Join(ctx.Err(), err)
		}
	}
	return m.conn.SetReadDeadline(time.Time{})
}

// run reads until the connection ends.
func (m *member) run() {
	for {
		if err := m.conn.Read(m.handle); err != nil {
			if !errors.Is(err, net.ErrClosed) {
				m.tally.end(fmt.Errorf("%s in %s: %w", m.name, m.room, err))
			}
			return
		}
		if m.next > 0 && m.tally.sending.Load() {
			if err := m.send(m.tally.now(), m.next); err != nil {
				m.tally.end(fmt.Errorf("send as %s: %w", m.name, err))
			}
		}
		m.next = 0
	}
}

func (m *member) handle(p []byte) error {
	switch {
	case bytes.HasPrefix(p, eventsPrefix):
		if m.page != nil && bytes.HasPrefix(p, pagePrefix) {
			m.page(p)
			return nil
		}
		m.deliver(p)
	case bytes.HasPrefix(p, acceptedPrefix):
		m.accept(p[len(acceptedPrefix):])
	case bytes.HasPrefix(p, storedPrefix):
		seq := seqOf(p)
		if seq == 0 {
			return fmt.Errorf("no seq in %s", p)
		}
		m.markStored(seq)
	case bytes.HasPrefix(p, errorPrefix):
		var f struct {
			Code string `json:"code"`
		}
		if err := json.Unmarshal(p, &f); err != nil {
			return err
		}
		m.refused.Add(1)
		m.tally.failed(f.Code)
	case bytes.HasPrefix(p, welcomePrefix):
		m.welcomed = true
	case bytes.HasPrefix(p, joinedPrefix):
		m.joined = new(frame.Joined)
		if err := json.Unmarshal(p, m.joined); err != nil {
			return err
		}
		if m.last < 0 { // only the end of the room follows
			m.last = max(0, m.joined.Head-frame.DefaultTail)
		}
		m.stored.Store(m.joined.Stored)
	case bytes.HasPrefix(p, byePrefix):
		return fmt.Errorf("the server said %s", p)
	}
	return nil
}

// deliver counts the events of a frame.
func (m *member) deliver(p []byte) {
	measures := m.measures && m.tally.measuring.Load()
	var now, n int64
	if measures {
		now = m.tally.now()
	}
	for {
		i := bytes.Index(p, seqMark)
		if i < 0 {
			break
		}
		p = p[i+len(seqMark):]
		seq := digits(p)
		if seq <= m.last {
			m.repeats.Add(1)
			continue
		}
		m.gaps.Add(seq - m.last - 1)
		m.last = seq
		n++
		if !measures {
			continue
		}
		if j := bytes.Index(p, timeMark); j >= 0 && len(p) >= j+len(timeMark)+timeDigits {
			if at, ok := parseHex(p[j+len(timeMark):][:timeDigits]); ok {
				m.tally.delivered.Record(time.Duration(now - at))
				if m.times != nil {
					m.times[seq%remembered] = at
				}
			}
		}
	}
	m.events.Add(n)
}

// seqOf finds the seq in a stored, or in what follows the id of an accepted; 0: there is none.
func seqOf(p []byte) int64 {
	_, after, _ := bytes.Cut(p, seqField)
	return digits(after)
}

// digits reads the decimal number that p begins with.
func digits(p []byte) (n int64) {
	for j := 0; j < len(p) && '0' <= p[j] && p[j] <= '9'; j++ {
		n = n*10 + int64(p[j]-'0')
	}
	return n
}

// remembered is how many events of a room a member knows the times of: 16 s at 1,000 a second.
const remembered = 16 << 10

// markStored raises the mark and times what it covers and was delivered in the measured time.
func (m *member) markStored(seq int64) {
	from := m.stored.Load()
	if seq <= from {
		return
	}
	m.stored.Store(seq)
	if m.times == nil || !m.tally.measuring.Load() {
		return
	}
	now := m.tally.now()
	for s := max(from, seq-remembered) + 1; s <= min(seq, m.last); s++ {
		if at := m.times[s%remembered]; at != 0 {
			m.tally.stored.Record(time.Duration(now - at))
			m.times[s%remembered] = 0
		}
	}
}

// An id is run.number.time, each in hexadecimal digits.
const (
	runDigits    = 8
	numberDigits = 8
	timeDigits   = 16
	idDigits     = runDigits + 1 + numberDigits + 1 + timeDigits
	minText      = len("@@") + timeDigits
)

// accept counts an accepted, p begins with its id.
func (m *member) accept(p []byte) {
	if len(p) < idDigits {
		m.again.Add(1)
		return
	}
	number, ok1 := parseHex(p[runDigits+1:][:numberDigits])
	at, ok2 := parseHex(p[runDigits+1+numberDigits+1:][:timeDigits])
	if !ok1 || !ok2 || string(p[:runDigits]) != m.tally.run || !m.first(number) {
		m.again.Add(1)
		return
	}
	m.answered.Add(1)
	m.own = max(m.own, seqOf(p[idDigits:]))
	if m.tally.measuring.Load() {
		m.tally.accepted.Record(time.Duration(m.tally.now() - at))
	}
	if m.gate != nil && m.gate.shut.Load() {
		m.parked.Add(1)
		return
	}
	if m.closed && m.tally.sending.Load() {
		m.next++
	}
}

// first tells whether a message was not accepted before.
func (m *member) first(number int64) bool {
	word, bit := int(number/64), uint64(1)<<(number%64)
	for len(m.seen) <= word {
		m.seen = append(m.seen, 0)
	}
	is := m.seen[word]&bit == 0
	m.seen[word] |= bit
	return is
}

// prepare makes the frame that send patches; the text has size bytes.
func (m *member) prepare(size int) {
	id := m.tally.run + "." + zeros[:numberDigits] + "." + zeros[:timeDigits]
	text := append([]byte("@@"+zeros[:timeDigits]), bytes.Repeat([]byte{'x'}, max(0, size-minText))...)
	payload := fmt.Appendf(nil, `{"type":"send","id":"%s","room":"%s","text":"%s"}`, id, m.room, text)
	m.frame = wire.AppendText(nil, payload)
	head := len(m.frame) - len(payload)
	m.id, m.text = head+bytes.Index(payload, []byte(id)), head+bytes.Index(payload, text)+len("@@")
}

const zeros = "0000000000000000"

// send sends n messages, all of which were to be sent at a time of the tally's clock, in one write.
func (m *member) send(at int64, n int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.out = m.out[:0]
	for range n {
		number := m.id + runDigits + 1
		putHex(m.frame[number:][:numberDigits], m.sent)
		putHex(m.frame[number+numberDigits+1:][:timeDigits], at)
		putHex(m.frame[m.text:][:timeDigits], at)
		m.sent++
		m.out = append(m.out, m.frame...)
	}
	return m.conn.Write(m.out)
}

func (m *member) sends() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sent
}

func (m *member) totals() totals {
	return totals{
		sent: m.sends(), accepted: m.answered.Load(), delivered: m.events.Load(), refused: m.refused.Load(),
		gaps: m.gaps.Load(), repeats: m.repeats.Load(), again: m.again.Load(),
	}
}

func putHex(dst []byte, v int64) {
	const hexDigits = "0123456789abcdef"
	for i := len(dst) - 1; i >= 0; i-- {
		dst[i] = hexDigits[v&0xf]
		v >>= 4
	}
}

func parseHex(p []byte) (v int64, ok bool) {
	for _, c := range p {
		switch {
		case '0' <= c && c <= '9':
			v = v<<4 | int64(c-'0')
		case 'a' <= c && c <= 'f':
			v = v<<4 | int64(c-'a'+10)
		default:
			return 0, false
		}
	}
	return v, true
}
