//go:build unix

package wire

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // RFC 6455 §4.2.2 names it; nothing is secured by it
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const dialTimeout = 30 * time.Second

// Dialer opens connections to one server.
type Dialer struct {
	Server   *url.URL    // ws or wss, with a host; the path is /ws unless one is given
	TLS      *tls.Config // for wss; nil: the system's authorities
	Protocol string      // the subprotocol offered; empty: none
}

// Dial connects and shakes hands. from is the local address to connect from; nil: the system chooses.
func (d *Dialer) Dial(ctx context.Context, from net.IP) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	nd := net.Dialer{}
	if from != nil {
		nd.LocalAddr = &net.TCPAddr{IP: from}
	}
	nc, err := nd.DialContext(ctx, "tcp", d.address())
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", d.Server.Host, err)
	}
	// An end of ctx interrupts the handshake.
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Now()) })
	c, err := d.handshake(ctx, nc)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = nc.Close()
		return nil, fmt.Errorf("open a WebSocket to %s: %w", d.Server.Host, err)
	}
	return c, nil
}

func (d *Dialer) address() string {
	if d.Server.Port() != "" {
		return d.Server.Host
	}
	return net.JoinHostPort(d.Server.Hostname(), map[bool]string{true: "443", false: "80"}[d.secure()])
}

func (d *Dialer) secure() bool { return d.Server.Scheme == "wss" || d.Server.Scheme == "https" }

func (d *Dialer) handshake(ctx context.Context, nc net.Conn) (*Conn, error) {
	if d.secure() {
		cfg := &tls.Config{MinVersion: tls.VersionTLS12}
		if d.TLS != nil {
			cfg = d.TLS.Clone()
		}
		if cfg.ServerName == "" {
			cfg.ServerName = d.Server.Hostname()
		}
		secured := tls.Client(nc, cfg)
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		nc = secured
	}
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // never fails
	key := base64.StdEncoding.EncodeToString(nonce[:])
	path := d.Server.EscapedPath()
	if path == "" || path == "/" {
		path = "/ws"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n",
		path, d.Server.Host, key)
	if d.Protocol != "" {
		fmt.Fprintf(&b, "Sec-WebSocket-Protocol: %s\r\n", d.Protocol)
	}
	b.WriteString("\r\n")
	if _, err := nc.Write([]byte(b.String())); err != nil {
		return nil, err
	}
	r := bufio.NewReaderSize(nc, 1<<10)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, fmt.Errorf("the server answered %s", resp.Status)
	}
	if got := resp.Header.Get("Sec-WebSocket-Accept"); got != acceptOf(key) {
		return nil, fmt.Errorf("the server answered the key with %q", got)
	}
	c := newConn(nc)
	if n := r.Buffered(); n > 0 { // frames that came with the answer
		c.take()
		c.early = true
		if c.n, err = r.Read((*c.buf)[:n]); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// acceptOf is the answer to a key, RFC 6455 §4.2.2.
func acceptOf(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // see the import
	return base64.StdEncoding.EncodeToString(sum[:])
}
