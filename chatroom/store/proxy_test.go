package store_test

import (
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
)

// What the proxy does with a group of messages that ends in a Sync: one round trip of a client.
const (
	loseRequest = iota // the server never sees it
	loseAnswer         // the server has worked on it, the client never hears
	delay              // the client is cut off; the server sees it when the test says so
)

// cut is an order to break the n-th round trip from now.
type cut struct {
	n, how  int
	arrived chan struct{} // closed when the round trip has come to the proxy, or, for loseAnswer, its answer
	release chan struct{} // delay: closed by the test
	done    chan struct{} // delay: closed when the server has answered
}

// proxy stands between a pool and its server and speaks enough of the protocol to know where a round trip ends.
type proxy struct {
	listener net.Listener
	target   string
	wg       sync.WaitGroup
	quit     chan struct{} // closed by stop
	stopOnce sync.Once

	mu    sync.Mutex // guards the fields below
	armed *cut
	conns map[net.Conn]bool
}

// mustProxy starts a proxy before the server of the URL and returns it with the URL that goes through it.
func mustProxy(t *testing.T, databaseURL string) (*proxy, string) {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, target: u.Host, conns: map[net.Conn]bool{}, quit: make(chan struct{})}
	u.Host = l.Addr().String()
	p.wg.Go(p.serve)
	t.Cleanup(p.stop)
	return p, u.String()
}

// stop ends every connection and takes no more: the database is away.
func (p *proxy) stop() {
	p.stopOnce.Do(func() { close(p.quit) })
	_ = p.listener.Close()
	p.mu.Lock()
	for c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

// breakTrip orders to break the n-th round trip from now.
func (p *proxy) breakTrip(n, how int) *cut {
	c := &cut{n: n, how: how, arrived: make(chan struct{}), release: make(chan struct{}), done: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed = c
	return c
}

// nextTrip counts a round trip, and returns the order to break it.
func (p *proxy) nextTrip() *cut {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.armed == nil {
		return nil
	}
	p.armed.n--
	if p.armed.n > 0 {
		return nil
	}
	c := p.armed
	p.armed = nil
	return c
}

func (p *proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.conns[client], p.conns[server] = true, true
		p.mu.Unlock()
		var answer atomic.Pointer[cut] // whose answer is to be lost
		p.wg.Go(func() { p.upstream(client, server, &answer) })
		p.wg.Go(func() { p.downstream(client, server, &answer) })
	}
}

func (p *proxy) upstream(client, server net.Conn, answer *atomic.Pointer[cut]) {
	defer func() { _ = client.Close(); _ = server.Close() }()
	startup, err := message(client, 0)
	if err != nil {
		return
	}
	group := startup
	for {
		if _, err := server.Write(group); err != nil {
			return
		}
		for group = nil; ; {
			m, err := message(client, 1)
			if err != nil {
				return
			}
			group = append(group, m...)
			if m[0] == 'S' || m[0] == 'Q' || m[0] == 'p' || m[0] == 'X' || m[0] == 'H' {
				break
			}
		}
		if group[len(group)-5] != 'S' {
			continue
		}
		c := p.nextTrip()
		switch {
		case c == nil:
		case c.how == loseRequest:
			close(c.arrived)
			return
		case c.how == loseAnswer:
			answer.Store(c)
		case c.how == delay:
			answer.Store(c)
			_ = client.Close()
			close(c.arrived)
			select {
			case <-c.release:
			case <-p.quit:
				return
			}
			if _, err := server.Write(group); err != nil {
				return
			}
			select {
			case <-c.done:
			case <-p.quit:
			}
			return
		}
	}
}

func (p *proxy) downstream(client, server net.Conn, answer *atomic.Pointer[cut]) {
	defer func() { _ = client.Close() }()
	for {
		m, err := message(server, 1)
		if err != nil {
			return
		}
		c := answer.Load()
		if c == nil {
			if _, err := client.Write(m); err != nil {
				return
			}
			continue
		}
		if m[0] == 'Z' { // ReadyForQuery: the server has done it all
			if c.how == delay {
				close(c.done)
			} else {
				close(c.arrived)
			}
			return
		}
	}
}

// message reads one protocol message: typed bytes of type, then its length and body.
func message(r io.Reader, typed int) ([]byte, error) {
	head := make([]byte, typed+4)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint32(head[typed:])) - 4
	m := make([]byte, len(head)+n)
	copy(m, head)
	_, err := io.ReadFull(r, m[len(head):])
	return m, err
}
