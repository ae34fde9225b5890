package rabbit

import (
	"net"
	"net/url"
	"strconv"
	"sync"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Proxy passes bytes between clients and a broker until it is told otherwise.
type Proxy struct {
	target   string
	listener net.Listener
	url      string
	wg       sync.WaitGroup

	mu      sync.Mutex // guards the fields below
	conns   map[net.Conn]struct{}
	refuse  bool
	stalled chan struct{} // open while stalled, nil otherwise
	done    bool
}

// NewProxy starts a proxy before the broker at brokerURL; it ends with the test.
func NewProxy(tb testing.TB, brokerURL string) *Proxy {
	tb.Helper()
	u, err := amqp.ParseURI(brokerURL)
	if err != nil {
		tb.Fatal("no broker's URL")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("listen: %v", err)
	}
	full, err := url.Parse(brokerURL)
	if err != nil {
		tb.Fatal("no broker's URL")
	}
	full.Host = l.Addr().String()
	p := &Proxy{
		target: net.JoinHostPort(u.Host, strconv.Itoa(u.Port)), listener: l, url: full.String(),
		conns: make(map[net.Conn]struct{}),
	}
	p.wg.Go(p.accept)
	tb.Cleanup(func() {
		p.mu.Lock()
		p.done = true
		p.mu.Unlock()
		_ = l.Close()
		p.Resume()
		p.Cut()
		p.wg.Wait()
	})
	return p
}

// URL reaches the broker through the proxy.
func (p *Proxy) URL() string { return p.url }

// Cut closes all connections.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

// Refuse makes the broker unreachable (existing connections are cut), or reachable again.
func (p *Proxy) Refuse(yes bool) {
	p.mu.Lock()
	p.refuse = yes
	p.mu.Unlock()
	if yes {
		p.Cut()
	}
}

// Stall stops forwarding, both ways, without closing anything.
func (p *Proxy) Stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stalled == nil {
		p.stalled = make(chan struct{})
	}
}

// Resume forwards again.
func (p *Proxy) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stalled != nil {
		close(p.stalled)
		p.stalled = nil
	}
}

func (p *Proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		refuse := p.refuse || p.done
		p.mu.Unlock()
		if refuse {
			_ = c.Close()
			continue
		}
		b, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = c.Close()
			continue
		}
		p.mu.Lock()
		p.conns[c], p.conns[b] = struct{}{}, struct{}{}
		done := p.done
		p.mu.Unlock()
		p.wg.Go(func() { p.pass(c, b) })
		p.wg.Go(func() { p.pass(b, c) })
		if done {
			p.Cut()
		}
	}
}

func (p *Proxy) pass(from, to net.Conn) {
	defer func() {
		_, _ = from.Close(), to.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, from)
		delete(p.conns, to)
	}()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		stalled := p.stalled
		p.mu.Unlock()
		if stalled != nil {
			<-stalled
		}
		if n > 0 {
			if _, werr := to.Write(buf[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
