package persister_test

import (
	"io"
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rafaeldepontes/go-chat/internal/db/dbtest"
)

// proxy stands between a pool and PostgreSQL and can cut them off from each other.
type proxy struct {
	lis    net.Listener
	target string
	wg     sync.WaitGroup

	mu    sync.Mutex
	away  bool                  // guarded by mu; new connections are closed at once
	conns map[net.Conn]struct{} // guarded by mu
}

// behindProxy is a fresh database, a pool that reaches it through a proxy, and one that reaches it directly.
func behindProxy(tb testing.TB) (px *proxy, through, direct *pgxpool.Pool) {
	tb.Helper()
	direct, databaseURL := dbtest.Postgres(tb)
	u, err := url.Parse(databaseURL)
	if err != nil {
		tb.Fatal(err)
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	px = &proxy{lis: lis, target: u.Host, conns: map[net.Conn]struct{}{}}
	px.wg.Go(px.accept)
	tb.Cleanup(px.close)
	u.Host = lis.Addr().String()
	return px, dbtest.Pool(tb, u.String()), direct
}

func (p *proxy) accept() {
	for {
		c, err := p.lis.Accept()
		if err != nil {
			return
		}
		s, err := net.Dial("tcp", p.target)
		if err != nil || !p.keep(c, s) {
			_ = c.Close()
			if s != nil {
				_ = s.Close()
			}
			continue
		}
		p.wg.Go(func() { p.pipe(s, c) })
		p.wg.Go(func() { p.pipe(c, s) })
	}
}

func (p *proxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.away {
		return false
	}
	for _, c := range conns {
		p.conns[c] = struct{}{}
	}
	return true
}

func (p *proxy) pipe(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	_, _ = to.Close(), from.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, to)
	delete(p.conns, from)
}

// cut takes the database away, also from who talks to it now.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.away = true
	for c := range p.conns {
		_ = c.Close()
	}
}

func (p *proxy) heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.away = false
}

func (p *proxy) close() {
	_ = p.lis.Close()
	p.cut()
	p.wg.Wait()
}
