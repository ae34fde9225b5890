package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/time/rate"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
	"github.com/rafaeldepontes/go-chat/client"
	"github.com/rafaeldepontes/go-chat/internal/torture/check"
)

const (
	// inWork is how many sends of a writer may wait for their accepted.
	inWork = 48
	// A writer's program lives for so long; then it is gone, and the next one sends again what was not accepted.
	shortLife, longLife = 4 * time.Second, 20 * time.Second
)

// writer sends to all rooms, and never lets go of a message before it is accepted: over lost connections, other chat
// rooms, and the deaths of its own program, after which only its journal is left.
type writer struct {
	// Immutable.
	name    string
	doors   []string
	rooms   []string
	journal *journal
	pace    *rate.Limiter

	// Owned by run, and while a client runs connected by its callbacks.
	rng       *rand.Rand
	connected bool

	mu      sync.Mutex // guards the fields below
	door    int
	open    []*check.Send          // not accepted, in the order of their first try
	byID    map[string]*check.Send // all
	settled []*check.Send          // accepted
	room    chan struct{}          // a place in work is free
}

func newWriter(n int, doors, rooms []string, j *journal, perS float64, seed uint64) *writer {
	return &writer{
		name: fmt.Sprintf("writer-%d", n), doors: doors, rooms: rooms, journal: j, door: n,
		pace: rate.NewLimiter(rate.Limit(perS), 10),
		rng:  rand.New(rand.NewPCG(seed, uint64(n))), //nolint:gosec // a run must be the same again
		byID: make(map[string]*check.Send), room: make(chan struct{}, 1),
	}
}

// run writes until ctx ends; then it goes on only with what is not accepted, until that is or hopeless ends.
func (w *writer) run(ctx, hopeless context.Context) {
	for hopeless.Err() == nil && (ctx.Err() == nil || w.waiting() > 0) {
		life, end := context.WithTimeout(hopeless, shortLife+time.Duration(w.rng.Int64N(int64(longLife-shortLife))))
		w.live(ctx, life)
		end()
	}
}

func (w *writer) waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.open)
}

// live is one life of the writer's program.
func (w *writer) live(ctx, life context.Context) {
	c, err := client.New(client.Options{
		Server: "ws://" + w.doors[0], Name: w.name, AnswerTimeout: 5 * time.Second,
		Dialer:  &websocket.Dialer{NetDialContext: w.dial},
		Backoff: func(failed int) time.Duration { return rand.N(50 * time.Millisecond << min(failed, 4)) },
		OnState: w.onState, OnAccepted: w.onAccepted, OnRefused: w.onRefused, OnStored: w.journal.told,
	})
	if err != nil {
		w.journal.complain("%s: %v", w.name, err)
		return
	}
	life, end := context.WithCancel(life)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer end()
		if err := c.Run(life); err != nil {
			w.journal.complain("%s was sent away: %v", w.name, err)
		}
	})
	defer w.onState(client.State{})
	defer wg.Wait()
	defer end()
	for _, room := range w.rooms {
		if err := c.Join(room, nil); err != nil {
			w.journal.complain("%s: %v", w.name, err)
		}
	}
	w.mu.Lock()
	left := append([]*check.Send(nil), w.open...)
	w.mu.Unlock()
	for _, s := range left {
		w.journal.again(s)
		if !w.submit(life, c, s) {
			return
		}
	}
	for ctx.Err() == nil && life.Err() == nil {
		if w.pace.Wait(life) != nil || !w.place(life) {
			break
		}
		if again := w.repeat(); again != nil {
			if !w.submit(life, c, again) {
				break
			}
			continue
		}
		s := w.next()
		w.journal.sending(s)
		w.mu.Lock()
		w.open = append(w.open, s)
		w.byID[s.ID] = s
		w.mu.Unlock()
		if !w.submit(life, c, s) {
			break
		}
	}
	for w.waiting() > 0 && life.Err() == nil {
		select {
		case <-w.room:
		case <-life.Done():
		}
	}
}

// submit queues a send; false where the program ends.
func (w *writer) submit(life context.Context, c *client.Client, s *check.Send) bool {
	_, err := c.Submit(life, s.Room, s.Text, s.ID)
	if err == nil || life.Err() != nil || errors.Is(err, client.ErrEnded) {
		return err == nil
	}
	var ferr *frame.Error
	if errors.As(err, &ferr) && ferr.Code == frame.IDConflict {
		return true // a repetition that is on its way already
	}
	w.journal.complain("%s: %s was not taken: %v", w.name, s.ID, err)
	return false
}

// place waits until there is a place in work.
func (w *writer) place(life context.Context) bool {
	for w.waiting() >= inWork {
		select {
		case <-w.room:
		case <-life.Done():
			return false
		}
	}
	return true
}

// next makes a message. The first room is the busiest; texts are short, long, and of all alphabets.
func (w *writer) next() *check.Send {
	room := w.rooms[0]
	if w.rng.IntN(2) == 0 {
		room = w.rooms[w.rng.IntN(len(w.rooms))]
	}
	id := fmt.Sprintf("%s/%d", w.name, len(w.byID)+1)
	text := fmt.Sprintf("%s says %d", w.name, w.rng.Uint32())
	switch w.rng.IntN(20) {
	case 0:
		text += strings.Repeat(" lorem ipsum", w.rng.IntN(300))
	case 1:
		text += ` "quoted" \ <b>&amp;</b> ` + "\t\u2028 žluťoučký 馬 🐎 \u0001"
	}
	return &check.Send{Sender: w.name, ID: id, Room: room, Text: text}
}

// repeat now and then picks a message that was accepted before: as if its accepted had been lost.
func (w *writer) repeat() *check.Send {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.settled) == 0 || w.rng.IntN(50) > 0 {
		return nil
	}
	return w.settled[w.rng.IntN(len(w.settled))]
}

func (w *writer) onAccepted(a frame.Accepted) {
	w.mu.Lock()
	s := w.byID[a.ID]
	w.mu.Unlock()
	if s == nil {
		w.journal.complain("%s was told that %s is accepted, which it never sent", w.name, a.ID)
		return
	}
	w.journal.answered(s, a.Seq, a.SentAt)
	w.settle(s, true)
}

func (w *writer) onRefused(_, id string, e *frame.Error) {
	w.mu.Lock()
	s := w.byID[id]
	w.mu.Unlock()
	if s == nil {
		w.journal.complain("%s was told that %s is refused (%s), which it never sent", w.name, id, e.Code)
		return
	}
	w.journal.refused(s, string(e.Code))
	w.settle(s, false)
}

// settle takes a send off the list of those that wait.
func (w *writer) settle(s *check.Send, accepted bool) {
	w.mu.Lock()
	for i, o := range w.open {
		if o == s {
			w.open = append(w.open[:i:i], w.open[i+1:]...)
			if accepted {
				w.settled = append(w.settled, s)
			}
			break
		}
	}
	w.mu.Unlock()
	select {
	case w.room <- struct{}{}:
	default:
	}
}

// onState counts the connected writers.
func (w *writer) onState(s client.State) {
	if s.Connected != w.connected {
		w.connected = s.Connected
		w.journal.writers.Add(map[bool]int64{true: 1, false: -1}[s.Connected])
	}
}

// dial goes to one chat room after the other, as a load balancer would send it.
func (w *writer) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	w.mu.Lock()
	addr := w.doors[w.door%len(w.doors)]
	w.door++
	w.mu.Unlock()
	var d net.Dialer
	return d.DialContext(ctx, network, addr)
}
