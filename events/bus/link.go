package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Bounds of a connection's life.
const (
	heartbeat   = 10 * time.Second
	openWithin  = 20 * time.Second // dial, handshake and declaring
	closeWithin = 2 * time.Second
	rpcWithin   = 10 * time.Second
	tellEvery   = 30 * time.Second // the same reason for not being connected
)

// link keeps one connection to the broker: it dials, declares the topology, and does so again whenever the connection
// is lost, until it is closed. Publishing and consuming use a link each, because a broker in distress stops reading
// from connections that publish, and acknowledgements must not wait behind that.
type link struct {
	// Immutable.
	name   string
	cfg    AMQPConfig
	bare   bool // declares nothing: for a look at what is there
	log    *slog.Logger
	ctx    context.Context // ends with close
	cancel context.CancelFunc
	done   chan struct{} // closed when run has returned

	mu      sync.Mutex // guards the fields below
	conn    *amqp.Connection
	raw     *corkedConn
	up      chan struct{} // closed while conn is set, replaced when it is lost
	away    error         // why conn is nil
	blocked string        // the broker's reason, while it refuses publishing
	alarm   chan struct{} // closed while blocked, replaced afterwards
}

func newLink(ctx context.Context, name string, cfg AMQPConfig) *link {
	l := &link{
		name: name, cfg: cfg, log: cfg.Logger.With("link", name),
		done: make(chan struct{}), up: make(chan struct{}), alarm: make(chan struct{}), away: errors.New("not yet tried"),
	}
	l.ctx, l.cancel = context.WithCancel(ctx)
	go l.run()
	return l
}

func (l *link) close() {
	l.cancel()
	<-l.done
}

func (l *link) run() {
	defer close(l.done)
	retry := backoff{first: l.cfg.RetryMin, max: l.cfg.RetryMax}
	var told string // the last error in the log; it is told again after a while, or when it changes
	var toldAt time.Time
	for l.ctx.Err() == nil {
		conn, raw, err := l.open()
		if err != nil {
			if l.ctx.Err() != nil {
				return
			}
			err = Explain(l.cfg.host(), err)
			l.set(nil, nil, err)
			if err.Error() != told || time.Since(toldAt) > tellEvery {
				told, toldAt = err.Error(), time.Now()
				l.log.Warn("waiting for the broker", "error", err)
			}
			retry.wait(l.ctx)
			continue
		}
		told = ""
		opened := time.Now()
		l.log.Info("broker connected", "host", l.cfg.host())
		err = l.hold(conn, raw)
		if l.ctx.Err() != nil {
			return
		}
		l.log.Warn("broker connection lost", "host", l.cfg.host(), "error", err)
		if time.Since(opened) > l.cfg.RetryMax {
			retry.reset()
		}
		retry.wait(l.ctx)
	}
}

// hold offers the connection until it is lost or the link closes.
func (l *link) hold(conn *amqp.Connection, raw *corkedConn) error {
	// Both channels have room and are read until the connection is gone: the library's reader blocks on full ones.
	closed := conn.NotifyClose(make(chan *amqp.Error, 1))
	blocked := conn.NotifyBlocked(make(chan amqp.Blocking, 16))
	l.set(conn, raw, nil)
	for {
		select {
		case e := <-closed:
			err := error(amqp.ErrClosed)
			if e != nil {
				err = e
			}
			l.set(nil, nil, err)
			_ = raw.Close() // already gone; only its descriptor is left
			return err
		case b, ok := <-blocked:
			if !ok {
				blocked = nil
				continue
			}
			l.setBlocked(b)
		case <-l.ctx.Done():
			l.set(nil, nil, ErrClosed)
			_ = conn.CloseDeadline(time.Now().Add(closeWithin)) // a dead peer must not hold up a stop
			_ = raw.Close()
			return nil
		}
	}
}

