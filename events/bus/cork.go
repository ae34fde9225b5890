package bus

import (
	"net"
	"sync"
)

// corkBytes is how much a corked connection gathers before it writes.
const corkBytes = 64 << 10

// corkedConn writes at once, or, while it is corked, as much as has come together. The AMQP library writes each message by
// itself, and the broker wakes up for each; of a window that goes in few writes it reads hundreds of messages at a time.
type corkedConn struct {
	net.Conn

	mu    sync.Mutex // guards the fields below
	corks int        // how many hold it corked
	held  []byte
}

// Write implements [net.Conn]. What it holds back is written with the last uncork; an error shows in a later call.
func (c *corkedConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.held)+len(p) > corkBytes {
		if err := c.flush(); err != nil {
			return 0, err
		}
	}
	if c.corks == 0 || len(p) > corkBytes {
		return c.Conn.Write(p)
	}
	c.held = append(c.held, p...)
	return len(p), nil
}

// cork holds back what is written until uncork; others may hold it at the same time.
func (c *corkedConn) cork() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.corks++
}

func (c *corkedConn) uncork() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.corks--; c.corks > 0 {
		return nil
	}
	return c.flush()
}

// flush writes what is held. The library, which was told that it is written, learns of an error by the end of the
// connection. c.mu is held.
func (c *corkedConn) flush() error {
	if len(c.held) == 0 {
		return nil
	}
	_, err := c.Conn.Write(c.held)
	c.held = c.held[:0]
	if err != nil {
		_ = c.Conn.Close()
	}
	return err
}
