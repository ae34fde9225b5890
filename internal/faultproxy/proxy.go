// Package faultproxy is a TCP proxy that breaks connections on order: cut between two bytes of a frame, cut with an
// answer on its way, stalled, slowed, refused. It knows no protocol: a chunk is what one read brings, which for a client
// that waits for its answers is a request, and the server's first bytes after it are the answer.
//
// Without an order it passes bytes unchanged. An order breaks one connection, the first that does what it waits for; the
// others never notice. Goroutines: one that accepts and two for each connection; [Proxy.Close] waits for all.
package faultproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Order is a fault that one connection will meet.
type Order int

// The orders.
const (
	// HalfRequest lets half of a client's chunk through, then cuts.
	HalfRequest Order = iota + 1
	// LoseAnswer lets a client's chunk through whole, and cuts when the server answers: what was asked for is done, and
	// nobody hears of it.
	LoseAnswer
	// HalfAnswer lets half of a server's chunk through, then cuts.
	HalfAnswer
)

func (o Order) String() string {
	switch o {
	case HalfRequest:
		return "cut in a request"
	case LoseAnswer:
		return "answer lost"
	case HalfAnswer:
		return "cut in an answer"
	}
	return fmt.Sprintf("order %d", int(o))
}

// Proxy stands before one server. Its methods may be called at any time, from several goroutines.
type Proxy struct {
	// Immutable.
	target   string
	listener net.Listener
	wg       sync.WaitGroup

	mu      sync.Mutex // guards the fields below
	conns   map[*pair]struct{}
	order   Order
	atLeast int // bytes of a chunk that the order waits for
	delay   time.Duration
	refuse  bool
	stalled chan struct{} // open while stalled, nil otherwise
	closed  bool
}

// pair is a client's connection and the server's behind it.
type pair struct {
	client, server net.Conn

	mu     sync.Mutex
	losing bool // the next bytes of the server end it; guarded by mu
}

// New starts a proxy before target, on a free loopback port.
func New(target string) (*Proxy, error) {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen before %s: %w", target, err)
	}
	p := &Proxy{target: target, listener: l, conns: make(map[*pair]struct{})}
	p.wg.Go(p.accept)
	return p, nil
}

// Addr is where clients connect.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Break orders a fault for the next chunk of at least so many bytes. A second order replaces one that still waits.
func (p *Proxy) Break(o Order, atLeast int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.order, p.atLeast = o, max(atLeast, 2)
}

// Cut resets all connections.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.reset()
	}
}

// Refuse resets new connections too, until it is told false.
func (p *Proxy) Refuse(refuse bool) {
	p.mu.Lock()
	p.refuse = refuse
	p.mu.Unlock()
	if refuse {
		p.Cut()
	}
}

// Stall lets no bytes through; connections stay open. Resume ends it.
func (p *Proxy) Stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stalled == nil && !p.closed {
		p.stalled = make(chan struct{})
	}
}

// Delay holds each chunk for so long, in both directions; 0 ends it.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Resume undoes Stall, Delay, Refuse, and an order that still waits.
func (p *Proxy) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stalled != nil {
		close(p.stalled)
		p.stalled = nil
	}
	p.delay, p.refuse, p.order = 0, false, 0
}

// Close ends everything.
func (p *Proxy) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	err := p.listener.Close()
	p.Resume()
	p.Cut()
	p.wg.Wait()
	return err
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors, say; the next one may do
			time.Sleep(10 * time.Millisecond)
			continue
		}
		p.wg.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	d := net.Dialer{Timeout: 5 * time.Second}
	server, err := d.DialContext(context.Background(), "tcp", p.target)
	if err != nil {
		reset(client) // as if nobody listened
		return
	}
	c := &pair{client: client, server: server}
	p.mu.Lock()
	refused := p.refuse || p.closed
	if !refused {
		p.conns[c] = struct{}{}
	}
	p.mu.Unlock()
	if refused {
		c.reset()
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() { p.pass(c, client, server, true) })
	p.pass(c, server, client, false)
	wg.Wait()
	p.mu.Lock()
	delete(p.conns, c)
	p.mu.Unlock()
}

// pass moves bytes one way until an end or a fault. Then both ways end.
func (p *Proxy) pass(c *pair, from, to net.Conn, up bool) {
	defer func() { _ = from.Close(); _ = to.Close() }()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			p.hold()
			keep, cut := p.judge(c, n, up)
			if _, werr := to.Write(buf[:keep]); werr != nil {
				return
			}
			if cut {
				c.reset()
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// hold waits while the proxy is stalled, or for its delay.
func (p *Proxy) hold() {
	p.mu.Lock()
	stalled, delay := p.stalled, p.delay
	p.mu.Unlock()
	if stalled != nil {
		<-stalled
	}
	if delay > 0 {
		time.Sleep(delay)
	}
}

// judge decides what becomes of a chunk of n bytes: how many of them pass, and whether that is the end.
func (p *Proxy) judge(c *pair, n int, up bool) (keep int, cut bool) {
	c.mu.Lock()
	losing := c.losing
	c.mu.Unlock()
	if losing && !up {
		return 0, true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.order == 0 || n < p.atLeast || up == (p.order == HalfAnswer) {
		return n, false
	}
	o := p.order
	p.order = 0
	if o == LoseAnswer {
		c.mu.Lock()
		c.losing = true
		c.mu.Unlock()
		return n, false
	}
	return n / 2, true
}

func (c *pair) reset() {
	reset(c.client)
	reset(c.server)
}

// reset ends a connection without a goodbye, and drops what is still in its buffers.
func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}
