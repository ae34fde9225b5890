// Package chatroom is the WebSocket service. It accepts messages (acceptor), shows them to whoever reads a room here
// (hub, room, session), tells the other replicas, and answers who comes late from its recent events, then the
// outbox's tail, then the history that the persister serves (reader).
//
// It promises: an accepted message is committed; every reader of a room sees every seq once, in order, without a gap
// from where it joined; a slow reader costs others nothing, since each has a cursor in a shared log and no queue.
//
// Goroutines: [Server.Run] owns the acceptor, the hub's repairs, presence and the flushers, and waits for all sessions; each
// session owns its read loop, its reads of the databases, and a writer while its socket does not take what there is.
package chatroom

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
	"github.com/rafaeldepontes/go-chat/chatroom/store"
	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/outbox"
)

// Options are what a [Server] is made of. Store and History are required.
type Options struct {
	Store   store.Store
	History History

	// Committed gives the relay the rows of each commit, in commit order. Heard tells it of an event that came over the
	// fan-out, also of one that was committed here. They must not block.
	Committed func(rows []outbox.Row)
	Heard     func(room string, seq int64)
	// Stored is called with every mark that the persister announced. It must not block.
	Stored func(marks map[string]int64)
	// Broadcast tells the other replicas, best effort; nil where there are none. Each body is an encoded envelope, which
	// is not changed afterwards. It must not block.
	Broadcast func(bodies ...[]byte)

	Instance       string        // unique among the replicas
	Version        string        // told in welcome
	Heartbeat      time.Duration // default 25 s
	SendRate       float64       // messages a second for each user; 0: no limit
	SendBurst      int           // default 100
	RecentEvents   int           // kept for each room, default 1000
	RecentBytes    int           // kept for each room, default 4 MiB
	RecentTTL      time.Duration // default 10 min
	RecentTotal    int           // bytes kept for all rooms together, default 64 MiB
	MaxConnections int           // 0: no limit
	Origins        []string      // allowed besides the server's own host; "*": any
	Logger         *slog.Logger
	Metrics        prometheus.Registerer // may be nil
}

// maxCatchUps is how many pages for readers who lag are read from the databases at once.
const maxCatchUps = 16

// maxPages is how many pages of history are read at once, for all who ask: fewer than the database pool has
// connections, so that accepting finds one however many pages are asked for.
const maxPages = 8

// Server is the chat room. Make it with [New], mount [Server.Handler], and run [Server.Run].
type Server struct {
	// Immutable after New.
	opts     Options
	log      *slog.Logger
	store    store.Store
	epoch    string
	flushers *flushers
	hub      *hub
	acceptor *acceptor
	presence *presence
	rates    *rates
	metrics  *metrics
	upgrader websocket.Upgrader
	catchUps chan struct{} // holds one for each page being read
	pages    chan struct{} // likewise

	catchingUp atomic.Int64 // readers that wait for a page

	ctx  context.Context // of the sessions
	stop context.CancelCauseFunc

	mu       sync.Mutex // guards the fields below
	stopping bool
	open     int
	live     map[*session]struct{}
	sessions sync.WaitGroup // Add only under mu while not stopping
}

// New makes a server and learns the database's epoch; it fails where the database does not answer.
func New(ctx context.Context, o Options) (*Server, error) {
	def(&o.Heartbeat, 25*time.Second)
	def(&o.SendBurst, 100)
	def(&o.RecentEvents, 1000)
	def(&o.RecentBytes, 4<<20)
	def(&o.RecentTTL, 10*time.Minute)
	def(&o.RecentTotal, 64<<20)
	def(&o.Logger, slog.New(slog.DiscardHandler))
	def(&o.Instance, newID())
	epoch, err := o.Store.Epoch(ctx)
	if err != nil {
		return nil, err
	}
	s := &Server{
		opts: o, log: o.Logger, store: o.Store, epoch: epoch, rates: newRates(o.SendRate, o.SendBurst),
		metrics: newMetrics(o.Metrics), catchUps: make(chan struct{}, maxCatchUps), pages: make(chan struct{}, maxPages),
		flushers: newFlushers(), live: make(map[*session]struct{}),
	}
	s.ctx, s.stop = context.WithCancelCause(context.WithoutCancel(ctx))
	limits := logLimits{count: o.RecentEvents, bytes: o.RecentBytes, ttl: o.RecentTTL, total: o.RecentTotal}
	s.hub = newHub(s.ctx, &reader{store: o.Store, history: o.History}, limits, s.flushers, s.log, s.stored)
	if o.Metrics != nil {
		o.Metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "gochat_catching_up_readers", Help: "Readers who wait for a page from the databases.",
		}, func() float64 { return float64(s.catchingUp.Load()) }), prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "gochat_recent_bytes", Help: "Bytes of recent events kept in memory now, of all rooms.",
		}, func() float64 { return float64(s.hub.kept.Load()) }))
	}
	s.presence = newPresence(o.Instance, s.hub, s.tell)
	s.acceptor = newAcceptor(o.Store, s.log, s.metrics, s.committed)
	s.upgrader = websocket.Upgrader{
		Subprotocols: []string{frame.Protocol}, CheckOrigin: s.allowed, HandshakeTimeout: helloTimeout,
		Error: func(w http.ResponseWriter, _ *http.Request, status int, reason error) {
			code := frame.BadRequest
			if status == http.StatusForbidden {
				code = frame.Forbidden
			}
			s.writeError(w, frame.Errorf(code, "", "no WebSocket: %s", reason))
		},
		ReadBufferSize: 512, WriteBufferSize: 4 << 10, WriteBufferPool: new(sync.Pool),
	}
	return s, nil
}

