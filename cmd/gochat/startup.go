package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/rafaeldepontes/go-chat/internal/config"
)

// listenAddress is an address to listen on that knows its setting, for the error text.
type listenAddress struct {
	addr   string
	flag   string // listen
	origin string // --listen or GOCHAT_LISTEN
	orAny  bool   // a free port does as well where this one is taken
}

// orFree lets a free port do where def is taken and nobody asked for another: a second up, for example, should just run.
func (l listenAddress) orFree(def string) listenAddress {
	l.orAny = l.addr == def
	return l
}

func listenAddressOf(s *config.Set, flag, addr string) listenAddress {
	return listenAddress{addr: addr, flag: flag, origin: s.Origin(flag)}
}

// listen opens the address. Its errors are one line with the setting and what to do.
func (l listenAddress) listen(ctx context.Context) (net.Listener, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", l.addr)
	if l.orAny && errors.Is(err, syscall.EADDRINUSE) {
		listener, err = lc.Listen(ctx, "tcp", "127.0.0.1:0")
	}
	if err == nil {
		return listener, nil
	}
	var dns *net.DNSError
	var reason string
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		reason = "is taken by another program"
	case errors.Is(err, syscall.EACCES):
		reason = "is not open to this user (ports below 1024 need more rights)"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		reason = "is not an address of this machine"
	case errors.As(err, &dns):
		reason = "names a host that is not known"
	default:
		return nil, fmt.Errorf("%s: listen on %s: %w", l.origin, l.addr, err)
	}
	return nil, &listenError{fmt.Sprintf("%s: %s %s: choose another with --%s", l.origin, l.addr, reason, l.flag), err}
}

// listenError tells a person what to do, and the program what it was.
type listenError struct {
	text string
	err  error
}

func (e *listenError) Error() string { return e.text }
func (e *listenError) Unwrap() error { return e.err }

// stoppedEarly turns the end of a context during startup into an orderly end: nothing was running yet.
func stoppedEarly(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// hostName is the machine's name, or "host" where it has none.
func hostName() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "host"
	}
	return name
}
