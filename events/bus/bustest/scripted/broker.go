// Package scripted is a broker that plays what a real one does only rarely: it returns a message before its confirm,
// confirms out of order or never, refuses, takes back a consumer, raises an alarm in the middle of a window. It speaks
// just enough AMQP 0-9-1 for the transport of this project, keeps nothing, and routes nothing.
//
// Its goroutines, one for the listener and one for each connection, end with [Broker.Close].
package scripted

import (
	"fmt"
	"net"
	"sync"
	"testing"
)

// Script is what a broker does other than what is expected of it. Its functions run on the goroutine of a connection, so
// that what they send comes in order, and must not block.
type Script struct {
	// Method sees each method of a client; true tells that the script has answered, or will not. Nil: the usual answer.
	Method func(c *Conn, m Method) (handled bool)
	// Publish sees each message. Nil: it is confirmed.
	Publish func(c *Conn, p Publishing)
}

// Broker listens on a loopback port.
type Broker struct {
	lis net.Listener
	wg  sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	script Script
	conns  map[*Conn]struct{}
}

// Start returns a broker that ends with the test.
func Start(tb testing.TB, s Script) *Broker {
	tb.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	b := &Broker{lis: lis, script: s, conns: make(map[*Conn]struct{})}
	b.wg.Go(b.serve)
	tb.Cleanup(b.Close)
	return b
}

// URL is where it is.
func (b *Broker) URL() string { return fmt.Sprintf("amqp://guest:guest@%s/", b.lis.Addr()) }

// Play replaces the script.
func (b *Broker) Play(s Script) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.script = s
}

// Each calls f for every connection that is open.
func (b *Broker) Each(f func(*Conn)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.conns {
		f(c)
	}
}

// Close cuts all connections and waits for the goroutines.
func (b *Broker) Close() {
	_ = b.lis.Close()
	b.Each(func(c *Conn) { c.Cut() })
	b.wg.Wait()
}

func (b *Broker) serve() {
	for {
		raw, err := b.lis.Accept()
		if err != nil {
			return
		}
		c := &Conn{broker: b, raw: raw, tags: make(map[uint16]uint64)}
		b.mu.Lock()
		b.conns[c] = struct{}{}
		b.mu.Unlock()
		b.wg.Go(func() {
			c.serve()
			c.Cut()
			b.mu.Lock()
			delete(b.conns, c)
			b.mu.Unlock()
		})
	}
}

func (b *Broker) playing() Script {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.script
}