// open dials and declares the topology; all of it ends when the link closes or after openWithin.
func (l *link) open() (*amqp.Connection, *corkedConn, error) {
	ctx, cancel := context.WithTimeout(l.ctx, openWithin)
	defer cancel()
	var raw *corkedConn
	stop := func() bool { return true }
	conf := amqp.Config{
		Heartbeat:       heartbeat,
		TLSClientConfig: l.cfg.TLS.Clone(), // the library writes the server's name into it
		Properties:      amqp.Table{"product": "go-chat", "connection_name": l.cfg.Instance + "/" + l.name},
		Dial: func(network, addr string) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			raw, stop = &corkedConn{Conn: c}, context.AfterFunc(ctx, func() { _ = c.Close() })
			return raw, nil
		},
	}
	conn, err := amqp.DialConfig(l.cfg.URL, conf)
	if err != nil {
		stop()
		if raw != nil {
			_ = raw.Close()
		}
		return nil, nil, fmt.Errorf("connect: %w", err)
	}
	if !l.bare {
		err = l.declare(conn)
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = conn.CloseDeadline(time.Now().Add(closeWithin))
		_ = raw.Close()
		return nil, nil, err
	}
	return conn, raw, nil
}

func (l *link) declare(conn *amqp.Connection) error {
	ch, err := conn.Channel()
	if err != nil {
		return fmt.Errorf("open a channel: %w", err)
	}
	if err := declareTopology(ch, l.cfg.Topology); err != nil {
		return err
	}
	return ch.Close()
}

func (l *link) set(conn *amqp.Connection, raw *corkedConn, away error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case conn != nil:
		close(l.up)
	case l.conn != nil:
		l.up = make(chan struct{})
	}
	l.conn, l.raw, l.away = conn, raw, away
	l.block("")
}

// block notes the broker's reason to refuse publishing, "" for none. mu is held.
func (l *link) block(reason string) {
	switch {
	case l.blocked == "" && reason != "":
		close(l.alarm)
	case l.blocked != "" && reason == "":
		l.alarm = make(chan struct{})
	}
	l.blocked = reason
}

// alarmed returns a channel that closes when the broker refuses publishing on the present connection.
func (l *link) alarmed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.alarm
}

func (l *link) setBlocked(b amqp.Blocking) {
	l.mu.Lock()
	defer l.mu.Unlock()
	reason := ""
	if b.Active {
		reason = cmp.Or(b.Reason, "no reason given")
	}
	l.block(reason)
	l.log.Warn("broker changed its alarm", "refuses_publishing", b.Active, "reason", b.Reason)
}

// ready is nil when the link is connected and, if it is to publish, not blocked.
func (l *link) ready() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.ctx.Err() != nil:
		return ErrClosed
	case l.conn == nil:
		return fmt.Errorf("%w: %w", ErrNotConnected, l.away)
	case l.blocked != "":
		return fmt.Errorf("%w: %s", ErrBlocked, l.blocked)
	}
	return nil
}

// connection waits for a connection until ctx ends.
func (l *link) connection(ctx context.Context) (*amqp.Connection, error) {
	for {
		l.mu.Lock()
		conn, up, away := l.conn, l.up, l.away
		l.mu.Unlock()
		if conn != nil && !conn.IsClosed() {
			return conn, nil
		}
		if conn != nil { // lost, and hold is about to notice
			if !pause(ctx, 10*time.Millisecond) {
				return nil, ErrNotConnected
			}
			continue
		}
		select {
		case <-up:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ErrNotConnected, away)
		case <-l.ctx.Done():
			return nil, ErrClosed
		}
	}
}

// bounded runs f, which talks to the broker over conn, and cuts the connection if f takes longer than rpcWithin: the library's
// calls have no time-out of their own, and a peer that went silent would hold them until the heartbeat notices. The error is
// then errSilent.
func (l *link) bounded(conn *amqp.Connection, f func() error) error {
	var late atomic.Bool
	timer := time.AfterFunc(rpcWithin, func() { late.Store(true); l.cut(conn) })
	defer timer.Stop()
	err := f()
	if err != nil && late.Load() {
		return fmt.Errorf("%w within %s: %w", errSilent, rpcWithin, err)
	}
	return err
}

var errSilent = errors.New("the broker does not answer")

// cut closes the socket under conn, if it is still the link's own; hold then connects again.
func (l *link) cut(conn *amqp.Connection) {
	l.mu.Lock()
	raw, same := l.raw, l.conn == conn
	l.mu.Unlock()
	if same && raw != nil {
		_ = raw.Close()
	}
}

// cork makes conn hold back what is written until the function that it returns is called, if it is still the link's own.
func (l *link) cork(conn *amqp.Connection) (uncork func() error) {
	l.mu.Lock()
	raw, same := l.raw, l.conn == conn
	l.mu.Unlock()
	if !same || raw == nil {
		return func() error { return nil }
	}
	raw.cork()
	return raw.uncork
}
