package faultproxy_test

import (
	"io"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rafaeldepontes/go-chat/internal/faultproxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// parrot answers each chunk with itself, and tells what it got.
func parrot(t *testing.T) (addr string, heard chan string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	heard = make(chan string, 64)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b := make([]byte, 1024)
				for {
					n, err := c.Read(b)
					if n > 0 {
						heard <- string(b[:n])
						if _, err := c.Write(b[:n]); err != nil {
							return
						}
					}
					if err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String(), heard
}

func mustProxy(t *testing.T, target string) *faultproxy.Proxy {
	t.Helper()
	p, err := faultproxy.New(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// say writes and reads what comes back, to the end of the connection if that comes first.
func say(t *testing.T, c net.Conn, text string) (answer string, ended bool) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		return "", true
	}
	b := make([]byte, len(text))
	n, err := io.ReadFull(c, b)
	return string(b[:n]), err != nil
}

func TestOrders(t *testing.T) {
	for _, tc := range []struct {
		order         faultproxy.Order
		heard, answer string
	}{
		{faultproxy.HalfRequest, "0123", "0123"}, // the half may be answered before the reset
		{faultproxy.LoseAnswer, "01234567", ""},
		{faultproxy.HalfAnswer, "01234567", "0123"},
	} {
		t.Run(tc.order.String(), func(t *testing.T) {
			addr, heard := parrot(t)
			p := mustProxy(t, addr)
			c, other := dial(t, p.Addr()), dial(t, p.Addr())
			p.Break(tc.order, 8)
			if got, ended := say(t, c, "short"); got != "short" || ended {
				t.Fatalf("a chunk below the bound: got %q, ended %v", got, ended)
			}
			<-heard
			got, ended := say(t, c, "01234567")
			// What a reset overtakes is lost, so that less than the half may come.
			if !ended || len(got) > len(tc.answer) || got != tc.answer[:len(got)] {
				t.Errorf("answer: got %q, ended %v; want at most %q and the end", got, ended, tc.answer)
			}
			if tc.order != faultproxy.HalfRequest { // likewise
				if got := <-heard; got != tc.heard {
					t.Errorf("the server heard %q, want %q", got, tc.heard)
				}
			}
			if got, ended := say(t, other, "01234567"); got != "01234567" || ended {
				t.Errorf("another connection: got %q, ended %v", got, ended)
			}
		})
	}
}

func TestStallHoldsAndResumes(t *testing.T) {
	addr, heard := parrot(t)
	p := mustProxy(t, addr)
	c := dial(t, p.Addr())
	p.Stall()
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-heard:
		t.Fatalf("%q passed a stalled proxy", got)
	case <-time.After(50 * time.Millisecond):
	}
	p.Resume()
	if got := <-heard; got != "hello" {
		t.Errorf("after the stall: got %q", got)
	}
}

func TestRefuse(t *testing.T) {
	addr, _ := parrot(t)
	p := mustProxy(t, addr)
	c := dial(t, p.Addr())
	if got, ended := say(t, c, "hello"); got != "hello" || ended {
		t.Fatalf("got %q, ended %v", got, ended)
	}
	p.Refuse(true)
	if _, ended := say(t, c, "hello"); !ended {
		t.Error("an open connection outlived it")
	}
	if c, err := net.Dial("tcp", p.Addr()); err == nil { // else it was reset at once
		defer c.Close()
		if _, ended := say(t, c, "hello"); !ended {
			t.Error("a new connection was served")
		}
	}
	p.Refuse(false)
	if got, ended := say(t, dial(t, p.Addr()), "hello"); got != "hello" || ended {
		t.Errorf("after it: got %q, ended %v", got, ended)
	}
}

// Nobody behind the proxy is as nobody there.
func TestNobodyListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	p := mustProxy(t, l.Addr().String())
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		return // reset at once
	}
	defer c.Close()
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("somebody answered")
	}
}