// def sets a field that was left at its zero value.
func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Run serves until ctx ends. Then it takes no more connections or sends, answers what is in flight, says bye, and
// returns.
func (s *Server) Run(ctx context.Context) error {
	// Each part has a context of its own, since they end in order.
	base := context.WithoutCancel(ctx)
	endAcceptor := background(base, s.acceptor.run)
	endHub := background(base, s.hub.run)
	endPresence := background(base, s.presence.run)
	var flushing sync.WaitGroup
	flushing.Go(s.flushers.run)

	<-ctx.Done()
	s.mu.Lock()
	s.stopping = true
	s.mu.Unlock()
	// The sessions end first, since what they have in flight still needs the acceptor.
	s.stop(&goodbye{code: frame.CloseShutdown, message: "the server stops", retryMS: &[2]int64{0, 3000}})
	s.interrupt()
	s.sessions.Wait()
	endAcceptor()
	endPresence()
	endHub()
	s.flushers.end()
	flushing.Wait()
	return nil
}

// background runs a part in a goroutine and returns what ends it and waits for it.
func background(ctx context.Context, run func(context.Context)) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { run(ctx) })
	return func() {
		cancel()
		wg.Wait()
	}
}

// admit counts a connection in; false where the server is full or stopping.
func (s *Server) admit() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping || (s.opts.MaxConnections > 0 && s.open >= s.opts.MaxConnections) {
		return false
	}
	s.open++
	s.sessions.Add(1)
	s.metrics.connections.Inc()
	return true
}

func (s *Server) dismiss() {
	s.mu.Lock()
	s.open--
	s.mu.Unlock()
	s.metrics.connections.Dec()
	s.sessions.Done()
}

// register makes a session one that a stop interrupts.
func (s *Server) register(sess *session) {
	s.mu.Lock()
	s.live[sess] = struct{}{}
	s.mu.Unlock()
	if sess.ctx.Err() != nil { // the stop came before
		sess.interrupt()
	}
}

func (s *Server) unregister(sess *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.live, sess)
}

// interrupt wakes the sessions, whose context has ended.
func (s *Server) interrupt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for sess := range s.live {
		sess.interrupt()
	}
}

// allowed tells whether a browser's page may connect: one from the same host, or a configured one. Programs send no
// Origin.
func (s *Server) allowed(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" || slices.Contains(s.opts.Origins, "*") || slices.Contains(s.opts.Origins, origin) {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host == r.Host
}

// subscribe opens a room and adds a subscription, which is silent until it is joined. A room may be dropped from memory
// between the two; then it is opened again.
func (s *Server) subscribe(ctx context.Context, sess *session, name string) (*subscription, error) {
	for {
		r, err := s.hub.open(ctx, name)
		if err != nil {
			return nil, err
		}
		sub := &subscription{room: r, session: sess}
		if s.hub.subscribe(sub) {
			return sub, nil
		}
	}
}

func (s *Server) leave(sub *subscription) {
	sub.room.unsubscribe(sub, time.Now())
	s.presence.exit(sub.room.name, sub.session.user)
}

// committed hands the new events of a batch to the relay, the rooms here and the other replicas.
func (s *Server) committed(sends []store.Send, receipts []store.Receipt) (wake func()) {
	rooms := make(map[string][]frame.Event)
	rows := make([]outbox.Row, 0, len(receipts))
	for i, r := range receipts {
		if r.Err != nil || r.Duplicate {
			continue
		}
		in := sends[i]
		e := events.MessageSent{
			Room: in.Room, Seq: r.Seq, Kind: events.KindMessage, ID: in.ID, From: in.Sender, Text: in.Text, SentAt: r.SentAt,
		}
		rooms[in.Room] = append(rooms[in.Room], toFrame(e))
		if r.Event == nil { // a later try found what an earlier one had committed
			r.Event, _ = e.Encode("") // what the store encoded before can be encoded
		}
		rows = append(rows, outbox.Row{Shard: events.Shard(e.Room), Key: e.Room, Seq: e.Seq, Payload: r.Event})
	}
	if s.opts.Committed != nil && len(rows) > 0 {
		s.opts.Committed(rows)
	}
	var read []*room
	for name, evs := range rooms {
		if r := s.hub.put(name, evs...); r != nil {
			read = append(read, r)
		}
	}
	s.broadcastRows(rows)
	return func() {
		for _, r := range read {
			r.wake()
		}
	}
}

// broadcastRows tells the other replicas, if there are any.
func (s *Server) broadcastRows(rows []outbox.Row) {
	if !s.presence.hasPeers() {
		return
	}
	bodies := make([][]byte, len(rows))
	for i, row := range rows {
		bodies[i] = row.Payload
	}
	s.broadcast(bodies...)
}

// newID returns 16 random hex digits.
func newID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
